"""The end of what is left when Triton, its guard and the server are killed at once.

A guard ends what Triton leaves behind. If it is killed too, nobody is left to do that: a backend
of Python waits for ever, with Python's lock in its hands, and files stay. So each backend has a
small program beside it (``python orphan.py``, with the standard library only), which ends it and
cleans up.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "TRACKSERVE_LEFT_BEHIND"
"""Environment variable with :func:`settings`."""

_POLL = 1.0
_FOR_THE_GUARD = 3.0
"""Seconds in which a guard that lives ends the backend, and this program."""


def settings(patterns: list[str]) -> str:
    """What a server tells its backends, as JSON.

    Args:
        patterns: patterns of paths to remove if the server is gone too.
    """
    return json.dumps({"python": sys.executable, "server": os.getpid(), "patterns": patterns})


def end_with_triton(triton: int) -> None:
    """Have this process ended some seconds after Triton, if a server has started that.

    Args:
        triton: process id of Triton: this process itself, or its parent.
    """
    text = os.environ.get(VARIABLE)
    if text:
        found = json.loads(text)
        numbers = map(str, (triton, os.getpid(), found["server"]))
        command = [found["python"], "-I", "-S", __file__, *numbers, *found["patterns"]]
        subprocess.Popen(command, stdin=subprocess.DEVNULL)


def main(triton: int, backend: int, server: int, patterns: list[str]) -> None:
    """Wait for the end of Triton or of the backend, this process' parent; then clean up.

    A server that lives has started another Triton, or is about to: its files are in use.
    """
    while _is_alive(triton) and os.getppid() == backend:
        time.sleep(_POLL)
    time.sleep(_FOR_THE_GUARD)
    if _is_alive(triton):  # which the server sees to
        return
    if os.getppid() == backend:
        os.kill(backend, signal.SIGKILL)
    if _is_alive(server):
        return
    for pattern in map(Path, patterns):
        for path in pattern.parent.glob(pattern.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
