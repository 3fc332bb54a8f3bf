"""`trackserve serve` and all that it starts, killed one by one and together: nothing is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.serving.backend.native.build import BuildError, find_library
from trackserve.serving.guard import SHARED_MEMORY

MARK = "TRACKSERVE_TEST_MARK"
KINDS = {
    "guard": "guard.py",
    "triton": "tritonserver",
    "backend": "triton_python_backend_stub",
    "last": "orphan.py",
}
"""A word in the command line of each process beside the server itself."""


def is_alive(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(true: Callable[[], Any], what: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


class Trial:
    """A server whose processes bear a mark, and whose files are in a folder of its own."""

    def __init__(self, folder: Path, sample: Path, backend: str) -> None:
        self.mark = f"{MARK}={uuid.uuid4()}"
        self.temporary, self.runtime = folder / "tmp", folder / "run"
        for made in (self.temporary, self.runtime):
            made.mkdir()
        where = {"TMPDIR": str(self.temporary), "XDG_RUNTIME_DIR": str(self.runtime)}
        name, _, value = self.mark.partition("=")
        options = ["--log-format", "json", "--backend", backend]
        options += [
            word for kind in ("grpc", "http", "metrics") for word in (f"--{kind}-port", "0")
        ]
        program = [sys.executable, "-c", "from trackserve.cli import app; app()", "serve"]
        self.process = subprocess.Popen(
            [*program, f"patatrack,conditions={sample}", *options],
            env=os.environ | where | {name: value},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # as under no nohup
        )

    def wait_line(self, text: str) -> dict[str, Any]:
        """Wait for a line of its log whose message ends with ``text``."""
        assert self.process.stderr
        for line in self.process.stderr:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                if found["message"].endswith(text):
                    return found
        raise AssertionError("it ended")

    def processes(self) -> dict[int, str]:
        """Command lines of those that live, by process id."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                marked = self.mark.encode() in (process / "environ").read_bytes().split(b"\0")
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marked and is_alive(process):
                found[int(process.name)] = words
        return found

    def pids(self, kind: str) -> list[int]:
        """Process ids of a kind; "server" is the command itself."""
        if kind == "server":
            return [self.process.pid]
        return [pid for pid, words in self.processes().items() if KINDS[kind] in words]

    def left(self) -> list[str]:
        """Files that are there."""
        regions = SHARED_MEMORY.glob(f"{self.prefix}*") if self.prefix else ()
        return [*map(str, self.temporary.glob("*")), *map(str, self.runtime.glob("*/*")), *regions]

    url = ""
    prefix = ""
    """Of the names of Triton's shared memory."""

    def note(self) -> None:
        """Note where Triton's shared memory is."""
        [words] = [self.processes()[pid] for pid in self.pids("triton")]
        self.prefix = words.partition("shm-region-prefix-name=")[2].split()[0]

    def wait_gone(self) -> None:
        """Wait until nothing is left."""

        def what() -> tuple[dict[int, str], list[str]]:
            return self.processes(), self.left()

        wait_for(lambda: what() == ({}, []), what)

    def end(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def start(tmp_path: Path, sample_directory: Path, request: pytest.FixtureRequest) -> Any:
    def started(backend: str) -> Trial:
        if backend == "native":
            try:
                find_library()
            except BuildError:
                pytest.skip("the native backend cannot be built")
        trial = Trial(tmp_path, sample_directory, backend)
        request.addfinalizer(trial.end)
        trial.url = trial.wait_line("ready")["grpc"]
        trial.note()
        return trial

    return started


ALL = ["server", "guard", "triton", "backend"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "victims", "backend"),
    [
        (signal.SIGQUIT, ["server"], "native"),
        (signal.SIGHUP, ALL, "python"),
        (signal.SIGKILL, ALL[:3], "native"),
        (signal.SIGKILL, ALL[:3], "python"),
        (signal.SIGKILL, ALL, "python"),
    ],
)
def test_nothing_stays_behind(
    start: Callable[[str], Trial], number: signal.Signals, victims: list[str], backend: str
) -> None:
    trial = start(backend)
    assert trial.left()
    pids = [pid for kind in victims for pid in trial.pids(kind)]
    assert len(pids) == len(victims)
    for pid in pids:
        os.kill(pid, number)
    trial.wait_gone()
    assert (trial.process.wait() == 0) == (number != signal.SIGKILL)


@pytest.mark.slow
def test_a_server_whose_guard_is_killed_goes_on(
    start: Callable[[str], Trial], sample_events: list[RawEvent]
) -> None:
    """Also when what ends the old backend has done its work."""
    trial = start("python")
    [guard], [last] = trial.pids("guard"), trial.pids("last")
    os.kill(guard, signal.SIGKILL)
    trial.wait_line("started anew")
    wait_for(lambda: last not in trial.processes(), trial.processes)
    with Client(trial.url, timeout=60) as client:
        assert client.reconstruct("patatrack", sample_events[0]).counts.tracks > 0
        trial.process.terminate()
        trial.wait_gone()
