"""Files that are complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import InputError


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Give a path beside ``path``; the file written there takes its place if all goes well."""
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


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


def write_npz(path: Path, arrays: Mapping[str, Array], compress: bool = False) -> None:
    """Write an ``.npz`` file of arrays by name."""
    save = np.savez_compressed if compress else np.savez
    with complete(path) as partial, partial.open("wb") as file:
        save(file, **arrays)
