"""Compiled code on disk is of today's sources.

Numba keeps what it compiled until the file of the function itself changes. What that calls is in
other files: their formulas would stay the old ones.
"""

from __future__ import annotations

import contextlib
import hashlib
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

_ROOT = Path(__file__).parents[1]
_BELOW = {"simulation": ("device", "detector", "edm", "patatrack")}
_BELOW_OTHERS = ("device", "detector", "edm")
"""Packages whose formulas the loops of a package use, beside its own."""
T = TypeVar("T")


def of_these_sources(compiled: T) -> T:
    """The function that Numba is to compile, whose cache then lasts as long as all sources of its
    package and of those below."""
    dispatcher: Any = compiled
    with contextlib.suppress(AttributeError):  # nowhere to write, or the simulator
        file = dispatcher._cache._cache_file
        package = dispatcher.py_func.__module__.split(".")[1]
        file._source_stamp = file._source_stamp, _stamp(package)
    return compiled


@cache
def _stamp(package: str) -> str:
    digest = hashlib.sha256()
    for name in sorted({package, *_BELOW.get(package, _BELOW_OTHERS)}):
        for file in sorted((_ROOT / name).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
