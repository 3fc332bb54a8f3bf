"""Results of many events as a table: in memory as an awkward array, on disk as Parquet.

A table has a row for every event. Its schema follows from the class of the results and the
intermediates that are kept, never from the data, so that files of many runs can be joined:

- ``event``: number of the event, int64, unique in the file;
- ``source``: where it was read, a string; ``source_event``: its number there, int64;
- ``error``: why there is no result, a string; empty where there is one;
- ``origin``: a record: the server that gave the answer, and how (see :data:`ORIGIN`);
- ``stopped_by``: name of the limit that ended the work on the event, a string; where it is not
  empty, the result is partial;
- ``counts``: a record of int64;
- each part of the result: a list of records (see :mod:`trackserve.edm.records`).

No value is missing. Each field has the metadata ``meaning``, a text with the unit; the same texts
are in the file's metadata ``meanings``, by place, as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.columns import OFFSET
from trackserve.edm.meaning import meanings, plain
from trackserve.edm.records import field, list_of, make_lists, record_type, to_records
from trackserve.edm.result import Origin, Outcome, Result
from trackserve.errors import InputError

from .files import check_file, complete, writable

_STOPPED_BY = (
    "Name of the limit that ended the work on the event: its result is partial. "
    "Empty where it is complete."
)
ROW_GROUP_EVENTS = 64
"""Most events of a row group, which is what is held in memory before it is written."""
ROW_GROUP_BYTES = 1 << 26
"""A row group of this size, as arrays in memory, is written though it has fewer events."""


ORIGIN = {
    "server": (pa.string(), "Url of the server that gave the answer; empty: no server did."),
    "tries": (pa.int64(), "Times that the event was sent; 0: without a client."),
    "seconds": (pa.float64(), "Time from the event to its answer, s; 0 without a client."),
    "is_fallback": (pa.bool_(), "Whether it was made locally because no server could."),
    "request": (pa.string(), "Id of its request, for the log of the server."),
    "identity": (pa.string(), "What made the result; empty where it is not known."),
}
"""Fields of ``origin``, each with its type and meaning; :class:`trackserve.edm.result.Origin` and
the identity."""


class Row(NamedTuple):
    """An event and what it came to.

    Attributes:
        outcome: its result, or the error that says why there is none.
        source: where the event was read.
        event: its number in the table; None: the number that it has there.
    """

    outcome: Outcome
    source: str = ""
    event: int | None = None

    @property
    def number(self) -> int:
        """Number of the event where it was read; -1 where an error does not know it."""
        if isinstance(self.outcome, Result):
            return self.outcome.event
        return int(self.outcome.fields.get("event", -1))


def results_schema(
    kind: type[Result], keep: Collection[str] = (), about: Mapping[str, str] | None = None
) -> pa.Schema:
    """Schema of a table of results.

    Args:
        kind: class of the results.
        keep: intermediates that the table has.
        about: further metadata of the file, as the version that wrote it.

    Raises:
        InputError: ``keep`` names a part that does not exist.
    """
    kind.check_keep(keep)
    counts = kind.counts_type()
    texts = meanings(counts)  # type: ignore[arg-type]
    numbers = pa.struct([field(name, pa.int64(), texts.get(name, "")) for name in counts.names()])
    origin = pa.struct([field(name, *how) for name, how in ORIGIN.items()])
    fields = [
        field("event", pa.int64(), "Number of the event, unique in the file."),
        field("source", pa.string(), "Where the event was read."),
        field("source_event", pa.int64(), "Number of the event there."),
        field("error", pa.string(), "Why there is no result; empty where there is one."),
        field("origin", origin, "Where the answer came from."),
        field("stopped_by", pa.string(), _STOPPED_BY),
        field("counts", numbers, "How many of each there are."),
    ]
    for name, noun in _nouns(kind, keep).items():
        fields.append(field(name, list_of(record_type(noun)), plain(noun.__doc__ or "")))
    metadata = {"meanings": json.dumps(dict(_places(fields)))} | dict(about or {})
    return pa.schema(fields, metadata)


def to_table(rows: Iterable[Row], kind: type[Result], schema: pa.Schema) -> pa.Table:
    """The table of ``rows``, of a :func:`results_schema`.

    Raises:
        InputError: a result is of another class, lacks a part of the table, or has one more.
    """
    rows = list(rows)
    good = [row.outcome if isinstance(row.outcome, Result) else None for row in rows]
    nouns = _nouns(kind, schema.names)
    for result in good:
        if result is not None and (type(result) is not kind or result.parts().keys() != set(nouns)):
            raise InputError(
                "a result does not fit the table",
                event=result.event,
                found=[type(result).__name__, *result.parts()],
                bound=[kind.__name__, *nouns],
            )
    names = kind.counts_type().names()
    zeros = np.zeros(len(names), np.int64)
    counts = np.array([zeros if r is None else r.counts.as_array() for r in good], np.int64)
    columns = counts.reshape(-1, len(names)).T
    arrays: list[pa.Array] = [
        pa.array([row.number if row.event is None else row.event for row in rows], pa.int64()),
        pa.array([row.source for row in rows], pa.string()),
        pa.array([row.number for row in rows], pa.int64()),
        pa.array(["" if isinstance(row.outcome, Result) else str(row.outcome) for row in rows]),
        pa.array(map(_origin, rows), schema.field("origin").type),
        pa.array(["" if result is None else result.stopped_by for result in good], pa.string()),
        pa.StructArray.from_arrays(
            [pa.array(np.ascontiguousarray(column)) for column in columns],
            fields=list(schema.field("counts").type),
        ),
    ]
    for name, noun in nouns.items():
        parts = [noun.empty() if r is None else getattr(r, name) for r in good]
        offsets = np.zeros(len(parts) + 1, OFFSET)
        offsets[1:] = np.cumsum([len(part) for part in parts])
        arrays.append(make_lists(offsets, to_records(noun.concatenate(parts))))
    return pa.Table.from_arrays(arrays, schema=schema)


def to_awkward(
    results: Iterable[Outcome], kind: type[Result], keep: Collection[str] | None = None
) -> ak.Array:
    """One record per event, of the fields that the text of this module lists.

    Args:
        results: of one tracker.
        kind: class of the tracker's results.
        keep: intermediates that all results have; by default those of the first result.

    Raises:
        InputError: a result has other parts.
    """
    results = list(results)
    schema = results_schema(kind, _kept(results) if keep is None else keep)
    return ak.from_arrow(to_table(map(Row, results), kind, schema))


def write_parquet(
    path: str | Path,
    results: Iterable[Outcome],
    kind: type[Result],
    keep: Collection[str] | None = None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write results as they come; the file is complete, or not there.

    Args:
        path: the file.
        results, kind, keep: as of :func:`to_awkward`. By default ``keep`` is what the results of
            the first row group have.
        about: as of :func:`results_schema`.

    Raises:
        InputError: a result has other parts, or the file cannot be written.
    """
    groups = in_groups(results)
    first = next(groups, [])
    schema = results_schema(kind, _kept(first) if keep is None else keep, about)
    with writable(Path(path)), complete(Path(path)) as partial, writer(partial, schema) as file:
        for group in chain([first], groups):
            file.write_table(to_table(map(Row, group), kind, schema))


def writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer that keeps nothing that it was given."""
    return pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)


def check_replaceable(path: Path, key: bytes, what: str) -> None:
    """Refuse a place that holds something else than a file that may be replaced.

    Args:
        path: the place.
        key: key in the metadata of the files that may be replaced.
        what: what they are, for the error.

    Raises:
        InputError: there is a folder, a device, or another file.
    """
    check_file(path)
    if not path.exists():
        return
    try:
        known = key in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        known = False
    if not known:
        raise InputError(f"a file is there that is no {what}; it is not replaced", file=str(path))


def in_groups(outcomes: Iterable[Outcome]) -> Iterator[list[Outcome]]:
    """Lists of outcomes, each a row group."""
    group: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        group.append(outcome)
        size += bytes_of(outcome)
        if is_full(len(group), size):
            yield group
            group, size = [], 0
    if group:
        yield group


def is_full(n_events: int, size: int) -> bool:
    """Whether a row group of ``size`` bytes in memory is to be written."""
    return n_events >= ROW_GROUP_EVENTS or size >= ROW_GROUP_BYTES


def is_over(n_events: int, size: int) -> bool:
    """Whether ``size`` bytes in memory are too many for a row group."""
    return n_events > ROW_GROUP_EVENTS or size > ROW_GROUP_BYTES


def bytes_of(outcome: Outcome) -> int:
    """Size of the arrays of a result, bytes; 0 of an error."""
    if not isinstance(outcome, Result):
        return 0
    return sum(part.nbytes for part in outcome.parts().values())


def _kept(results: Iterable[Outcome]) -> list[str]:
    """The intermediates of the first result."""
    first = next((result for result in results if isinstance(result, Result)), None)
    return [] if first is None else [name for name in first.parts() if name not in first.always()]


def _nouns(kind: type[Result], names: Collection[str]) -> dict[str, Any]:
    kept = {name: noun for name, noun in kind.intermediates().items() if name in names}
    return kind.always() | kept


def _origin(row: Row) -> dict[str, Any]:
    """The record ``origin`` of a row."""
    outcome = row.outcome
    identity = outcome.identity if isinstance(outcome, Result) else ""
    return (outcome.origin or Origin())._asdict() | {"identity": identity}


def _places(fields: Iterable[pa.Field], inside: str = "") -> Iterator[tuple[str, str]]:
    """Place and meaning of each field and of those in it, as "tracks.pt"."""
    for one in fields:
        yield f"{inside}{one.name}", (one.metadata or {}).get(b"meaning", b"").decode()
        kind = one.type.value_type if pa.types.is_list(one.type) else one.type
        if pa.types.is_struct(kind):
            yield from _places(kind, f"{inside}{one.name}.")
