"""The cache of compiled code on disk, which ends when a source changes.

Numba keeps a compiled function until the file of that function changes. But the function calls
formulas in other files; a change there must end the cache, too.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

_ROOT = Path(__file__).parents[1]
_BELOW = ("device", "detectors", "edm")
"""Folders whose formulas the loops of every folder use, besides its own formulas."""
T = TypeVar("T")


def of_these_sources(compiled: T) -> T:
    """Tie the cache of a function of Numba to all sources that its code may come from.

    These are the sources of its own room (for a tracker its folder, for another package all of it)
    and those of the rooms below.

    Args:
        compiled: a function that Numba compiles.

    Returns:
        the same function.
    """
    dispatcher: Any = compiled
    with contextlib.suppress(AttributeError):  # there is no place to write, or it is the simulator
        file = dispatcher._cache._cache_file
        file._source_stamp = file._source_stamp, _stamp(dispatcher.py_func.__module__)
        file._load_index = _tolerant(file._load_index)
    return compiled


def _tolerant(load_index: Callable[[], dict[Any, Any]]) -> Callable[[], dict[Any, Any]]:
    """Return ``load_index``, but an index that names types that are gone counts as empty."""

    def load() -> dict[Any, Any]:
        try:
            return load_index()
        except (ImportError, AttributeError):
            return {}

    return load


@cache
def _stamp(module: str) -> str:
    digest = hashlib.sha256()
    for folder in _folders(module):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _folders(module: str) -> Iterator[Path]:
    """Yield the folders whose sources the loops of ``module`` use."""
    yield from (_ROOT / room for room in _BELOW)
    package, *inside = module.split(".")
    if package == __name__.partition(".")[0]:
        yield _ROOT.joinpath(*inside[: 2 if inside[0] == "trackers" else 1])
    elif inside:
        yield from map(Path, sys.modules[package].__path__)
