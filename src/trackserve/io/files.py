"""Files that are complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import ConditionsError, InputError


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Give a path beside ``path``; the file written there takes its place if all goes well.

    Raises:
        InputError: ``path`` is a folder or a device.
    """
    path = path.resolve()  # the target of a link, not the link, is replaced
    check_file(path)
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_file(path: Path) -> None:
    """Refuse a place that no file can take.

    Raises:
        InputError: ``path`` is a folder or a device.
    """
    if path.exists() and not path.is_file():
        raise InputError("this is a folder or a device, not a file", file=str(path))


def check_writable(path: Path) -> None:
    """Refuse a place where no file can be written; nothing of the trial stays.

    Raises:
        InputError: it is a folder or a device, or the system refuses.
    """
    with writable(path), made(path.parent):
        check_file(path)
        TemporaryFile(dir=path.parent).close()


def as_path(path: str | Path) -> Path:
    """The path, if it is one.

    Raises:
        InputError: it cannot name a file.
    """
    try:
        found = Path(path)
        found.exists()
        if b"\0" not in os.fsencode(found):
            return found
    except (TypeError, ValueError, OSError):
        pass
    raise InputError("not a path", found=repr(path))


_NAMED = 3
"""Most files that :func:`contents_of` names."""


def contents_of(path: Path) -> str:
    """What is at a path, for an error that says what should be there.

    Raises:
        ConditionsError: the folder cannot be read.
    """
    with readable(path):
        if not path.exists():
            return "no such file or folder"
        if not path.is_dir():
            return "a file"
        names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "an empty folder"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Name ``path`` where the system refuses to read.

    Raises:
        ConditionsError: in place of an OSError.
    """
    try:
        yield
    except FileNotFoundError:
        raise ConditionsError("file is missing", file=str(path)) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConditionsError(f"cannot be read: {reason}", file=str(path)) from error


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder where needed; folders that it made, and that the block leaves empty, go again.

    Raises:
        OSError: it cannot be made.
    """
    new = absent_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        remove_empty(new)


def absent_folders(folder: Path) -> list[Path]:
    """The folder and those above it, as far as they do not exist; the innermost comes first."""
    return [place for place in (folder, *folder.parents) if not place.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove those folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):  # it is not empty
            folder.rmdir()


@contextmanager
def writable(path: Path) -> Iterator[None]:
    """Name ``path`` where the system refuses to write.

    Raises:
        InputError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot be written: {reason}", file=str(path)) from error


def first_not_finite(values: Array) -> int | None:
    """The first row whose value is not finite, or None."""
    bad = ~np.isfinite(values)
    return int(bad.argmax()) if bad.any() else None


def write_npz(path: Path, arrays: Mapping[str, Array], compress: bool = False) -> None:
    """Write an ``.npz`` file of arrays by name."""
    save = np.savez_compressed if compress else np.savez
    with complete(path) as partial, partial.open("wb") as file:
        save(file, **arrays)
