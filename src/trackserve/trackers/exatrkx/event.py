"""Events that the pipeline takes: space points, or their scaled features."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import PointsEvent
from trackserve.edm.columns import Array


@dataclass(frozen=True, eq=False)
class FeaturesEvent:
    """The points of one bunch crossing, as features that are scaled for the model.

    Attributes:
        features: float32[n, 3], (r, phi, z) of each point, divided by the scales of the model.
        event: number of the event.
    """

    features: Array
    event: int = 0


ExatrkxEvent = PointsEvent | FeaturesEvent


def values_of(event: ExatrkxEvent) -> Array:
    """Return the array of an event, one row per point: positions in mm, or features."""
    return event.features if isinstance(event, FeaturesEvent) else event.points.position
