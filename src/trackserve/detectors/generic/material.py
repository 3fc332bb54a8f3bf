"""The resolution of GenericDetector's sensors, and its material, by volume.

Source of the material: ACTS' builder of it (GenericDetectorBuilder.cpp).
"""

from __future__ import annotations

from ..silicon import SILICON_LENGTH

SIGMAS = {
    **dict.fromkeys((7, 8, 9), (0.0144, 0.0144)),
    **dict.fromkeys((12, 13, 14), (0.0231, 0.346)),
    **dict.fromkeys((16, 17, 18), (0.0346, 3.12)),
}
"""Resolution along the two local axes (mm), by volume. It is the size divided by sqrt(12), of
pixels of 50 um, short strips of 80 um x 1.2 mm, and long strips of 0.12 x 10.8 mm."""
MODULE = {
    **dict.fromkeys((7, 8, 9), 0.015),
    **dict.fromkeys((12, 13, 14), 0.025),
    **dict.fromkeys((16, 17, 18), 0.035),
}
"""Thickness of a module of each volume, cm of silicon."""
LAYER = {
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
