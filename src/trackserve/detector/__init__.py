"""Geometry and conditions of the detectors."""

from . import phase1
from .conditions import PixelConditions

__all__ = ["PixelConditions", "phase1"]
