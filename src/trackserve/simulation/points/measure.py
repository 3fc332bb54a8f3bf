"""Space points as the measurements that they are made of."""

from __future__ import annotations

import numpy as np

from trackserve.edm.points import Measurements, SpacePoints
from trackserve.edm.truth import TruePoints

from .detector import PointsDetector, sensor_key


def measure(points: SpacePoints, truth: TruePoints, detector: PointsDetector) -> Measurements:
    """The measurement of each point: its place on its sensor, and the sensor's resolution.

    Args:
        points: points on sensors of ``detector``.
        truth: says which sensors.
        detector: the detector.
    """
    key = sensor_key(truth.volume, truth.layer, truth.module)
    sensor = np.searchsorted(detector.key, key)
    sigma = np.linalg.norm(detector.spread[sensor], axis=2)
    axes = detector.spread[sensor] / sigma[:, :, None]
    local = np.einsum("nij,nj->ni", axes, points.position - detector.centre[sensor])
    return Measurements(
        detector.surface[sensor], local.astype(np.float32), (sigma**2).astype(np.float32)
    )
