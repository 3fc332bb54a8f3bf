"""Where the layers of GenericDetector lie.

Source: ``detectors.csv`` of the TrackML challenge: the means and ranges of the centres of the
modules of each layer, and half the length of a module beyond them.
"""

from __future__ import annotations

from typing import NamedTuple


class BarrelLayer(NamedTuple):
    """A cylinder of modules; lengths in mm."""

    volume: int
    layer: int
    radius: float
    half_length: float


class Disk(NamedTuple):
    """A ring of modules across the beam; lengths in mm."""

    volume: int
    layer: int
    z: float
    inner: float
    outer: float


PIXEL_VOLUMES = (7, 8, 9)
"""The volumes of pixels: disks before, barrel, disks behind."""
_RADII = {
    8: ((32.0, 72.0, 116.0, 172.0), 491.0),
    13: ((260.0, 360.0, 500.0, 660.0), 1084.0),
    17: ((820.0, 1020.0), 1084.0),
}
"""Radii of the layers of each barrel volume, and their common half length."""
_PLACES = {
    (7, 9): ((600.0, 700.0, 820.0, 960.0, 1100.0, 1300.0, 1500.0), 30.0, 176.0),
    (12, 14): ((1220.0, 1500.0, 1800.0, 2150.0, 2550.0, 2950.0), 240.0, 700.0),
    (16, 18): ((1220.0, 1500.0, 1800.0, 2150.0, 2550.0, 2950.0), 750.0, 1020.0),
}
"""Distances of the disks of a pair of volumes (before, behind), and their common radii."""

BARREL_LAYERS = tuple(
    BarrelLayer(volume, 2 * (number + 1), radius, half_length)
    for volume, (radii, half_length) in _RADII.items()
    for number, radius in enumerate(radii)
)
DISKS = tuple(
    Disk(volume, 2 * (number + 1), side * distance, inner, outer)
    for volumes, (distances, inner, outer) in _PLACES.items()
    for side, volume in zip((-1, 1), volumes, strict=True)
    for number, distance in enumerate(distances[::side])
)
