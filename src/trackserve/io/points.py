"""Events of a whole tracker, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from trackserve.edm.points import GENERIC_DETECTOR, PointsEvent
from trackserve.errors import InputError

from . import points_directory, trackml


class PointsEvents(Sequence[PointsEvent]):
    """Events that are read one by one, in any order; none is kept.

    Args:
        read: reads the event of a key.
        keys: of the events.
        detector: name of the one that they are from, None if that is not known.
        name: short name, for titles.
    """

    def __init__(
        self,
        read: Callable[[Any], PointsEvent],
        keys: Sequence[Any],
        detector: str | None,
        name: str = "events",
    ) -> None:
        self._read = read
        self._keys = keys
        self.detector = detector
        self.name = name

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> PointsEvent: ...

    @overload
    def __getitem__(self, index: slice) -> PointsEvents: ...

    def __getitem__(self, index: int | slice) -> PointsEvent | PointsEvents:
        """One event, or others of them as a sequence of its own.

        Raises:
            EventError: a file of the event is missing or damaged.
        """
        if isinstance(index, slice):
            return PointsEvents(self._read, self._keys[index], self.detector, self.name)
        return self._read(self._keys[index])


def open_points(path: str | Path) -> PointsEvents:
    """The events at ``path``, with random access.

    Args:
        path: a directory that ``trackserve simulate points`` or :func:`write_points` wrote;
            or a directory of TrackML events; or one of these, as in ``dir/event000000001``.

    Raises:
        InputError: there are no events, or the directory's files do not fit together.
    """
    path = Path(path)
    name = path.resolve().name
    if (path / points_directory.POINTS).exists():
        directory = points_directory.PointsDirectory(path)
        return PointsEvents(directory.read, range(len(directory)), directory.detector, name)
    prefixes = trackml.find_events(path)
    if prefixes:
        return PointsEvents(trackml.read_event, prefixes, GENERIC_DETECTOR, name)
    if (path / "simulation.json").exists():
        raise InputError(
            "the simulation did not end; the same command continues it", directory=str(path)
        )
    raise InputError(
        "no events of a tracker here",
        path=str(path),
        bound=f"{points_directory.POINTS}, or TrackML's *{trackml.HITS} (.gz)",
    )
