"""A headless Chromium, driven by the DevTools protocol over a pipe: no other package is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trackserve.errors import MissingExtraError, TrackserveError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--no-first-run", "--hide-scrollbars"),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe"),
)
WAIT = 120.0
"""Seconds that an answer of Chromium may take."""
_POLL = 0.1


def find_chromium() -> str:
    """The program.

    Raises:
        MissingExtraError: there is none on PATH.
    """
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise MissingExtraError("no Chromium on PATH: apt-get install chromium", bound=_NAMES)
    return found


class Page:
    """A tab that has opened a page.

    Attributes:
        requests: urls that it asked for.
        messages: errors of the page's console.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._number = 0
        self._rest = b""
        self._session = ""
        self.requests: list[str] = []
        self.messages: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self.ask("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript; of a promise, what it comes to.

        Raises:
            TrackserveError: the expression raises an error.
        """
        answer = self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            raise TrackserveError("the page has an error", found=text)
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true.

        Raises:
            TrackserveError: it is not after :data:`WAIT`.
        """
        end = time.monotonic() + WAIT
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise TrackserveError("the page does not get there", expression=expression)
            time.sleep(_POLL)

    def size(self, width: int, height: int) -> None:
        """Make the window so large, pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Tell pages that the user prefers a "light" or a "dark" scheme."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", features=features)

    def screenshot(self) -> bytes:
        """What the window shows, a PNG."""
        return base64.b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def ask(self, method: str, **parameters: Any) -> Any:
        """The result of a command.

        Raises:
            TrackserveError: Chromium refuses it, has ended, or does not answer.
        """
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        if "error" in answer:
            text = answer["error"]["message"]
            raise TrackserveError("Chromium refuses", command=method, found=text)
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], WAIT)
            part = os.read(self._answers, 1 << 16) if ready else b""
            if not part:
                raise TrackserveError("Chromium has ended" if ready else "Chromium does not answer")
            self._rest += part
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Log.entryAdded":
            self.messages.append(message["params"]["entry"]["text"])
        if message.get("method") == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.messages.append(details.get("exception", details).get("description", ""))
        return message


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a Chromium that keeps its files in a temporary folder.

    Raises:
        MissingExtraError: there is no Chromium.
    """
    program = find_chromium()
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()

    def place() -> None:  # Chromium reads from 3 and writes to 4
        first, second = os.dup(theirs_in), os.dup(theirs_out)
        os.dup2(first, 3)
        os.dup2(second, 4)

    with tempfile.TemporaryDirectory(prefix="trackserve-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *_OPTIONS, f"--user-data-dir={folder}"],
            preexec_fn=place,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(Path(folder))},
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Page(ours_out, ours_in)
        finally:
            process.kill()
            process.wait()
            os.close(ours_out)
            os.close(ours_in)
