"""The guard of Triton: a program that runs Triton, ends it, and cleans up behind it.

It ends Triton on SIGTERM, and when its parent dies. It is a program of its own, because a process
that is killed cannot clean up. Linux's death signal alone would follow the thread that started
Triton, spare the children of Triton, and leave its shared memory. The program is small and
starts at once: ``python guard.py``, with the standard library only.
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
_WHILE_IT_STARTS = 10.0
"""Seconds after its start in which Triton makes an empty folder that it leaves behind."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_libc = ctypes.CDLL(None)


def main() -> int:
    """Read settings from standard input, as JSON, and run Triton until it ends.

    The keys are ``command``, the command that starts Triton; ``parent``, a process: if it dies,
    Triton is ended; ``shared_memory``, the prefix of Triton's regions; and ``orphaned``, paths to
    remove if the parent dies; ``is_silent``, to write nothing if the command ends (Envoy is run in
    this way too); ``kept``, numbers of open files that the command gets. The process id of Triton
    is written to standard output.

    Returns:
        Triton's exit status.
    """
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    settings = json.load(sys.stdin)
    parent = settings["parent"]
    told: list[int] = []
    before = _environments()
    begin = time.time()
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    triton = subprocess.Popen(
        settings["command"],
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,
        pass_fds=settings.get("kept", ()),
        preexec_fn=_die_with_parent,
    )
    print(triton.pid, flush=True)
    while triton.poll() is None and not told and os.getppid() == parent:
        time.sleep(_POLL)
    if triton.returncode is not None and not settings.get("is_silent"):
        print(f"guard: Triton ended with status {triton.returncode}", file=sys.stderr)
    end_group(triton)
    for folder in _environments() - before:
        with suppress(OSError):  # it is another Triton's, or in use
            if begin <= folder.stat().st_mtime < begin + _WHILE_IT_STARTS:
                folder.rmdir()
    for region in SHARED_MEMORY.glob(f"{settings['shared_memory']}*"):
        region.unlink(missing_ok=True)
    if os.getppid() != parent:
        for path in map(Path, settings["orphaned"]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return triton.returncode


def _environments() -> set[Path]:
    """Folders in which Triton's Python backend would unpack environments; ours brings none."""
    return set(Path("/tmp").glob("python_env_??????"))


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and all of its group, and wait until none is left.

    Its children become children of this process, which waits for them.
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
