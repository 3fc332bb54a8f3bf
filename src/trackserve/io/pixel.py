"""Raw events of a data directory, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from trackserve.edm import RawEvent

from .pixel_directory import read_events


class PixelEvents(Sequence[RawEvent]):
    """The events of a data directory.

    Attributes:
        directory: where they are, with their conditions and, for simulated ones, the truth.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._events = list(read_events(directory))

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.directory.resolve().name

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int) -> RawEvent: ...

    @overload
    def __getitem__(self, index: slice) -> list[RawEvent]: ...

    def __getitem__(self, index: int | slice) -> RawEvent | list[RawEvent]:
        return self._events[index]


def open_pixel(directory: str | Path) -> PixelEvents:
    """The events of a data directory.

    Raises:
        ConditionsError: ``raw.bin`` or ``beamspot.bin`` is missing or short.
        EventError: ``raw.bin`` ends inside an event.
    """
    return PixelEvents(Path(directory))
