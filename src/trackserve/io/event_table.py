"""A Parquet file that has some rows for each event, one event after the other.

We write a row group for every event. A file that another program has written again may have any
row groups, and lack the list of events in its metadata: the column ``event`` says which rows belong
together, and they must follow each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.columns import Array, Columns
from trackserve.errors import EventError, InputError, parse_json

from .files import first_not_finite
from .points_columns import schema_of, to_noun


class Place(NamedTuple):
    """The place in a file of the rows of event ``number``."""

    number: int
    first: int = 0
    n: int = 0


class EventTable:
    """A Parquet file that is opened anew for every event, so that threads can share it."""

    def __init__(self, path: str, metadata: Any, schema: pa.Schema) -> None:
        self.path = path
        self.metadata = metadata
        self._schema = schema
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        """First row of each row group, and the number of rows."""

    def require(self, noun: type[Columns]) -> None:
        """Refuse a file without the columns of a noun.

        Raises:
            InputError: a column is missing, or of another type.
        """
        for name, dtype in ({"event": pa.int64()} | schema_of(noun)).items():
            found = self._schema.field(name).type if name in self._schema.names else None
            if found != dtype:
                raise InputError(
                    "column is missing or has another type",
                    file=self.path,
                    column=name,
                    found=str(found),
                    bound=str(dtype),
                )

    def by_groups(self, listed: Sequence[int]) -> list[Place] | None:
        """The events, if there is a row group for each; by the statistics alone."""
        numbers = [self._number_of(i) for i in range(self.metadata.num_row_groups)]
        if len(numbers) != len(listed):
            return None
        places = [
            Place(number, int(begin), int(end - begin))
            for number, (begin, end) in zip(listed, pairwise(self.starts), strict=True)
        ]
        fits = (
            place.n == 0 or number == place.number
            for number, place in zip(numbers, places, strict=True)
        )
        return places if all(fits) else None

    def by_rows(self) -> list[Place]:
        """The events, as rows of one number that follow each other."""
        number = self._event_column()
        begin = np.flatnonzero(np.append(True, np.diff(number) != 0)[: len(number)])
        end = np.append(begin, len(number))[1:]
        return [
            Place(int(number[first]), int(first), int(last - first))
            for first, last in zip(begin, end, strict=True)
        ]

    def read(self, place: Place, *nouns: type[Columns]) -> list[Any]:
        """The rows of an event, as these nouns.

        Raises:
            EventError: they cannot be read, or a value is missing or not finite.
        """
        names = [name for noun in nouns for name in schema_of(noun)]
        first, last = np.searchsorted(
            self.starts, [place.first, place.first + place.n - 1], "right"
        )
        groups = range(first - 1, last if place.n else first - 1)
        try:
            with pq.ParquetFile(
                self.path, metadata=self.metadata, page_checksum_verification=True
            ) as file:
                table = file.read_row_groups(list(groups), names, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise EventError(
                f"cannot be read: {error}", event=place.number, file=self.path
            ) from error
        if place.n:
            table = table.slice(place.first - int(self.starts[first - 1]), place.n)
        for name in names:
            if table[name].null_count:
                raise EventError(
                    "values are missing", event=place.number, file=self.path, column=name
                )
            bad = first_not_finite(np.array(table[name]))
            if bad is not None:
                raise EventError(
                    "value is not finite",
                    event=place.number,
                    file=self.path,
                    column=name,
                    row=bad,
                )
        return [to_noun(noun, table) for noun in nouns]

    def _number_of(self, group: int) -> int | None:
        """The one number of the events in a row group, if the statistics tell it."""
        column = self.metadata.row_group(group).column(self._schema.names.index("event"))
        known = column.statistics
        if known is None or not known.has_min_max or known.min != known.max or known.null_count:
            return None
        return int(known.min)

    def _event_column(self) -> Array:
        try:
            with pq.ParquetFile(self.path, metadata=self.metadata) as file:
                column = file.read(["event"])["event"]
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot be read: {error}", file=self.path) from error
        if column.null_count:
            raise InputError("values are missing", file=self.path, column="event")
        return np.array(column)


def listed_events(path: str, text: bytes | None) -> list[int]:
    """Numbers of events in the metadata ``text`` of the file ``path``; none if there is no list.

    Raises:
        InputError: the list is malformed.
    """
    if text is None:
        return []
    try:
        numbers = parse_json(text, list)
    except InputError:
        numbers = [None]
    if not all(type(number) is int for number in numbers):
        raise InputError(
            "the list of events is malformed",
            file=path,
            found=text[:80].decode(errors="replace"),
            bound="[int, ...]",
        )
    return numbers


def find_places(file: EventTable, listed: Sequence[int]) -> list[Place]:
    """The place of each event in ``listed``, then of those that are only in the file.

    Raises:
        InputError: the rows of an event do not follow each other.
    """
    if places := file.by_groups(listed):
        return places
    found: dict[int, Place] = {}
    for run in file.by_rows():
        if run.number in found:
            raise InputError(
                "rows of an event do not follow each other", file=file.path, event=run.number
            )
        found[run.number] = run
    return [found.pop(number, Place(number)) for number in listed] + list(found.values())


def open_table(path: Path) -> EventTable:
    """The file at a path.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            return EventTable(str(path), file.metadata, file.schema_arrow)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from error


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of such a file; each call of its ``write_table`` gets the rows of one event."""
    real = [field.name for field in schema if pa.types.is_floating(field.type)]
    other = [field.name for field in schema if field.name not in real]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=other,
        use_byte_stream_split=real,
        write_page_checksum=True,
    )
