"""The pixel detector as a moving particle sees it: planes of modules, and what lies around them.

Space inside of the detector's cylinder is divided into cells of radius, azimuth and z. Each
cell lists the modules that a step of at most :data:`STEP` from it can reach. Where there are
none, a longer step is free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import (
    SENSOR_LENGTH,
    SENSOR_WIDTH,
    THICKNESS_BARREL,
    THICKNESS_ENDCAP,
    PixelGeometry,
)
from trackserve.detectors.phase1.layout import FIRST_ENDCAP
from trackserve.detectors.silicon import SILICON_LENGTH
from trackserve.edm.columns import Array

from ..processes.cells import Grid, fill_cells, free_steps
from ..processes.planes import Planes
from .material import (
    FLANGE_MATERIAL,
    FLANGE_Z,
    PIPE_MATERIAL,
    PIPE_RADIUS,
    module_material,
)

OUTER_RADIUS = 17.0
OUTER_Z = 56.0
"""Size of the cylinder that holds the pixel detector, cm."""
STEP = 0.4
"""Longest step where a surface may be near, cm."""
R_BINS, PHI_BINS = 34, 48
Z_BINS = 112
R_WIDTH, Z_WIDTH = OUTER_RADIUS / R_BINS, 2 * OUTER_Z / Z_BINS
GRID = Grid(R_BINS, PHI_BINS, Z_BINS, R_WIDTH, Z_WIDTH, OUTER_Z)
_POINTS = 9
"""The extent of a module in cells is found from so many points along each of its axes."""


class World(NamedTuple):
    """Surfaces and material.

    Attributes:
        planes: of the 1856 sensors.
        sensor, rest: float64[1856], thickness of the sensor and of all else of the module, on
            the side of the read-out chips, cm of silicon.
        first: int32[cells + 1] and
        modules: int32[n], the modules of each cell.
        free: float64[radius, z], a step that meets no surface, cm; 0 where one may be near.
        pipe, flange: thickness, cm of silicon.
        outer: thickness of each cylinder of the outer tracker, cm of silicon.
    """

    planes: Planes
    sensor: Array
    rest: Array
    first: Array
    modules: Array
    free: Array
    pipe: float
    flange: float
    outer: float


def make_world(geometry: PixelGeometry, material: float, outer: float) -> World:
    """The world of particles.

    Args:
        geometry: places of the modules.
        material: factor of all thicknesses; 0 for a vacuum.
        outer: thickness of each cylinder of the outer tracker, in radiation lengths.
    """
    n = len(geometry.layer)
    sensor = np.where(np.arange(n) < FIRST_ENDCAP, THICKNESS_BARREL, THICKNESS_ENDCAP)
    rest = SILICON_LENGTH * module_material(geometry) - sensor
    cells = fill_cells(map(_bins_of, _boxes(geometry)), GRID)
    return World(
        Planes(
            np.ascontiguousarray(geometry.position),
            np.ascontiguousarray(geometry.rotation),
            np.tile([SENSOR_WIDTH / 2, SENSOR_WIDTH / 2, SENSOR_LENGTH / 2], (n, 1)),
        ),
        material * sensor,
        material * rest,
        cells.first,
        cells.modules,
        _free(cells.near),
        material * PIPE_MATERIAL * SILICON_LENGTH,
        material * FLANGE_MATERIAL * SILICON_LENGTH,
        material * outer * SILICON_LENGTH,
    )


def _boxes(geometry: PixelGeometry) -> list[tuple[Array, Array, Array]]:
    """The range of radius, azimuth and z of each module and its surroundings."""
    u = np.linspace(-SENSOR_WIDTH / 2, SENSOR_WIDTH / 2, _POINTS)
    v = np.linspace(-SENSOR_LENGTH / 2, SENSOR_LENGTH / 2, _POINTS)
    local = np.stack([*np.meshgrid(u, v), np.zeros((_POINTS, _POINTS))], axis=-1).reshape(-1, 3)
    boxes = []
    for centre, axes in zip(geometry.position, geometry.rotation, strict=True):
        x, y, z = (centre + local @ axes).T
        r, turn = np.hypot(x, y), np.arctan2(centre[1], centre[0])
        phi = (np.arctan2(y, x) - turn + np.pi) % (2 * np.pi) - np.pi
        r_range = np.array([r.min() - STEP, r.max() + STEP])
        reach = STEP / max(r_range[0], STEP)
        phi_range = turn + np.array([phi.min() - reach, phi.max() + reach])
        boxes.append((r_range, phi_range, np.array([z.min() - STEP, z.max() + STEP])))
    return boxes


def _bins_of(box: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    """Bins of radius, azimuth and z that a box touches."""
    r, phi, z = box
    in_r = np.arange(*_bins(r, 0.0, R_WIDTH, R_BINS))
    in_z = np.arange(*_bins(z, -OUTER_Z, Z_WIDTH, Z_BINS))
    low, high = (np.floor((phi + np.pi) / (2 * np.pi / PHI_BINS))).astype(int)
    return in_r, np.unique(np.arange(low, high + 1) % PHI_BINS), in_z


def _bins(span: Array, low: float, width: float, n: int) -> tuple[int, int]:
    """First and last bin, exclusive, that ``span`` touches."""
    first, last = np.floor((span - low) / width).astype(int)
    return max(first, 0), min(last + 1, n)


def _free(near: Array) -> Array:
    """The step from each bin of radius and z that reaches no bin near a surface."""
    r = (np.arange(R_BINS) + 0.5) * R_WIDTH
    z = (np.arange(Z_BINS) + 0.5) * Z_WIDTH - OUTER_Z
    blocked = near.copy()
    blocked[np.abs(r - PIPE_RADIUS) < STEP + R_WIDTH] = True
    blocked[:, np.abs(np.abs(z) - FLANGE_Z) < STEP + Z_WIDTH] = True
    return free_steps(blocked, min(R_WIDTH, Z_WIDTH))
