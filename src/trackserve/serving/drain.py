"""The order of a server to its backends to finish, and their reports that they have finished.

Triton has no such message, so files in one directory are used. The server writes ``stop``. Each
model in a backend process keeps a file of its own there until it has finished.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "TRACKSERVE_DRAIN"
"""Environment variable with the directory, for the backends."""

_STOP = "stop"
_numbers = itertools.count()


@contextmanager
def worker() -> Iterator[Callable[[], bool]]:
    """Count one worker of this process; the context is a function: whether to finish."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        yield lambda: False
        return
    mine = Path(directory) / f"{os.getpid()}-{next(_numbers)}"
    mine.touch()
    try:
        yield (Path(directory) / _STOP).exists
    finally:
        mine.unlink(missing_ok=True)


def order(directory: Path) -> None:
    """Tell all workers to finish."""
    (directory / _STOP).touch()


def done(directory: Path) -> bool:
    """Whether all workers have finished, or died."""
    names = [file.name for file in directory.iterdir() if file.name != _STOP]
    return not any(Path("/proc", name.partition("-")[0]).exists() for name in names)
