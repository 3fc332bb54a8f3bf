"""The data of a study: rows on disk, as CSV and as Parquet, and what they were measured with.

A row is one measurement: values by column. ``NAME.json`` beside ``NAME.csv`` and ``NAME.parquet``
has the rest: :class:`Record`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.errors import InputError, parse_json
from trackserve.io.files import complete, readable, writable

Value = str | int | float | None
Row = dict[str, Value]


class Record(NamedTuple):
    """A study that was measured.

    Attributes:
        study: its name.
        rows: the measurements.
        about: what they were measured with, as JSON takes it: commands, machine, versions...
    """

    study: str
    rows: list[Row]
    about: dict[str, Any]


def columns_of(rows: Sequence[Row]) -> dict[str, list[Value]]:
    """The columns, in the order in which they first occur; a value that a row lacks is None."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def write_record(folder: Path, record: Record) -> None:
    """Write the files of a study, each whole or not at all.

    Raises:
        InputError: the folder cannot be written.
    """
    columns = columns_of(record.rows)
    with writable(folder / f"{record.study}.csv"):
        with complete(folder / f"{record.study}.csv") as path, path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        with complete(folder / f"{record.study}.parquet") as path:
            pq.write_table(table, path)
        text = json.dumps(record.about, indent=1) + "\n"
        with complete(folder / f"{record.study}.json") as path:
            path.write_text(text, encoding="utf-8")


def read_record(folder: Path, study: str) -> Record | None:
    """The study that :func:`write_record` wrote; None if it is not there.

    Raises:
        ConditionsError: a file cannot be read.
        InputError: a file has something else.
    """
    place = folder / f"{study}.json"
    if not place.exists():
        return None
    with readable(place):
        about = parse_json(place.read_bytes(), dict, file=str(place))
    data = place.with_suffix(".parquet")
    with readable(data):
        try:
            table = pq.read_table(data)
        except pa.ArrowInvalid as error:
            raise InputError("no Parquet", file=str(data), found=str(error)[:80]) from None
    rows = [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]
    return Record(study, rows, about)


def chosen(rows: Sequence[Row], **values: Value) -> list[Row]:
    """The rows that have these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in values.items())]


def groups(rows: Sequence[Row], *names: str) -> dict[tuple[Value, ...], list[Row]]:
    """The rows by their values in some columns, in the order in which these occur."""
    found: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row.get(name) for name in names), []).append(row)
    return found


def numbers(rows: Sequence[Mapping[str, Value]], name: str) -> list[float]:
    """The values of a column of numbers; rows without one are left out."""
    return [float(value) for row in rows if isinstance(value := row.get(name), int | float)]
