"""Events of space points, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from trackserve.edm.points import GENERIC_DETECTOR, PointsEvent
from trackserve.errors import InputError

from . import acts_csv, colliderml, points_directory, trackml
from .files import as_path, contents_of


class PointsEvents(Sequence[PointsEvent]):
    """The events at a path. They are read one by one, in any order; none is kept.

    :func:`open_points` makes it.

    Attributes:
        name: last part of the absolute path.
        detector: name of the detector that the events are from, None if it is not known.
    """

    def __init__(
        self,
        name: str,
        detector: str | None,
        read: Callable[[Any], PointsEvent],
        keys: Sequence[Any],
    ) -> None:
        self.name = name
        self.detector = detector
        self._read = read
        self._keys = keys

    def about(self) -> dict[str, Any]:
        """The name of the detector; None if it is not known."""
        return {"detector": self.detector}

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> PointsEvent: ...

    @overload
    def __getitem__(self, index: slice) -> PointsEvents: ...

    def __getitem__(self, index: int | slice) -> PointsEvent | PointsEvents:
        """One event, or some of them as a sequence of its own.

        Raises:
            EventError: a file of the event is missing or damaged.
        """
        if isinstance(index, slice):
            return PointsEvents(self.name, self.detector, self._read, self._keys[index])
        return self._read(self._keys[index])


def open_points(path: str | Path) -> PointsEvents:
    """The events at ``path``, with random access.

    Args:
        path: a directory that ``trackserve simulate points`` or :func:`write_points` wrote;
            or a directory of TrackML events; or one TrackML event, as in
            ``dir/event000000001``; or a directory of ColliderML's tables, or of
            CSV files that ACTS wrote.

    Raises:
        InputError: there are no events, or the directory's files do not fit together.
    """
    path = as_path(path)
    name = path.resolve().name
    if (path / points_directory.POINTS).exists():
        directory = points_directory.PointsDirectory(path)
        return PointsEvents(name, directory.detector, directory.read, range(len(directory)))
    files = colliderml.find_files(path)
    if colliderml.of_table(files, colliderml.HITS):
        tables = colliderml.CollidermlDirectory(path, files)
        return PointsEvents(name, tables.detector, tables.read, range(len(tables)))
    prefixes = acts_csv.find_events(path)
    if prefixes:
        return PointsEvents(name, None, acts_csv.read_event, prefixes)
    prefixes = trackml.find_events(path)
    if prefixes:
        return PointsEvents(name, GENERIC_DETECTOR, trackml.read_event, prefixes)
    if (path / "simulation.json").exists():
        raise InputError(
            "the simulation did not end; the same command continues it", directory=str(path)
        )
    raise InputError(
        "no events of a tracker here",
        path=str(path),
        found=contents_of(path),
        bound=f"{points_directory.POINTS}, TrackML's *{trackml.HITS} (.gz), {colliderml.HITS} or "
        f"ACTS' *{acts_csv.POINTS}",
    )
