"""Crossings to space points with truth.

Every crossing makes a point. The point is the place of the crossing, smeared with the
resolution of the sensor along its two axes. Crossings of different particles are not merged. A
point may lie outside of its sensor by a few times the resolution.
"""

from __future__ import annotations

import numpy as np

from trackserve.edm.points import SpacePoints
from trackserve.edm.truth import Particles, TruePoints

from .crossings import Crossings
from .detector import PointsDetector
from .weights import score_weights


def digitise(
    crossings: Crossings,
    particles: Particles,
    detector: PointsDetector,
    rng: np.random.Generator,
) -> tuple[SpacePoints, TruePoints]:
    """Make one point, and its truth, for each crossing, in the same order."""
    sensor = crossings.sensor
    error = rng.standard_normal((len(crossings), 2))
    shift = np.einsum("ni,nij->nj", error, detector.spread[sensor])
    truth = TruePoints(
        crossings.particle,
        detector.volume[sensor].astype(np.int16),
        detector.layer[sensor].astype(np.int16),
        detector.module[sensor].astype(np.int32),
        score_weights(crossings.particle, crossings.order, particles),
    )
    return SpacePoints((crossings.position + shift).astype(np.float32)), truth
