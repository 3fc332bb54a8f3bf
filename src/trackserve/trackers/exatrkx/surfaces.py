"""The surfaces of a detector that finishing knows: cylinders and disks that measure, and tubes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.generic import BARREL_LAYERS, DISKS, PIXEL_VOLUMES, BarrelLayer, Disk
from trackserve.detectors.generic.material import (
    LAYER,
    MODULE,
    SIGMAS,
    TUBE_LENGTHS,
    TUBE_RADII,
    TUBES,
)
from trackserve.detectors.silicon import SILICON_LENGTH
from trackserve.device.compile import shared
from trackserve.edm import MM_PER_CM
from trackserve.edm.points import GENERIC_DETECTOR, GENERIC_PIXELS
from trackserve.errors import ModelError
from trackserve.physics.points.truth import wanted_in

KNOWN = (GENERIC_DETECTOR, GENERIC_PIXELS)
"""Names of the detectors whose layers are known."""
DEPTH = 4.0
"""mm. Nearly all points of a layer are at most so far from its surface, across it."""


class Surfaces(NamedTuple):
    """Surfaces; each is a cylinder around the z axis, or a disk across it. Lengths are in mm.

    Attributes:
        disk: bool[n], whether it is a disk.
        place: float64[n], radius of a cylinder, z of a disk.
        low, high: float64[n], the least and the largest z of a cylinder, or radius of a disk.
        thickness: float64[n], radiation lengths.
        sigma_turn: float64[n], resolution across r and z; 0: the surface measures nothing.
        sigma_along: float64[n], resolution along z of a cylinder, along r of a disk.
        n: number of surfaces.
        n_layers: number of those that measure; they are the first ones.
        least: least points of a track, less the layers on which it has none.
    """

    disk: Any
    place: Any
    low: Any
    high: Any
    thickness: Any
    sigma_turn: Any
    sigma_along: Any
    n: int
    n_layers: int
    least: int


def surfaces_of(detector: str, where: str) -> Surfaces:
    """Return the surfaces of a detector.

    Args:
        detector: its name.
        where: name of the model, for the error.

    Raises:
        ModelError: the layers of the detector are not known.
    """
    if detector not in KNOWN:
        raise ModelError(
            "the layers of its detector are not known: its candidates cannot be finished",
            file=where,
            found=detector,
            bound=list(KNOWN),
        )
    layers: Sequence[BarrelLayer | Disk] = (*BARREL_LAYERS, *DISKS)
    if detector == GENERIC_PIXELS:
        layers = [layer for layer in layers if layer.volume in PIXEL_VOLUMES]
    rows = [_row(layer) for layer in layers]
    n_layers = len(rows)
    for radius, length, thickness in zip(TUBE_RADII, TUBE_LENGTHS, TUBES, strict=True):
        half = length * MM_PER_CM
        rows.append((False, radius * MM_PER_CM, -half, half, thickness / SILICON_LENGTH, 0.0, 0.0))
    columns: list[Any] = [np.array(column) for column in zip(*rows, strict=True)]
    return Surfaces._make([*columns, len(rows), n_layers, wanted_in(detector).min_layers])


def _row(layer: BarrelLayer | Disk) -> tuple[bool, float, float, float, float, float, float]:
    thickness = (MODULE[layer.volume] + LAYER[layer.volume]) / SILICON_LENGTH
    rest = (thickness, *SIGMAS[layer.volume])
    if isinstance(layer, Disk):
        return (True, layer.z, layer.inner, layer.outer, *rest)
    return (False, layer.radius, -layer.half_length, layer.half_length, *rest)


@shared
def layer_of(surfaces: Surfaces, x: float, y: float, z: float) -> int:
    """Return the number of the layer that is nearest to a point."""
    r = math.sqrt(x * x + y * y)
    best, least = 0, 1e9
    for i in range(surfaces.n_layers):
        across, along = (z, r) if surfaces.disk[i] else (r, z)
        beyond = max(surfaces.low[i] - along, along - surfaces.high[i], 0.0)
        distance = abs(across - surfaces.place[i]) + beyond
        if distance < least:
            best, least = i, distance
    return best
