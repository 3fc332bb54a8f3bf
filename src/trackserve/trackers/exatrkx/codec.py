"""The tensors of Exa.TrkX: space points, labels and candidates.

``FEATURES`` and ``LABELS`` are the tensors of the published service: its clients work unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trackserve.edm import PointsEvent
from trackserve.edm.columns import Array
from trackserve.errors import InputError
from trackserve.wire.codec import Codec
from trackserve.wire.events import (
    NUMBER,
    POINTS,
    PointsEventCodec,
    check_array,
    check_number,
    check_points_event,
    number_of,
)
from trackserve.wire.tensors import TensorSpec, checked

from .event import FeaturesEvent
from .limits import ExatrkxLimits
from .result import ExatrkxResult

FEATURES = TensorSpec("FEATURES", np.dtype(np.float32), (-1, 3), optional=True)
"""r, phi and z of the space points, as the model scales them."""
LABELS = TensorSpec("LABELS", np.dtype(np.int64), (-1,))
"""The component of each space point."""


class _EventCodec(PointsEventCodec):
    """The tensors of space points: positions in mm, or scaled features, but not both."""

    inputs = (FEATURES, POINTS, NUMBER)

    def encode(self, event: PointsEvent | FeaturesEvent) -> dict[str, Array]:
        """The tensors of ``event``, without its truth."""
        if not isinstance(event, FeaturesEvent):
            return super().encode(event)
        check_event(event)
        return {
            FEATURES.name: np.ascontiguousarray(event.features),
            NUMBER.name: np.array([event.event], np.int64),
        }

    def decode(self, tensors: Mapping[str, Array]) -> PointsEvent | FeaturesEvent:
        """The event that the tensors hold."""
        given = [spec.name for spec in (FEATURES, POINTS) if spec.name in tensors]
        if len(given) != 1:
            raise InputError(
                "give exactly one of two tensors", found=given, bound=[FEATURES.name, POINTS.name]
            )
        if given == [FEATURES.name]:
            return FeaturesEvent(checked(tensors, FEATURES), number_of(tensors))
        event: PointsEvent = super().decode(tensors)
        return event


def check_event(event: object) -> None:
    """Check the kind of ``event``, and the types, dtypes and shapes of its fields.

    Raises:
        MalformedEvent: one of them is wrong.
    """
    if isinstance(event, FeaturesEvent):
        check_number(event)
        check_array(event, "features", event.features, FEATURES)
    else:
        check_points_event(event)


CODEC: Codec[PointsEvent | FeaturesEvent, ExatrkxResult] = Codec(
    _EventCodec(),
    ExatrkxResult,
    aliases={LABELS.name: ("labels", "component")},
    limits=ExatrkxLimits,
)
