"""Compiled code on disk is of today's sources.

Numba keeps what it compiled until the file of the function itself changes. What that calls is in
other files: their formulas would stay the old ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

_ROOT = Path(__file__).parents[1]
_BELOW = ("device", "detectors", "edm")
"""Rooms whose formulas the loops of every room use, beside its own."""
T = TypeVar("T")


def of_these_sources(compiled: T) -> T:
    """The function that Numba is to compile, whose cache then lasts as long as all sources of its
    room and of those below; a tracker's room is its folder, another package is one room."""
    dispatcher: Any = compiled
    with contextlib.suppress(AttributeError):  # nowhere to write, or the simulator
        file = dispatcher._cache._cache_file
        file._source_stamp = file._source_stamp, _stamp(dispatcher.py_func.__module__)
    return compiled


@cache
def _stamp(module: str) -> str:
    digest = hashlib.sha256()
    for folder in _folders(module):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _folders(module: str) -> Iterator[Path]:
    """The folders whose sources the loops of ``module`` are made of."""
    yield from (_ROOT / room for room in _BELOW)
    package, *inside = module.split(".")
    if package == __name__.partition(".")[0]:
        yield _ROOT.joinpath(*inside[: 2 if inside[0] == "trackers" else 1])
    elif inside:
        yield from map(Path, sys.modules[package].__path__)
