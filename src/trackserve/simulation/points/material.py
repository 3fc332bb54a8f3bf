"""The material of GenericDetector on its modules."""

from __future__ import annotations

import numpy as np

from trackserve.detectors.generic.material import LAYER, MODULE
from trackserve.edm.columns import Array

from .detector import PointsDetector


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
        thickness[rows] = MODULE[int(volume)] + share * LAYER[int(volume)]
    return thickness
