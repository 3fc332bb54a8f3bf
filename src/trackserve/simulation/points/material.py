"""The material of GenericDetector, as ACTS' builder has it (GenericDetectorBuilder.cpp)."""

from __future__ import annotations

import numpy as np

from trackserve.edm.columns import Array

from ..processes.matter import SILICON_LENGTH
from .detector import PointsDetector

_MODULE = {
    **dict.fromkeys((7, 8, 9), 0.015),
    **dict.fromkeys((12, 13, 14), 0.025),
    **dict.fromkeys((16, 17, 18), 0.035),
}
"""Thickness of a module of each volume, cm of silicon."""
_LAYER = {
    **dict.fromkeys((7, 8, 9), 0.15),
    **dict.fromkeys((12, 14), 0.25),
    13: 0.2,
    **dict.fromkeys((16, 18), 0.35),
    17: 0.25,
}
"""Thickness of what else a layer of each volume has, cm of silicon."""
_BERYLLIUM_LENGTH = 35.28
"""Radiation length, cm."""
TUBE_RADII = (1.9, 20.0)
TUBE_LENGTHS = (300.0, 280.0)
"""Radius and half length of the beam pipe and of the tube that supports the pixels, cm."""
TUBES = tuple(SILICON_LENGTH * cm / _BERYLLIUM_LENGTH for cm in (0.08, 0.18))
"""Thickness of both: as many radiation lengths as 0.8 and 1.8 mm of beryllium, cm of silicon."""


def module_thickness(detector: PointsDetector) -> Array:
    """Thickness of each module with its share of its layer's material, cm of silicon, float64[n].

    In ACTS a layer's material is spread evenly. Here it is on the modules, which overlap: a
    module's share is the layer's area over that of all its modules.
    """
    thickness = np.empty(len(detector.key))
    lower, upper, length = detector.half.T
    area = 2 * (lower + upper) * length
    radius = np.hypot(*detector.centre[:, :2].T)
    for volume, layer in np.unique(np.stack([detector.volume, detector.layer], axis=1), axis=0):
        rows = (detector.volume == volume) & (detector.layer == layer)
        z = detector.centre[rows, 2]
        if (z > 0).any() and (z < 0).any():
            covered = 4 * np.pi * radius[rows].mean() * (np.abs(z).max() + length[rows][0])
        else:
            inner = (radius - length)[rows].min()
            covered = np.pi * ((radius + length)[rows].max() ** 2 - inner**2)
        share = covered / area[rows].sum()
        thickness[rows] = _MODULE[int(volume)] + share * _LAYER[int(volume)]
    return thickness
