"""Geometry and conditions of the detectors."""

from . import phase1
from .conditions import PixelConditions
from .geometry import PixelGeometry, phase1_geometry

__all__ = ["PixelConditions", "PixelGeometry", "phase1", "phase1_geometry"]
