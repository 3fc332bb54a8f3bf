"""Decisions on disk: a Parquet file with a row for each event.

- ``event``, ``source``, ``source_event``, ``error``: as in a file of results
  (:mod:`trackserve.io.parquet`);
- ``accepted``: whether a path accepted the event;
- for each path of the menu a record: ``quantity``, ``passed``, ``accepted``.

All of it follows from the events and the job alone, so two files of one job are equal wherever
tracking ran, if that is bit for bit the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.records import field
from trackserve.errors import EventError, InputError
from trackserve.io.comparison import Comparison, compare_files
from trackserve.io.files import complete, writable
from trackserve.io.parquet import check_replaceable, writer

from .menu import Decision, Entry


class Decided(NamedTuple):
    """What a menu says of an event.

    Attributes:
        source: where the event was read.
        event: its number there; -1 of one that could not be read.
        decisions: one for each entry of the menu; none if the event failed.
        error: why it failed; None if it did not.
    """

    source: str
    event: int
    decisions: tuple[Decision, ...]
    error: EventError | None = None

    @property
    def accepted(self) -> bool:
        """Whether a path accepted the event."""
        return any(decision.accepted for decision in self.decisions)


def decisions_schema(entries: Sequence[Entry], about: Mapping[str, str]) -> pa.Schema:
    """Schema of the file of a menu; ``about`` is further metadata."""
    fields = [
        field("event", pa.int64(), "Place of the event in the file."),
        field("source", pa.string(), "Where the event was read."),
        field("source_event", pa.int64(), "Number of the event there."),
        field("error", pa.string(), "Why there is no decision; empty where there is one."),
        field("accepted", pa.bool_(), "Whether a path accepted the event."),
    ]
    for entry in entries:
        unit = f", {entry.path.unit}" if entry.path.unit else ""
        record = pa.struct(
            [
                field("quantity", pa.float64(), f"What the event is judged by{unit}."),
                field("passed", pa.bool_(), f"Whether that is {entry.threshold:g} or more."),
                field("accepted", pa.bool_(), f"Passed, and one of {entry.prescale} events."),
            ]
        )
        fields.append(field(entry.name, record, f"Path {entry.name}."))
    menu = [
        {
            "name": one.name,
            "threshold": one.threshold,
            "prescale": one.prescale,
            "unit": one.path.unit,
        }
        for one in entries
    ]
    return pa.schema(fields, {"menu": json.dumps(menu)} | dict(about))


def write_decisions(
    path: Path, entries: Sequence[Entry], decided: Sequence[Decided], about: Mapping[str, str]
) -> None:
    """Write decisions; the file is complete, or not there.

    Raises:
        InputError: it cannot be written.
    """
    schema = decisions_schema(entries, about)
    nothing = tuple(Decision() for _ in entries)
    rows = [one.decisions or nothing for one in decided]
    arrays = [
        pa.array(range(len(decided)), pa.int64()),
        pa.array([one.source for one in decided], pa.string()),
        pa.array([one.event for one in decided], pa.int64()),
        pa.array(["" if one.error is None else str(one.error) for one in decided], pa.string()),
        pa.array([one.accepted for one in decided], pa.bool_()),
    ]
    for place, entry in enumerate(entries):
        some = [row[place]._asdict() for row in rows]
        arrays.append(pa.array(some, schema.field(entry.name).type))
    table = pa.Table.from_arrays(arrays, schema=schema)
    with writable(path), complete(path) as partial, writer(partial, schema) as file:
        file.write_table(table)


def check_place(path: Path) -> None:
    """Refuse a place that decisions would overwrite something else at.

    Raises:
        InputError: there is a folder, a device, or another file.
    """
    check_replaceable(path, b"menu", "table of decisions")


def compare_decisions(path: Path, other: Path) -> Comparison:
    """Compare two files of one menu and the same events: those that it decides otherwise.

    Raises:
        InputError: a file is no table of decisions, or they have other events or another menu.
    """
    files = [str(path), str(other)]
    if menu_of(path) != menu_of(other):
        raise InputError("decisions of other menu", files=files)
    compared = compare_files(path, other)
    if any(one.reasons[0] in ("only in A", "only in B") for one in compared.differences):
        raise InputError("decisions of other events", files=files)
    return compared


def menu_of(path: Path) -> bytes:
    """The menu of a file of decisions, as it is written.

    Raises:
        InputError: the file is no table of decisions.
    """
    try:
        found: bytes = (pq.read_schema(path).metadata or {})[b"menu"]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError("no table of decisions", file=str(path), reason=str(error)) from error
    return found
