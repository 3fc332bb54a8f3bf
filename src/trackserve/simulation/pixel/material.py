"""The thickness of the simulated detector, in radiation lengths."""

from __future__ import annotations

import numpy as np

from trackserve.detectors.phase1.geometry import PixelGeometry
from trackserve.detectors.phase1.layout import FIRST_ENDCAP, N_BARREL_LAYERS
from trackserve.edm.columns import Array

PIPE_RADIUS = 2.21
"""Radius of the beam pipe's wall, cm. It is beryllium, 0.8 mm thick."""
PIPE_MATERIAL = 0.0023
"""Thickness of the beam pipe: 0.8 mm of the 353 mm that a radiation length has."""
BARREL_MATERIAL = 0.015
"""Thickness of a barrel module with its share of ladder, cooling and cables.

Four layers make the 0.06 up to 16 cm that CMS' track fit assumes (``BrokenLine.h``).
"""
ENDCAP_MATERIAL = 0.016
"""Thickness of a disk's module with half of its blade."""
FLANGE_MATERIAL = 0.02
"""Thickness of the barrel's end flange with cooling loops, connectors and cables."""
FLANGE_Z = 27.2
FLANGE_RADII = (2.6, 17.0)
"""cm."""
OUTER_MATERIAL = 0.03
"""Thickness of each of the ten barrel layers of the strip tracker: the whole tracker has 0.4 at
eta = 0, a quarter of it in the pixel detector (JINST 9 (2014) P10009, figure 3)."""


def module_material(geometry: PixelGeometry) -> Array:
    """Thickness of each module, float64[1856]."""
    barrel = np.arange(len(geometry.layer)) < FIRST_ENDCAP
    return np.where(barrel, BARREL_MATERIAL, ENDCAP_MATERIAL)


def material_before(geometry: PixelGeometry) -> Array:
    """Thickness of each module with what a particle crosses just before it, float64[1856].

    A track fit that knows modules only should assume it. The beam pipe counts to the first
    layer, the flange to the first disks.
    """
    material = module_material(geometry)
    disk = (geometry.layer - N_BARREL_LAYERS) % 3
    material[geometry.layer == 0] += PIPE_MATERIAL
    material[(geometry.layer >= N_BARREL_LAYERS) & (disk == 0)] += FLANGE_MATERIAL
    return material
