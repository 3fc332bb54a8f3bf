"""Runs Triton and ends it, with all it leaves behind, when told to or when its parent dies.

A program of its own (``python guard.py``, only the standard library, so that it is small
and starts at once): a process that is killed cannot clean up, and Linux's death signal
alone would follow the thread that started Triton, spare Triton's own children, and leave
its shared memory. SIGTERM tells the guard to end Triton now.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_POLL = 0.1
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)


def main() -> int:
    """Read JSON from standard input and guard what it says until it ends.

    Keys: ``command``; ``parent``, the process that may not die; ``shared_memory``, the prefix
    of Triton's regions; ``orphaned``, paths to remove if the parent dies. Writes Triton's
    process id to standard output.

    Returns:
        Triton's exit status.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    settings = json.load(sys.stdin)
    parent = settings["parent"]
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    triton = subprocess.Popen(
        settings["command"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    print(triton.pid, flush=True)
    while triton.poll() is None and not told and os.getppid() == parent:
        time.sleep(_POLL)
    if triton.returncode is not None:
        print(f"guard: Triton ended with status {triton.returncode}", file=sys.stderr)
    end_group(triton)
    for region in SHARED_MEMORY.glob(f"{settings['shared_memory']}*"):
        region.unlink(missing_ok=True)
    if os.getppid() != parent:
        for path in map(Path, settings["orphaned"]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return triton.returncode


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all of its group, and wait until none is left.

    Its children become this process's, which is their reaper.
    """
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
