"""What is being compiled: a first start compiles for a minute, and a user wants to know.

Nothing here needs a compiler, so that a client can watch too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

Watcher = Callable[[str], None]
"""Gets the dotted name of a loop as its compilation begins; any thread may call it."""

_loops: set[str] = set()
_watchers: list[Watcher] = []
_lock = Lock()


@contextmanager
def watching_compilation(watcher: Watcher) -> Iterator[None]:
    """Within the context, ``watcher`` hears of every loop that is compiled, not of those from
    the cache on disk."""
    with _lock:
        _watchers.append(watcher)
    try:
        yield
    finally:
        with _lock:
            _watchers.remove(watcher)


def add_loop(name: str) -> None:
    """Count a loop that may be compiled."""
    _loops.add(name)


def n_loops() -> int:
    """Number of loops of the modules that are imported: the most that may be compiled."""
    return len(_loops)


def announce(name: str) -> None:
    """Tell all watchers that the compilation of the loop ``name`` begins."""
    with _lock:
        watchers = list(_watchers)
    for watcher in watchers:
        watcher(name)
