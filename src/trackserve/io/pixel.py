"""Raw events of a pixel data directory, read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, overload

import numpy as np

from trackserve.edm.pixel import RawEvent
from trackserve.edm.truth import PixelTruth
from trackserve.errors import EventError

from .files import as_path, readable
from .pixel_directory import (
    RAW,
    ReferenceCounts,
    check_pixel,
    read_beam_spot,
    read_reference_counts,
    read_tags,
)
from .pixel_truth import TRUTH, read_truth

_BLOCK = 1 << 20
"""Bytes that are read at a time to find the end of zeros."""


class _Place(NamedTuple):
    """Place of an event in ``raw.bin``, in bytes.

    Attributes:
        start, size: its bytes.
        damage: why no event can be read there; empty if one can.
        fed_number: FEDs of a damaged event that are complete.
    """

    start: int
    size: int
    damage: str = ""
    fed_number: int = 0


class PixelEvents(Sequence[RawEvent]):
    """The events of a data directory. They are read one by one, in any order; none is kept.

    :func:`open_pixel` makes it.

    Attributes:
        directory: where they are.
        name: last part of its absolute path.
        beam_spot: the beam spot of all of them.
    """

    def __init__(
        self,
        directory: Path,
        places: Sequence[_Place],
        numbers: Sequence[int],
        tags: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.name = directory.resolve().name
        self.beam_spot = read_beam_spot(directory)
        self._places = places
        self._numbers = numbers
        self._tags = tags

    def has_truth(self) -> bool:
        """Whether there is a ``truth.npz``."""
        return (self.directory / TRUTH).exists()

    def truth(self) -> list[PixelTruth]:
        """The truth of all events of the directory, by their number.

        Raises:
            ConditionsError: as :func:`.read_truth`.
        """
        return read_truth(self.directory)

    def reference_counts(self) -> ReferenceCounts | None:
        """Return what the public C++ program counts in the directory's events, by their number.

        Returns:
            None if the three files are not all there.

        Raises:
            ConditionsError: a file is malformed.
        """
        return read_reference_counts(self.directory)

    def about(self) -> dict[str, Any]:
        """The beam spot, cm, by the name of its fields."""
        return {"beam_spot": asdict(self.beam_spot)}

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> RawEvent: ...

    @overload
    def __getitem__(self, index: slice) -> PixelEvents: ...

    def __getitem__(self, index: int | slice) -> RawEvent | PixelEvents:
        """One event, or some of them as a sequence of its own.

        Raises:
            EventError: the file ends inside the event or in zeros, or cannot be read.
        """
        if isinstance(index, slice):
            return PixelEvents(self.directory, self._places, self._numbers[index], self._tags)
        number = self._numbers[index]
        place = self._places[number]
        if place.damage:
            where = {"byte": place.start, "fed_number": place.fed_number}
            raise EventError(f"{RAW} {place.damage}", event=number, **where)
        try:
            data = np.fromfile(self.directory / RAW, np.uint8, place.size, offset=place.start)
        except OSError as error:
            raise EventError(f"{RAW} cannot be read: {error.strerror}", event=number) from error
        return RawEvent(data, self.beam_spot, number, self._tags[number] if self._tags else "")


def open_pixel(directory: str | Path) -> PixelEvents:
    """The events of a pixel data directory, with random access.

    Raises:
        ConditionsError: ``raw.bin`` or ``beamspot.bin`` is missing or cannot be read, the latter
            is not a beam spot, or ``tags.txt`` has another number of lines than there are events.
    """
    path = as_path(directory) / RAW
    check_pixel(path.parent)
    with readable(path), path.open("rb") as file:
        places = list(_places(file))
    tags = read_tags(path.parent, len(places))
    return PixelEvents(path.parent, places, range(len(places)), tags)


def read_events(directory: str | Path) -> Iterator[RawEvent]:
    """Events of ``raw.bin`` with the directory's beam spot, read as they are asked for.

    Raises:
        ConditionsError: as :func:`open_pixel`.
        EventError: the file ends inside an event, or in zeros.
    """
    yield from open_pixel(directory)


def _places(file: BinaryIO) -> Iterator[_Place]:
    """One for each event: number of FEDs, then for each FED its id, its size and its payload.

    An event without FEDs is four zero bytes. More zeros up to the end of the file are no events.
    """
    end = os.fstat(file.fileno()).st_size
    at = zeros_end = 0
    while at < end:
        start, at = at, at + 4
        file.seek(start)
        head = file.read(4)
        n_feds = int.from_bytes(head, "little") if len(head) == 4 else 1
        if n_feds == 0 and start >= zeros_end:
            zeros_end = _end_of_zeros(file, start)
            if at < zeros_end == end:
                yield _Place(start, end - start, f"ends in {end - start} zero bytes")
                return
        for fed in range(n_feds):
            file.seek(at)
            fed_head = file.read(8)
            at += 8 + int.from_bytes(fed_head[4:], "little")
            if len(fed_head) < 8 or at > end:
                yield _Place(start, end - start, "ends inside an event", fed)
                return
        yield _Place(start, at - start)


def _end_of_zeros(file: BinaryIO, start: int) -> int:
    """The byte behind all zero bytes that begin at ``start``."""
    file.seek(start)
    while block := file.read(_BLOCK):
        nonzero = np.flatnonzero(np.frombuffer(block, np.uint8))
        if len(nonzero):
            return start + int(nonzero[0])
        start += len(block)
    return start
