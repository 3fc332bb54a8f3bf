"""The crossings of particles through the sensors of the pixel detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.truth import TrueHits


@dataclass(frozen=True, eq=False)
class Crossings(Columns):
    """Crossings of sensors in the frames of their modules, ordered by module."""

    particle: Array = column(np.int32)
    """Row in the event's particles."""
    module: Array = column(np.int32)
    position: Array = column(np.float64, 3)
    """cm, where the particle crosses the middle plane of the sensor (z = 0)."""
    momentum: Array = column(np.float64, 3)
    """GeV, before the sensor."""
    mass: Array = column(np.float64)
    """GeV."""

    def as_truth(self) -> TrueHits:
        """The true hits, for the truth of an event."""
        return TrueHits(self.particle, self.module, self.position[:, 0], self.position[:, 1])
