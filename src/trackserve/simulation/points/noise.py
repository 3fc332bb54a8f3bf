"""Points that no particle made."""

from __future__ import annotations

import numpy as np

from trackserve.edm.columns import Array

from .crossings import Crossings
from .detector import PointsDetector


def add_noise(
    crossings: Crossings, share: float, detector: PointsDetector, rng: np.random.Generator
) -> Crossings:
    """Add places on the sensors, as crossings of particle -1; as likely anywhere on any of them.

    Args:
        crossings: ordered by sensor; so are those that are returned.
        share: of noise in all, on average; 0..1, less than 1.
        detector: the sensors.
        rng: random numbers.
    """
    n = int(rng.poisson(len(crossings) * share / (1 - share)))
    lower, upper, length = detector.half.T
    area = (lower + upper) * length
    sensor = np.sort(rng.choice(len(area), n, p=area / area.sum()))
    noise = Crossings(
        np.full(n, -1, np.int32),
        sensor,
        _anywhere(sensor, detector, rng),
        np.zeros(n, np.int64),
    )
    both = Crossings.concatenate([crossings, noise])
    return both.take(np.argsort(both.sensor, kind="stable"))


def _anywhere(sensor: Array, detector: PointsDetector, rng: np.random.Generator) -> Array:
    """A random place on each sensor, float64[n, 3], mm."""
    lower, upper, length = detector.half[sensor].T
    # the width grows linearly from the lower end to the upper one: invert the integral of it
    area = lower + (upper - lower) * 0.5
    share = rng.random(len(sensor)) * area
    v = 2 * share / (lower + np.sqrt(lower**2 + 2 * (upper - lower) * share))
    u = (2 * rng.random(len(sensor)) - 1) * (lower + (upper - lower) * v)
    local = np.stack([u, (2 * v - 1) * length], axis=1)
    place: Array = detector.centre[sensor] + np.einsum("ni,nij->nj", local, detector.axes[sensor])
    return place
