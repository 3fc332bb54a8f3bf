"""Events of space points as two Parquet files.

``points.parquet`` has the space points (``event``, ``x``, ``y``, ``z`` in mm) and, where the
truth is known, their ``particle`` (row in the event's particles, -1 for noise), ``volume``,
``layer``, ``module`` and ``weight``. ``particles.parquet`` has the particles (``event``,
``collision``, ``pdg``, ``charge``, ``vx``, ``vy``, ``vz``, ``px``, ``py``, ``pz`` in mm and
GeV, ``primary``). The metadata of ``points.parquet`` lists the numbers of the events, since
an event may have no points, and may name the ``detector``.

:mod:`.event_table` says which row groups such a file may have.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from trackserve.edm.points import PointsEvent, SpacePoints
from trackserve.edm.truth import PointsTruth, TruePoints
from trackserve.errors import EventError, InputError

from .event_table import EventTable, Place, find_places, listed_events, open_table, writer
from .files import as_path, complete, made, writable
from .points_columns import StoredParticles, to_table

POINTS = "points.parquet"
PARTICLES = "particles.parquet"


class PointsDirectory:
    """Reads the events of a directory that :func:`write_points` wrote.

    Raises:
        InputError: a file cannot be read or lacks a column, the list of events is malformed, or
            rows of an event do not follow each other.
    """

    def __init__(self, directory: Path) -> None:
        self._points = open_table(directory / POINTS)
        metadata = self._points.metadata.metadata or {}
        detector = metadata.get(b"detector")
        self.detector = None if detector is None else detector.decode(errors="replace")
        self._points.require(SpacePoints)
        listed = listed_events(self._points.path, metadata.get(b"events"))
        self._particles: EventTable | None = None
        if (directory / PARTICLES).exists():
            self._points.require(TruePoints)
            self._particles = open_table(directory / PARTICLES)
            self._particles.require(StoredParticles)
            born = find_places(self._particles, listed)
            listed = [place.number for place in born]
        self._places = find_places(self._points, listed)
        self._numbers = [place.number for place in self._places]
        if self._particles is not None:
            missing = [Place(number) for number in self._numbers[len(born) :]]
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
        (stored,) = self._particles.read(self._born[index], StoredParticles)
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
    with writable(directory), made(directory):
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
            tables = {POINTS: to_table(number, event.points, *_points_of(truth))}
            if truth is not None:
                tables[PARTICLES] = to_table(number, StoredParticles.of(truth.particles))
            for name, table in tables.items():
                if name not in files:
                    partial = replace.enter_context(complete(directory / name))
                    files[name] = stack.enter_context(writer(partial, table.schema))
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


def _points_of(truth: PointsTruth | None) -> tuple[TruePoints, ...]:
    return () if truth is None else (truth.points,)
