"""Events as named tensors, by kind of event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from trackserve.edm import BeamSpot, PointsEvent, RawEvent, SpacePoints
from trackserve.edm.columns import Array
from trackserve.errors import InputError

from .tensors import TensorSpec, checked

E = TypeVar("E", contravariant=True)


class EventCodec(Protocol[E]):
    """The tensors of one kind of event."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors of an event."""

    def encode(self, event: E) -> dict[str, Array]:
        """The tensors of ``event``, C-contiguous.

        Raises:
            InputError: the event is of another kind, or malformed.
        """

    def decode(self, tensors: Mapping[str, Array]) -> Any:
        """The event that the tensors hold.

        Raises:
            InputError: a tensor is missing, or has the wrong dtype or shape.
        """


NUMBER = TensorSpec("event", np.dtype(np.int64), (1,), optional=True)
"""The number of the event; 0 where it is missing."""
POINTS = TensorSpec("points", np.dtype(np.float32), (-1, 3), optional=True)
"""x, y and z of the space points, mm."""
_RAW = TensorSpec("raw", np.dtype(np.uint8), (-1,), optional=True)
_BEAM_SPOT = TensorSpec("beam_spot", np.dtype(np.float32), (3,), optional=True)


class RawEventCodec:
    """The tensors of raw pixel data: FED words, beam spot (x, y and z in cm), number.

    Triton takes all tensors as optional, because a bundle can stand in their place.
    """

    inputs = (_RAW, _BEAM_SPOT, NUMBER)

    def encode(self, event: RawEvent) -> dict[str, Array]:
        """The tensors of ``event``; the beam spot's position stands for the beam spot."""
        check_kind(event, RawEvent)
        tensors = {
            _RAW.name: event.data,
            _BEAM_SPOT.name: event.beam_spot.position(),
            NUMBER.name: np.array([event.event], np.int64),
        }
        return {spec.name: np.ascontiguousarray(checked(tensors, spec)) for spec in self.inputs}

    def decode(self, tensors: Mapping[str, Array]) -> RawEvent:
        """The event that the tensors hold."""
        data = checked(tensors, _RAW)
        beam_spot = BeamSpot(*checked(tensors, _BEAM_SPOT).tolist())
        return RawEvent(data, beam_spot, number_of(tensors))


class PointsEventCodec:
    """The tensors of space points: positions in mm, and number."""

    inputs: tuple[TensorSpec, ...] = (POINTS, NUMBER)

    def encode(self, event: PointsEvent) -> dict[str, Array]:
        """The tensors of ``event``, without its truth."""
        check_kind(event, PointsEvent)
        points = checked({POINTS.name: event.points.position}, POINTS)
        return {
            POINTS.name: np.ascontiguousarray(points),
            NUMBER.name: np.array([event.event], np.int64),
        }

    def decode(self, tensors: Mapping[str, Array]) -> Any:
        """The event that the tensors hold."""
        return PointsEvent(SpacePoints(checked(tensors, POINTS)), number_of(tensors))


def number_of(tensors: Mapping[str, Array]) -> int:
    """The number of the event that the tensors hold.

    Raises:
        InputError: the tensor has the wrong dtype or shape.
    """
    return int(checked(tensors, NUMBER)[0]) if NUMBER.name in tensors else 0


def check_kind(event: object, kind: type) -> None:
    """Raise an :class:`InputError` if ``event`` is not a ``kind``."""
    if not isinstance(event, kind):
        raise InputError(
            "the tracker takes events of another kind",
            found=type(event).__name__,
            bound=kind.__name__,
        )
