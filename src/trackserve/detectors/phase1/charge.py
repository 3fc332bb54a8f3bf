"""Calibration of charge: the law from VCAL units to electrons."""

from __future__ import annotations

from typing import NamedTuple

from trackserve.device.scalars import f32


class ChargeCalibration(NamedTuple):
    """VCAL units to electrons: ``slope x VCAL + offset`` (gpuCalibPixel.h)."""

    slope_1: float = f32(50)
    """Electrons per VCAL unit in barrel layer 1."""
    offset_1: float = f32(-670)
    """Electrons, barrel layer 1."""
    slope: float = f32(47)
    """Electrons per VCAL unit in all other layers."""
    offset: float = f32(-60)
    """Electrons, all other layers."""
    minimum: int = 100
    """Least charge of a pixel, electrons."""
