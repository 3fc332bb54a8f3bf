"""How long does a page of the documentation take, if one does what it says?

    python -m benchmarks.walkthrough docs/tutorial.md

Runs the blocks of a page in order, in a folder: those of ``bash`` line by line in a shell, those of
``python`` as one program. A block of ``text`` behind one is its output, in which ``...`` stands for
anything and numbers may differ by a tenth; another output is an error. A comment in front of a
block says more:

- ``<!-- run: no -->``: it is not run;
- ``<!-- run: beside -->``: a command that goes on, as a server; it ends with the page.

Servers of a page get free ports in place of those that it names. Prints the seconds of each block.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.errors import ServerError
from trackserve.serving.installation import Ports, claim_ports

READY = "ready:"
"""What a command that goes on prints when others may begin."""
_BLOCK = re.compile(
    r"^(?:<!-- run: (?P<how>\w+) -->\n+)?^```(?P<kind>\w*)[^\n]*\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_HOST, _PORT = "127.0.0.1", "8001"
_NUMBER = r"-?\d+(?:,\d{3})*(?:\.\d+)?"
_TENTH = 0.1


class Block(NamedTuple):
    """A block of code of a page.

    Attributes:
        line: where it begins, from 1.
        kind: "bash" or "python".
        code: its lines.
        how: "", "no" or "beside".
        output: what it must print; empty: anything.
    """

    line: int
    kind: str
    code: str
    how: str
    output: str


class OtherOutputError(Exception):
    """A block prints something else, or a command of it fails."""


Command = Callable[[list[str]], str]
"""Runs ``trackserve`` with these arguments; its output."""


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page that have a language that is run, with their outputs."""
    text = page.read_text()
    found = list(_BLOCK.finditer(text))
    for one, after in zip(found, [*found[1:], None], strict=True):
        if one["kind"] not in ("bash", "python"):
            continue
        follows = after is not None and after["kind"] == "text" and not after["how"]
        output = after["code"] if after is not None and follows else ""
        line = text.count("\n", 0, one.start("code")) + 1
        yield Block(line, one["kind"], one["code"], one["how"] or "", output)


def differs(found: str, wanted: str) -> bool:
    """Whether an output is another one.

    Spaces and line breaks do not count. A number may be another one by a tenth, since last bits
    are those of the processor.
    """
    words = " ".join(wanted.split())
    pattern = "".join(
        ".*?" if part == "..." else f"({_NUMBER})" if part[-1].isdigit() else re.escape(part)
        for part in re.findall(rf"\.\.\.|{_NUMBER}|.", words)
    )
    match = re.search(pattern, " ".join(found.split()))
    if match is None:
        return True
    numbers = re.findall(_NUMBER, words)
    return any(
        abs(_value(one) - _value(other)) > _TENTH * abs(_value(other))
        for one, other in zip(match.groups(), numbers, strict=True)
    )


def _value(number: str) -> float:
    return float(number.replace(",", ""))


@dataclass
class Walk:
    """Runs blocks in one folder.

    Attributes:
        folder: where they run.
        command: runs ``trackserve`` in place of a shell; None: a shell does.
    """

    folder: Path
    command: Command | None = None
    _names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})
    _ports: dict[str, str] = field(default_factory=dict)
    _beside: list[subprocess.Popen[str]] = field(default_factory=list)

    def run(self, block: Block) -> str:
        """Run a block; return its output.

        Raises:
            OtherOutputError: it prints something else than the page says, or fails.
        """
        if block.how == "no":
            return ""
        if block.how == "beside":
            self._start(block)
            return ""
        with chdir(self.folder):
            found = self._python(block) if block.kind == "python" else self._shell(block)
        if block.output and differs(found, block.output):
            raise OtherOutputError(f"line {block.line} prints something else:\n{found}")
        return found

    def end(self) -> None:
        """End the commands that go on."""
        for one in self._beside:
            one.send_signal(signal.SIGINT)
        for one in self._beside:
            one.wait(timeout=60)

    def _python(self, block: Block) -> str:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(self._moved(block.code), f"line {block.line}", "exec"), self._names)
        return out.getvalue()

    def _shell(self, block: Block) -> str:
        return "".join(map(self._line, self._lines(block)))

    def _lines(self, block: Block) -> list[str]:
        joined = block.code.replace("\\\n", " ")
        lines = [re.sub(r"\s+#.*", "", line).strip() for line in joined.splitlines()]
        return [self._moved(line) for line in lines if line and not line.startswith("#")]

    def _line(self, line: str) -> str:
        words = shlex.split(line)
        if self.command is not None and words[0] == "trackserve":
            return self.command(words[1:])
        ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise OtherOutputError(f"{line} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def _start(self, block: Block) -> None:
        """Start a command that goes on, and wait until it is ready."""
        (line,) = self._lines(block)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        program = subprocess.Popen(
            ["bash", "-c", f"exec {line}"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PATH": path},
        )
        self._beside.append(program)
        assert program.stdout is not None
        for told in program.stdout:
            if READY in told:
                return
        raise OtherOutputError(f"{line} ended with {program.wait()}")

    def _moved(self, text: str) -> str:
        """The text with free ports in place of those that the page names."""
        for port in sorted(set(re.findall(r"(?:localhost|127\.0\.0\.1):(80\d\d)", text))):
            self._port(port)
        if re.search(r"trackserve serve\b", text):
            port = (re.findall(r"--grpc-port (\d+)", text) or [_PORT])[0]
            text = text.replace(f" --grpc-port {port}", "")
            free = self._port(port)
            ports = f"--grpc-port {free} --http-port 0 --metrics-port {int(free) + 1}"
            return re.sub(r"(trackserve serve\b[^#\n]*)", rf"\1 {ports}", text)
        for port, free in self._ports.items():
            text = text.replace(f":{port}", f":{free}")
        return re.sub(r"(trackserve status)$", rf"\1 grpc://localhost:{self._port(_PORT)}", text)

    def _port(self, port: str) -> str:
        """A free port in place of one; the next one, for metrics, is free too."""
        while port not in self._ports:
            free = claim_ports(_HOST, Ports(grpc=0, http=0, metrics=0)).grpc
            with suppress(ServerError):
                claim_ports(_HOST, Ports(grpc=free, http=0, metrics=free + 1))
                self._ports[port] = str(free)
        return self._ports[port]


@contextmanager
def walk(folder: Path, command: Command | None = None) -> Iterator[Walk]:
    """A :class:`Walk` whose commands end."""
    one = Walk(folder, command)
    try:
        yield one
    finally:
        one.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--folder", type=Path, help="where; by default a temporary one")
    arguments = parser.parse_args()
    page = arguments.page.resolve()
    start = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as temporary,
        walk(arguments.folder or Path(temporary)) as one,
    ):
        for block in blocks_of(page):
            begin = time.perf_counter()
            try:
                print(one.run(block), end="")
            except OtherOutputError as error:
                sys.exit(f"{page.name}, {error}")
            seconds = time.perf_counter() - begin
            note = "not run" if block.how == "no" else f"{seconds:.1f} s"
            print(f"--- line {block.line}, {block.kind}: {note}", flush=True)
    print(f"all of {page.name}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
