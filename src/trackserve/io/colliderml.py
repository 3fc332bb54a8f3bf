"""Events of ColliderML, the data set that follows TrackML: its Parquet tables, and predictions.

A row is an event; its columns are lists of equal length. The table ``tracker_hits`` has
``event_id``, ``x``, ``y``, ``z`` (mm), ``particle_id``, ``volume_id``, ``layer_id`` and
``surface_id``. The table ``particles`` has ``event_id``, ``particle_id``, ``pdg_id``, ``charge``,
``vx``, ``vy``, ``vz`` (mm), ``px``, ``py``, ``pz`` (GeV), ``vertex_primary`` (from 1) and
``primary`` or ``parent_id``: a particle is primary if its parent is not in the table. Other columns
are not read. A table may be several files: those whose names, or whose folders', hold its name.

Predictions are flat rows ``event_id``, ``hit_id`` (place in the event's list) and ``track_id``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.columns import Array
from trackserve.edm.points import PointsEvent, SpacePoints, TrackCandidates
from trackserve.edm.truth import MM_PER_CM, Particles, PointsTruth, TruePoints
from trackserve.errors import EventError, InputError

from .files import as_path, complete, first_not_finite, made, writable

HITS, PARTICLES = "tracker_hits", "particles"
OPEN_DATA_DETECTOR = "odd"
"""Name of the detector of the public tables."""
_LEVELS = 3
"""Levels of folders in which tables are looked for."""
_POSITION = ("x", "y", "z")
_SENSOR = ("volume_id", "layer_id", "surface_id")
_VERTEX = ("vx", "vy", "vz")
_MOMENTUM = ("px", "py", "pz")
_TRUE = ("particle_id", "pdg_id", "charge", *_VERTEX, *_MOMENTUM, "vertex_primary")


class CollidermlDirectory:
    """Reads the events of a folder.

    Args:
        directory: the folder.
        files: its Parquet files, from :func:`find_files`.

    Attributes:
        detector: name of the detector.

    Raises:
        InputError: the folder has no hits, or a file cannot be read or lacks a column.
    """

    def __init__(self, directory: Path, files: Sequence[Path]) -> None:
        self._hits = _Table(directory, HITS, of_table(files, HITS), _POSITION)
        named = (self._hits.metadata or {}).get(b"detector", OPEN_DATA_DETECTOR.encode())
        self.detector = named.decode(errors="replace")
        self._particles: _Table | None = None
        if particles := of_table(files, PARTICLES):
            self._particles = _Table(directory, PARTICLES, particles, _TRUE)
            self._hits.require(("particle_id", *_SENSOR))

    def __len__(self) -> int:
        return len(self._hits.numbers)

    def read(self, index: int) -> PointsEvent:
        """Event ``index``, counted from 0.

        Raises:
            EventError: it is damaged, or has no particles.
        """
        number = self._hits.numbers[index]
        hits = self._hits.row(index)
        points = SpacePoints(_vectors(hits, _POSITION, np.float32))
        if self._particles is None:
            return PointsEvent(points, number)
        where = self._particles.places.get(number)
        if where is None:
            raise EventError("the event has no row of particles", event=number)
        return PointsEvent(points, number, _truth(hits, self._particles.row(where)))


def find_files(directory: Path) -> list[Path]:
    """The Parquet files in the directory, and in folders at most two below it, sorted."""
    found: list[Path] = []
    folders = [directory]
    for _ in range(_LEVELS):
        deeper: list[Path] = []
        for folder in folders:
            with suppress(OSError):
                for path in folder.iterdir():
                    if path.suffix == ".parquet":
                        found.append(path)
                    elif path.is_dir():
                        deeper.append(path)
        folders = deeper
    return sorted(found)


def of_table(files: Iterable[Path], table: str) -> list[Path]:
    """The files of a table."""
    return [path for path in files if table in path.name or path.parent.name.endswith(table)]


class _Table:
    """The rows of a table, by event."""

    def __init__(
        self, directory: Path, table: str, paths: Sequence[Path], columns: tuple[str, ...]
    ) -> None:
        self._paths = paths
        self._starts = [0]
        self._names: set[str] = set()
        self.numbers: list[int] = []
        self.metadata: dict[bytes, bytes] | None = None
        for path in self._paths:
            try:
                with pq.ParquetFile(path) as file:
                    schema = file.schema_arrow
                    ids = file.read(["event_id"])["event_id"].to_pylist()
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"cannot be read: {error}", file=str(path)) from error
            self.metadata = self.metadata or schema.metadata
            self._names = set(schema.names)
            self.require(columns)
            self.numbers += ids
            self._starts.append(len(self.numbers))
        if not self.numbers:
            raise InputError("no events of ColliderML here", path=str(directory), bound=table)
        self.places = {number: place for place, number in enumerate(self.numbers)}
        if len(self.places) < len(self.numbers):
            raise InputError("two events have the same number", path=str(directory), table=table)

    def require(self, columns: tuple[str, ...]) -> None:
        """Refuse a table without these columns."""
        if missing := sorted(set(columns) - self._names):
            file = str(self._paths[len(self._starts) - 2])
            raise InputError("columns are missing", file=file, found=missing)

    def row(self, place: int) -> dict[str, Array]:
        """The lists of an event, by column."""
        which = bisect_right(self._starts, place) - 1
        path, left = self._paths[which], place - self._starts[which]
        where = {"event": self.numbers[place], "file": str(path)}
        try:
            with pq.ParquetFile(path) as file:
                group = 0
                while left >= file.metadata.row_group(group).num_rows:
                    left -= file.metadata.row_group(group).num_rows
                    group += 1
                table = file.read_row_group(group).slice(left, 1)
        except (OSError, pa.ArrowException) as error:
            raise EventError(f"cannot be read: {error}", **where) from error
        found = {
            name: table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            for name in table.column_names
            if pa.types.is_list(table.schema.field(name).type)
            or pa.types.is_large_list(table.schema.field(name).type)
        }
        if len({len(values) for values in found.values()}) > 1:
            raise EventError("lists of an event have several lengths", **where)
        for name, values in found.items():
            bad = first_not_finite(values) if values.dtype.kind == "f" else None
            if bad is not None and name in (*_POSITION, *_VERTEX, *_MOMENTUM):
                raise EventError("value is not finite", **where, column=name, row=bad)
        return found


def _vectors(columns: dict[str, Array], names: tuple[str, ...], dtype: Any) -> Array:
    return np.stack([columns[name] for name in names], axis=1).astype(dtype)


def _truth(hits: dict[str, Array], true: dict[str, Array]) -> PointsTruth:
    identifiers = true["particle_id"]
    order = np.argsort(identifiers, kind="stable")
    ranked = identifiers[order]
    place = np.searchsorted(ranked, hits["particle_id"]).clip(0, max(len(ranked) - 1, 0))
    known = np.zeros(len(place), bool) if not len(ranked) else ranked[place] == hits["particle_id"]
    particle = np.where(known, order[place] if len(ranked) else -1, -1)
    volume, layer, module = (hits[name] for name in _SENSOR)
    n = max(int(known.sum()), 1)
    points = TruePoints(
        particle.astype(np.int32),
        volume.astype(np.int16),
        layer.astype(np.int16),
        module.astype(np.int32),
        (known / n).astype(np.float32),
    )
    if "primary" in true:
        primary = true["primary"].astype(bool)
    elif "parent_id" in true:
        primary = ~np.isin(true["parent_id"], identifiers)
    else:
        primary = np.ones(len(identifiers), bool)
    return PointsTruth(
        points,
        Particles(
            true["vertex_primary"].astype(np.int32) - 1,
            true["pdg_id"].astype(np.int32),
            np.rint(true["charge"]).astype(np.int8),
            _vectors(true, _VERTEX, np.float64) / MM_PER_CM,
            _vectors(true, _MOMENTUM, np.float64),
            primary,
        ),
    )


def write_colliderml(
    directory: str | Path, events: Iterable[PointsEvent], detector: str | None = None
) -> None:
    """Write events as ColliderML's tables, ``tracker_hits.parquet`` and ``particles.parquet``.

    A particle's identifier is its row and one; noise has 0. Columns that our events do not know, as
    the time of a hit, are not there.

    Args:
        directory: is made if needed.
        events: with truth.
        detector: where they are from.

    Raises:
        InputError: an event has no truth, there is no event, or a file cannot be written.
    """
    directory = as_path(directory)
    writers: dict[str, pq.ParquetWriter] = {}
    with (
        writable(directory),
        made(directory),
        complete(directory / f"{HITS}.parquet") as hits,
        complete(directory / f"{PARTICLES}.parquet") as particles,
    ):
        try:
            for event in events:
                if event.truth is None:
                    raise InputError("the event has no truth", event=event.event)
                rows = {hits: _hits_of(event, event.truth), particles: _particles_of(event)}
                for path, row in rows.items():
                    table = pa.table({name: [values] for name, values in row.items()})
                    if detector is not None:
                        table = table.replace_schema_metadata({"detector": detector})
                    if path.name not in writers:
                        writers[path.name] = pq.ParquetWriter(path, table.schema)
                    writers[path.name].write_table(table)
            if not writers:
                raise InputError("no events to write", directory=str(directory))
        finally:
            for one in writers.values():
                one.close()


def _hits_of(event: PointsEvent, truth: PointsTruth) -> dict[str, Any]:
    points = truth.points
    columns = dict(zip(_POSITION, event.points.position.T.copy(), strict=True))
    sensor = (
        points.volume.astype(np.uint8),
        points.layer.astype(np.uint16),
        points.module.astype(np.uint32),
    )
    identifier = (points.particle + 1).astype(np.uint64)
    return (
        {"event_id": event.event}
        | columns
        | {"particle_id": identifier}
        | dict(zip(_SENSOR, sensor, strict=True))
    )


def _particles_of(event: PointsEvent) -> dict[str, Any]:
    assert event.truth is not None
    particles = event.truth.particles
    start = (particles.position * MM_PER_CM).astype(np.float32)
    return {
        "event_id": event.event,
        "particle_id": np.arange(1, len(particles) + 1, dtype=np.uint64),
        "pdg_id": particles.pdg.astype(np.int64),
        "charge": particles.charge.astype(np.float32),
        **dict(zip(_VERTEX, start.T.copy(), strict=True)),
        **dict(zip(_MOMENTUM, particles.momentum.astype(np.float32).T.copy(), strict=True)),
        "vertex_primary": particles.collision.astype(np.uint16) + np.uint16(1),
        "primary": particles.primary,
    }


def predictions_of(events: Iterable[tuple[int, TrackCandidates | EventError]]) -> pa.Table:
    """ColliderML's predictions: flat rows ``event_id``, ``hit_id``, ``track_id``.

    Args:
        events: number and candidates of each event, as :class:`.candidates.CandidatesFile` has
            them; events that failed have no rows.
    """
    parts = [
        pa.table(
            {
                "event_id": np.full(len(found.points.values), number, np.int64),
                "hit_id": found.points.values.astype(np.int64),
                "track_id": np.repeat(np.arange(len(found)), found.points.counts),
            }
        )
        for number, found in events
        if isinstance(found, TrackCandidates)
    ]
    kinds = [(name, pa.int64()) for name in ("event_id", "hit_id", "track_id")]
    return pa.concat_tables([pa.schema(kinds).empty_table(), *parts])
