"""The cache of compiled code on disk, which ends when a source changes.

Numba keeps a compiled function until the file of that function changes. But the function calls
formulas in other files; a change there must end the cache, too.

Numba looks for a folder that it can write to: ``NUMBA_CACHE_DIR``, ``__pycache__`` beside the
source, or one in the user's home. Here a temporary folder is the last of them. Code in the first
folder is used even if that is read-only. Without any folder, code is compiled in memory.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import inspect
import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

_ROOT = Path(__file__).parents[1]
_BELOW = ("device", "detectors", "edm")
"""Folders whose formulas the loops of every folder use, besides its own formulas."""
_TEMPORARY = "trackserve-numba-"
_CURE = "set NUMBA_CACHE_DIR to a folder that lasts"
_log = logging.getLogger(__name__)
T = TypeVar("T")


def add_last_place(caching: Any) -> None:
    """Make Numba take a temporary folder where it can write to no other.

    Args:
        caching: the module ``caching`` of Numba or of numba-cuda.
    """
    places = caching.CacheImpl._locator_classes
    beside_the_source: Any = places[1]

    class Temporary(beside_the_source):  # type: ignore[misc]
        def __init__(self, function: Any, file: str) -> None:
            super().__init__(function, file)
            if folder := _temporary():
                self._cache_path = str(folder / self.get_suitable_cache_subpath(file))

        def ensure_cache_path(self) -> None:
            with contextlib.suppress(OSError):
                super().ensure_cache_path()

    home = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))  # noqa: PTH111
    # without a home Numba would make a folder of the name "~" where the program runs
    places.insert(len(places) if Path(home).is_absolute() else 2, Temporary)


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
    with contextlib.suppress(AttributeError):  # the simulator has no cache
        file = dispatcher._cache._cache_file
        file._source_stamp = file._source_stamp, _stamp(dispatcher.py_func.__module__)
        dispatcher._cache._cache_file = _Entries(file, inspect.getfile(dispatcher.py_func))
    return compiled


class _Entries:
    """The compiled code of a function on disk. Code that cannot be read or kept is no error.

    Args:
        own: file of Numba at the place where it can write.
        source: file of the function.
    """

    def __init__(self, own: Any, source: str) -> None:
        caching: Any = sys.modules[type(own).__module__]
        subpath = caching._CacheLocator.get_suitable_cache_subpath(source)
        given = caching.config.CACHE_DIR
        folder = Path(given, subpath) if given else Path(source).parent / "__pycache__"
        first = copy.copy(own)
        first._cache_path = str(folder)
        first._index_path = str(folder / own._index_name)
        self._own = own
        self._places = [own] if first._index_path == own._index_path else [first, own]

    def load(self, key: Any) -> Any:
        for place in self._places:
            # an entry may be cut, of another user, or name types that are gone
            with contextlib.suppress(Exception):
                if (data := place.load(key)) is not None:
                    return data
        return None

    def save(self, key: Any, data: Any) -> None:
        try:
            try:
                self._own._load_index()
            except Exception:
                self.flush()
            self._own.save(key, data)
        except OSError as error:
            _say_once(f"compiled code cannot be kept, {error.strerror}: {_CURE}")
        else:
            folder = Path(self._own._cache_path).parent
            if folder.name.startswith(_TEMPORARY):
                _say_once(f"compiled code is kept in {folder}, for want of another: {_CURE}")

    def flush(self) -> None:
        self._own.flush()


@cache
def _temporary() -> Path | None:
    """Return a folder that only this user can use, since code is read from it; None without."""
    with contextlib.suppress(OSError):
        folder = Path(tempfile.gettempdir()) / f"{_TEMPORARY}{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if (
            found.st_uid == os.getuid()
            and stat.S_ISDIR(found.st_mode)
            and not found.st_mode & 0o077
        ):
            return folder
    return None


@cache
def _say_once(text: str) -> None:
    _log.warning(text)


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
