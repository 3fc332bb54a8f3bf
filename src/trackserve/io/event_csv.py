"""Events whose parts are CSV files with a common prefix, plain or gzipped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from trackserve.edm.columns import Array
from trackserve.errors import EventError, InputError

from .files import as_path, first_not_finite


class CsvError(Exception):
    """A file is wrong; ``fields`` say where."""

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class EventFile:
    """One of the files of an event, plain or gzipped."""

    def __init__(self, prefix: Path, kind: str) -> None:
        plain = prefix.with_name(f"{prefix.name}-{kind}.csv")
        zipped = plain.with_name(f"{plain.name}.gz")
        self.path = zipped if zipped.exists() and not plain.exists() else plain
        self._event = number_of(prefix)

    def exists(self) -> bool:
        """Whether it is there."""
        return self.path.exists()

    def read(self, columns: Mapping[str, Any], optional: Mapping[str, Any] = {}) -> Any:
        """Columns by name, with the given dtypes.

        Raises:
            EventError: the file or a column is missing, or a value is not a finite number.
        """
        try:
            return read_csv(self.path, columns, optional)
        except CsvError as error:
            raise self.error(error.message, **error.fields) from error

    def error(self, message: str, **fields: Any) -> EventError:
        """An error that names event and file."""
        return EventError(message, event=self._event, **({"file": str(self.path)} | fields))


class Rows:
    """Finds the row of an identifier in a column of distinct ones."""

    def __init__(self, file: EventFile, identifiers: Array) -> None:
        self._file = file
        self._order = np.argsort(identifiers, kind="stable")
        self._sorted = identifiers[self._order]
        again = self._sorted[1:][self._sorted[1:] == self._sorted[:-1]]
        if len(again):
            raise file.error("identifier stands there twice", found=int(again[0]))

    def __len__(self) -> int:
        return len(self._order)

    def of(self, file: EventFile, column: str, identifiers: Array) -> Array:
        """The row of each identifier, int32[n]; ``file`` and ``column`` are where they stand."""
        place = np.searchsorted(self._sorted, identifiers)
        missing = identifiers[~np.isin(identifiers, self._sorted)]
        if len(missing):
            raise file.error(
                "identifier does not exist",
                column=column,
                found=int(missing[0]),
                bound=f"one of {self._file.path.name}",
            )
        return self._order[place].astype(np.int32)


def read_csv(
    path: Path, columns: Mapping[str, Any], optional: Mapping[str, Any] = {}
) -> dict[str, Array]:
    """Columns by name, with the given dtypes.

    Raises:
        CsvError: the file or a column is missing, or a value is not a finite number.
    """
    if not path.exists():
        raise CsvError("file is missing", file=str(path))
    types = {
        name: pa.from_numpy_dtype(dtype) for name, dtype in [*columns.items(), *optional.items()]
    }
    convert = pyarrow.csv.ConvertOptions(column_types=types)
    read = pyarrow.csv.ReadOptions(use_threads=False)
    try:
        table = pyarrow.csv.read_csv(path, read_options=read, convert_options=convert)
    except (OSError, pa.ArrowException) as error:
        raise CsvError(f"cannot be read: {error}", file=str(path)) from error
    for name in columns:
        if name not in table.column_names:
            raise CsvError("column is missing", file=str(path), column=name)
    present = [name for name in types if name in table.column_names]
    for name in present:
        if table[name].null_count:
            raise CsvError("values are missing", file=str(path), column=name)
    found = {name: np.array(table[name]) for name in present}
    for name, values in found.items():
        row = first_not_finite(values)
        if row is not None:
            raise CsvError("value is not finite", file=str(path), column=name, row=row)
    return found


def stack(table: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """Columns as the columns of one array."""
    return np.stack([table[name] for name in names], axis=1)


def prefix_of(path: str | Path) -> Path:
    """The path as the prefix of an event's files.

    Raises:
        InputError: it cannot name an event.
    """
    prefix = as_path(path)
    if not prefix.name:
        raise InputError("not the prefix of an event", found=str(path))
    return prefix


def number_of(prefix: Path) -> int:
    """The last number in the name; 0 where there is none."""
    digits = re.findall(r"\d+", prefix.name)
    return int(digits[-1]) if digits else 0
