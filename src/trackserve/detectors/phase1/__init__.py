"""The CMS Phase-1 pixel detector: its layout, geometry and conditions."""

from .conditions import PixelConditions
from .geometry import PixelGeometry, phase1_geometry

__all__ = ["PixelConditions", "PixelGeometry", "phase1_geometry"]
