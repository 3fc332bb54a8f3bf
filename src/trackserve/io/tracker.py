"""Events of a whole tracker, read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from ..edm.tracker import GENERIC_DETECTOR, TrackerEvent
from ..errors import InputError
from . import tracker_directory, trackml


class TrackerEvents(Sequence[TrackerEvent]):
    """Events that are read one by one, in any order; none is kept.

    Args:
        read: reads the event of a key.
        keys: of the events.
        detector: name of the one that they are from, None if that is not known.
    """

    def __init__(
        self, read: Callable[[Any], TrackerEvent], keys: Sequence[Any], detector: str | None
    ) -> None:
        self._read = read
        self._keys = keys
        self.detector = detector

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> TrackerEvent: ...

    @overload
    def __getitem__(self, index: slice) -> TrackerEvents: ...

    def __getitem__(self, index: int | slice) -> TrackerEvent | TrackerEvents:
        """One event, or others of them as a sequence of its own.

        Raises:
            EventError: a file of the event is missing or damaged.
        """
        if isinstance(index, slice):
            return TrackerEvents(self._read, self._keys[index], self.detector)
        return self._read(self._keys[index])


def open_tracker(path: str | Path) -> TrackerEvents:
    """The events at ``path``, with random access.

    Args:
        path: a directory that ``trackserve simulate tracker`` or :func:`write_tracker` wrote;
            or a directory of TrackML events; or one of these, as in ``dir/event000000001``.

    Raises:
        InputError: there are no events, or the directory's files do not fit together.
    """
    path = Path(path)
    if (path / tracker_directory.POINTS).exists():
        directory = tracker_directory.TrackerDirectory(path)
        return TrackerEvents(directory.read, range(len(directory)), directory.detector)
    prefixes = trackml.find_events(path)
    if prefixes:
        return TrackerEvents(trackml.read_event, prefixes, GENERIC_DETECTOR)
    if (path / "simulation.json").exists():
        raise InputError(
            "the simulation did not end; the same command continues it", directory=str(path)
        )
    raise InputError(
        "no events of a tracker here",
        path=str(path),
        bound=f"{tracker_directory.POINTS}, or TrackML's *{trackml.HITS} (.gz)",
    )
