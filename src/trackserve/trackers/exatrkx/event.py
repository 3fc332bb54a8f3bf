"""An event as the networks see it."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm.columns import Array


@dataclass(frozen=True, eq=False)
class FeaturesEvent:
    """One event whose space points are scaled features already.

    Attributes:
        features: float32[n, 3], r, phi and z of the points, as the model scales them.
        event: number of the event.
    """

    features: Array
    event: int = 0
