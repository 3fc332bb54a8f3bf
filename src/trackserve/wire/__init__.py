"""Events and results as named tensors: what crosses between client and server.

Each kind of model has a codec, a module here. The type of an event tells which one it
takes, so that models of one kind may have any names, several side by side.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from trackserve.edm import (
    ExatrkxResult,
    PatatrackResult,
    PointsEvent,
    RawEvent,
)
from trackserve.edm.columns import Array
from trackserve.errors import InputError
from trackserve.trackers.exatrkx import codec as exatrkx
from trackserve.trackers.patatrack import codec as patatrack

from .tensors import TensorSpec

Event = RawEvent | PointsEvent
Result = PatatrackResult | ExatrkxResult


class Codec(Protocol):
    """A kind of model, as a client needs it; ``E`` and ``R`` below are its event and result."""

    @property
    def OUTPUTS(self) -> tuple[TensorSpec, ...]: ...  # noqa: N802

    TIMING: TensorSpec

    def output_names(self, keep: Collection[str] = ()) -> list[str]:
        """The outputs to ask for; an InputError if ``keep`` names what is not there."""

    def encode_event(self, event: Any) -> dict[str, Array]:
        """The input tensors of one event E; an InputError if it is malformed."""

    def decode_result(
        self, tensors: Mapping[str, Array], event: int, keep: Collection[str] = ()
    ) -> Any:
        """The result R of event number ``event``; an InputError if a tensor is malformed."""


_CODECS: dict[type, Codec] = {RawEvent: patatrack, PointsEvent: exatrkx}


def codec_of(event: Event) -> Codec:
    """The codec of the models that take such an event.

    Raises:
        InputError: no model does.
    """
    codec = _CODECS.get(type(event))
    if codec is None:
        names = [kind.__name__ for kind in _CODECS]
        raise InputError("no model takes such an event", found=type(event).__name__, bound=names)
    return codec
