"""The crossings of particles through the sensors of GenericDetector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm.columns import Array, Columns, column


@dataclass(frozen=True, eq=False)
class Crossings(Columns):
    """Crossings of sensors, ordered by sensor."""

    particle: Array = column(np.int32)
    """Row in the event's particles; -1 for noise."""
    sensor: Array = column(np.int64)
    """Row in the detector's sensors."""
    position: Array = column(np.float64, 3)
    """mm."""
    order: Array = column(np.int64)
    """A particle's crossings are in ascending order."""
