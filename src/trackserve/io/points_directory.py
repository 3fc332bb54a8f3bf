"""Events of space points as two Parquet files.

``points.parquet`` has the space points (``event``, ``x``, ``y``, ``z`` in mm) and, where the
truth is known, their ``particle`` (row in the event's particles, -1 for noise), ``volume``,
``layer``, ``module`` and ``weight``. ``particles.parquet`` has the particles (``event``,
``collision``, ``pdg``, ``charge``, ``vx``, ``vy``, ``vz``, ``px``, ``py``, ``pz`` in mm and
GeV, ``primary``). The metadata of ``points.parquet`` lists the numbers of the events, since
an event may have no points, and may name the ``detector``.

We write a row group for every event. A file that another program has written again may have any
row groups and lack the list: the column ``event`` says which rows belong together, and they must
follow each other.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.points import PointsEvent, SpacePoints
from trackserve.edm.truth import MM_PER_CM, Particles, PointsTruth, TruePoints
from trackserve.errors import EventError, InputError, parse_json

from .files import as_path, complete, first_not_finite, writable

POINTS = "points.parquet"
PARTICLES = "particles.parquet"


@dataclass(frozen=True, eq=False)
class _StoredParticles(Columns):
    """Particles as the file has them: mm, GeV."""

    collision: Array = column(np.int32)
    pdg: Array = column(np.int32)
    charge: Array = column(np.int8)
    position: Array = column(np.float32, 3)
    momentum: Array = column(np.float32, 3)
    primary: Array = column(np.bool_)

    @classmethod
    def of(cls, particles: Particles) -> _StoredParticles:
        return cls(
            particles.collision,
            particles.pdg,
            particles.charge,
            (particles.position * MM_PER_CM).astype(np.float32),
            particles.momentum.astype(np.float32),
            particles.primary,
        )

    def particles(self) -> Particles:
        """The particles in cm; :meth:`of` gives the same bits back."""
        return Particles(
            self.collision,
            self.pdg,
            self.charge,
            self.position.astype(np.float64) / MM_PER_CM,
            self.momentum.astype(np.float64),
            self.primary,
        )


_AXES = {
    SpacePoints: {"position": ("x", "y", "z")},
    TruePoints: {},
    _StoredParticles: {"position": ("vx", "vy", "vz"), "momentum": ("px", "py", "pz")},
}


class PointsDirectory:
    """Reads the events of a directory that :func:`write_points` wrote.

    Raises:
        InputError: a file cannot be read or lacks a column, the list of events is malformed, or
            rows of an event do not follow each other.
    """

    def __init__(self, directory: Path) -> None:
        self._points = _open(directory / POINTS)
        metadata = self._points.metadata.metadata or {}
        detector = metadata.get(b"detector")
        self.detector = None if detector is None else detector.decode(errors="replace")
        self._points.require(SpacePoints)
        listed = _listed(self._points.path, metadata.get(b"events"))
        self._particles: _File | None = None
        if (directory / PARTICLES).exists():
            self._points.require(TruePoints)
            self._particles = _open(directory / PARTICLES)
            self._particles.require(_StoredParticles)
            born = _places(self._particles, listed)
            listed = [place.number for place in born]
        self._places = _places(self._points, listed)
        self._numbers = [place.number for place in self._places]
        if self._particles is not None:
            missing = [_Place(number) for number in self._numbers[len(born) :]]
            self._born = born + missing

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, index: int) -> PointsEvent:
        """Event ``index``, counted from 0.

        Raises:
            EventError: the event is damaged.
        """
        number = self._numbers[index]
        if self._particles is None:
            return PointsEvent(self._points.read(self._places[index], SpacePoints)[0], number)
        points, truth = self._points.read(self._places[index], SpacePoints, TruePoints)
        (stored,) = self._particles.read(self._born[index], _StoredParticles)
        particles = stored.particles()
        if len(truth) and not -1 <= truth.particle.min() <= truth.particle.max() < len(particles):
            raise EventError(
                "a point's particle does not exist",
                event=number,
                file=self._points.path,
                column="particle",
                found=[int(truth.particle.min()), int(truth.particle.max())],
                bound=f"-1..{len(particles) - 1}",
            )
        return PointsEvent(points, number, PointsTruth(truth, particles))


def write_points(
    directory: str | Path, events: Iterable[PointsEvent], detector: str | None = None
) -> None:
    """Write events as :func:`open_points` reads them; one is in memory at a time.

    Args:
        directory: is made if needed; events that it holds are replaced once all are written.
        events: all have truth, or none has it.
        detector: where they are from; a model for another detector refuses them.

    Raises:
        InputError: some have truth and others do not, there is no event, two have the same number
            or one has a number that is no int64, columns of an event have
            several lengths, or a file cannot be written.
    """
    directory = as_path(directory)
    with writable(directory):
        directory.mkdir(parents=True, exist_ok=True)
        _write_points(directory, events, detector)


def _write_points(directory: Path, events: Iterable[PointsEvent], detector: str | None) -> None:
    numbers: dict[int, None] = {}
    with_truth = True
    with ExitStack() as replace, ExitStack() as stack:
        files: dict[str, pq.ParquetWriter] = {}
        for event in events:
            truth = event.truth
            if not numbers:
                with_truth = truth is not None
            if with_truth != (truth is not None):
                raise InputError("some events have truth, others do not", event=event.event)
            number = _number(event.event)
            if number in numbers:
                raise InputError("two events have the same number", event=number)
            tables = {POINTS: _table(number, event.points, *_points_of(truth))}
            if truth is not None:
                tables[PARTICLES] = _table(number, _StoredParticles.of(truth.particles))
            for name, table in tables.items():
                if name not in files:
                    partial = replace.enter_context(complete(directory / name))
                    files[name] = stack.enter_context(_writer(partial, table.schema))
                files[name].write_table(table, row_group_size=max(len(table), 1))
            numbers[number] = None
        if not numbers:
            raise InputError("no events to write", directory=str(directory))
        metadata = {"events": json.dumps(list(numbers))}
        if detector is not None:
            metadata["detector"] = detector
        files[POINTS].add_key_value_metadata(metadata)
    if not with_truth:
        (directory / PARTICLES).unlink(missing_ok=True)


def _number(value: Any) -> int:
    """The number of an event, as the file has it.

    Raises:
        InputError: it is no int64.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or not -(2**63) <= number < 2**63:
        raise InputError("the number of an event is no int64", found=value)
    return number


class _Place(NamedTuple):
    """The place in a file of the rows of event ``number``."""

    number: int
    first: int = 0
    n: int = 0


class _File:
    """A Parquet file that is opened anew for every event, so that threads can share it."""

    def __init__(self, path: str, metadata: Any, schema: pa.Schema) -> None:
        self.path = path
        self.metadata = metadata
        self._schema = schema
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        """First row of each row group, and the number of rows."""

    def require(self, noun: type[Columns]) -> None:
        for name, dtype in ({"event": pa.int64()} | _schema(noun)).items():
            found = self._schema.field(name).type if name in self._schema.names else None
            if found != dtype:
                raise InputError(
                    "column is missing or has another type",
                    file=self.path,
                    column=name,
                    found=str(found),
                    bound=str(dtype),
                )

    def by_groups(self, listed: Sequence[int]) -> list[_Place] | None:
        """The events, if there is a row group for each; by the statistics alone."""
        numbers = [self._number_of(i) for i in range(self.metadata.num_row_groups)]
        if len(numbers) != len(listed):
            return None
        places = [
            _Place(number, int(begin), int(end - begin))
            for number, (begin, end) in zip(listed, pairwise(self.starts), strict=True)
        ]
        fits = (
            place.n == 0 or number == place.number
            for number, place in zip(numbers, places, strict=True)
        )
        return places if all(fits) else None

    def by_rows(self) -> list[_Place]:
        """The events, as rows of one number that follow each other."""
        number = self._event_column()
        begin = np.flatnonzero(np.append(True, np.diff(number) != 0)[: len(number)])
        end = np.append(begin, len(number))[1:]
        return [
            _Place(int(number[first]), int(first), int(last - first))
            for first, last in zip(begin, end, strict=True)
        ]

    def read(self, place: _Place, *nouns: type[Columns]) -> list[Any]:
        names = [name for noun in nouns for name in _schema(noun)]
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
        return [_columns(noun, table) for noun in nouns]

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


def _listed(path: str, text: bytes | None) -> list[int]:
    """Numbers of events in the metadata; none if there is no list."""
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


def _places(file: _File, listed: Sequence[int]) -> list[_Place]:
    """The place of each event in ``listed``, then of those that are only in the file."""
    if places := file.by_groups(listed):
        return places
    found: dict[int, _Place] = {}
    for run in file.by_rows():
        if run.number in found:
            raise InputError(
                "rows of an event do not follow each other", file=file.path, event=run.number
            )
        found[run.number] = run
    return [found.pop(number, _Place(number)) for number in listed] + list(found.values())


def _open(path: Path) -> _File:
    try:
        with pq.ParquetFile(path) as file:
            return _File(str(path), file.metadata, file.schema_arrow)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"cannot be read: {error}", file=str(path)) from error


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
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


def _schema(noun: type[Columns]) -> dict[str, pa.DataType]:
    """Name and type of the Parquet columns of ``noun``."""
    return {
        name: pa.from_numpy_dtype(column.dtype)
        for field, column in noun.schema().items()
        for name in _AXES[noun].get(field, (field,))
    }


def _points_of(truth: PointsTruth | None) -> tuple[TruePoints, ...]:
    return () if truth is None else (truth.points,)


def _table(number: int, *parts: Columns) -> pa.Table:
    columns: dict[str, Array] = {"event": np.full(len(parts[0]), number, np.int64)}
    for part in parts:
        for field, values in part.columns().items():
            axes = _AXES[type(part)].get(field)
            if axes is None:
                columns[field] = values
            else:
                columns |= dict(zip(axes, np.ascontiguousarray(values.T), strict=True))
    try:
        return pa.table(columns)
    except pa.ArrowInvalid as error:
        raise InputError(f"columns do not fit together: {error}", event=number) from error


def _columns(noun: type[Columns], table: pa.Table) -> Columns:
    def values(name: str) -> Array:
        return np.array(table[name])

    return noun(
        *(
            np.stack([values(axis) for axis in _AXES[noun][field]], axis=1)
            if field in _AXES[noun]
            else values(field)
            for field in noun.schema()
        )
    )
