"""How a server tells its backends to finish, and how they tell that they did.

By files in one directory, since Triton has no such message: the server leaves ``stop`` in
it, and each backend process keeps a file of its own there until nothing is left to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "TRACKSERVE_DRAIN"
"""Environment variable that tells backends the directory."""

_STOP = "stop"


@contextmanager
def worker() -> Iterator[Callable[[], bool]]:
    """Count this process as busy; gives a function that tells whether to finish."""
    directory = os.environ.get(VARIABLE)
    if directory is None:
        yield lambda: False
        return
    mine = Path(directory) / f"{os.getpid()}"
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
    return not any(Path("/proc", name).exists() for name in names)
