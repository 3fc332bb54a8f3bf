"""Events as named tensors, by kind of event."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from functools import lru_cache
from numbers import Real
from typing import Any, Protocol, TypeVar

import numpy as np

from trackserve.edm import BeamSpot, PointsEvent, RawEvent, SpacePoints
from trackserve.edm.columns import Array
from trackserve.errors import MalformedEvent

from .tensors import TensorSpec, checked, describe, fits

E = TypeVar("E", contravariant=True)


class EventCodec(Protocol[E]):
    """The tensors of one kind of event."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors of an event."""

    def encode(self, event: E) -> dict[str, Array]:
        """The tensors of ``event``, C-contiguous.

        Raises:
            InputError: the event is of another kind, or malformed. :class:`.codec.Codec` makes it a
                :class:`~trackserve.errors.MalformedEvent`.
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
CONDITIONS = TensorSpec("conditions", np.dtype(np.uint8), (-1,), optional=True)
"""Text of the tag of an event's conditions; those of the model where it is missing."""
_BEAM_SPOT = TensorSpec("beam_spot", np.dtype(np.float32), (3,), optional=True)

_LARGEST = float(np.finfo(np.float32).max)
_MOST_BEAM_SPOTS = 64
"""Beam spots that are kept."""


class RawEventCodec:
    """The tensors of raw pixel data: FED words, beam spot (x, y and z in cm), number, tag.

    Triton takes all tensors as optional, because a bundle can stand in their place.
    """

    inputs = (_RAW, _BEAM_SPOT, NUMBER, CONDITIONS)

    def encode(self, event: RawEvent) -> dict[str, Array]:
        """The tensors of ``event``; the beam spot's position stands for the beam spot."""
        check_raw_event(event)
        tensors = {
            _RAW.name: np.ascontiguousarray(event.data),
            _BEAM_SPOT.name: event.beam_spot.position(),
            NUMBER.name: np.array([event.event], np.int64),
        }
        if event.conditions:
            tensors[CONDITIONS.name] = np.frombuffer(event.conditions.encode(), np.uint8)
        return tensors

    def decode(self, tensors: Mapping[str, Array]) -> RawEvent:
        """The event that the tensors hold."""
        data = checked(tensors, _RAW)
        beam_spot = _beam_spot(checked(tensors, _BEAM_SPOT).tobytes())
        tag = ""
        if CONDITIONS.name in tensors:
            tag = checked(tensors, CONDITIONS).tobytes().decode(errors="replace")
        return RawEvent(data, beam_spot, number_of(tensors), tag)


@lru_cache(_MOST_BEAM_SPOTS)
def _beam_spot(position: bytes) -> BeamSpot:
    """The beam spot at a position, float32[3], which is mostly that of the event before."""
    return BeamSpot(*np.frombuffer(position, np.float32).tolist())


class PointsEventCodec:
    """The tensors of space points: positions in mm, and number."""

    inputs: tuple[TensorSpec, ...] = (POINTS, NUMBER)

    def encode(self, event: PointsEvent) -> dict[str, Array]:
        """The tensors of ``event``, without its truth."""
        check_points_event(event)
        return {
            POINTS.name: np.ascontiguousarray(event.points.position),
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


def check_raw_event(event: object) -> None:
    """Check the kind of ``event``, and the types, dtypes and shapes of its fields.

    Raises:
        MalformedEvent: one of them is wrong.
    """
    if not isinstance(event, RawEvent):
        raise wrong_kind(event, RawEvent)
    check_number(event)
    check_array(event, "data", event.data, _RAW)
    if not isinstance(event.conditions, str):
        raise _wrong_field(event, "conditions", repr(event.conditions)[:80], "str")
    spot = event.beam_spot
    if not isinstance(spot, BeamSpot):
        raise _wrong_field(event, "beam_spot", describe(spot), BeamSpot.__name__)
    for name in "xyz":
        value: Any = getattr(spot, name)
        is_real = isinstance(value, (float, Real))  # of a float it is known sooner
        if not is_real or _LARGEST < abs(value) < math.inf:
            raise _wrong_field(event, f"beam_spot.{name}", repr(value)[:80], "float32")


def check_points_event(event: object) -> None:
    """Check the kind of ``event``, and the types, dtypes and shapes of its fields.

    Raises:
        MalformedEvent: one of them is wrong.
    """
    if not isinstance(event, PointsEvent):
        raise wrong_kind(event, PointsEvent)
    check_number(event)
    if not isinstance(event.points, SpacePoints):
        raise _wrong_field(event, "points", describe(event.points), SpacePoints.__name__)
    check_array(event, "points", event.points.position, POINTS)


def check_number(event: Any) -> None:
    """Check that the number of ``event`` is an int64.

    Raises:
        MalformedEvent: it is not.
    """
    try:
        is_number = -(2**63) <= operator.index(event.event) < 2**63
    except TypeError:
        is_number = False
    if not is_number:
        raise _wrong_field(event, "event", repr(event.event)[:80], "int64")


def check_array(event: Any, field: str, array: object, spec: TensorSpec) -> None:
    """Check that ``array``, a field of ``event``, has the dtype and shape of ``spec``.

    Raises:
        MalformedEvent: it has not.
    """
    if not fits(array, spec):
        raise _wrong_field(event, field, describe(array), spec.describe())


def wrong_kind(event: object, kind: type) -> MalformedEvent:
    """The error of an event that is not a ``kind``."""
    return MalformedEvent(
        "the tracker takes events of another kind",
        found=type(event).__name__,
        bound=kind.__name__,
    )


def _wrong_field(event: Any, field: str, found: str, bound: str) -> MalformedEvent:
    number = {} if field == "event" else {"event": int(event.event)}
    return MalformedEvent(
        "a field of the event has the wrong type or shape",
        **number,
        field=field,
        found=found,
        bound=bound,
    )
