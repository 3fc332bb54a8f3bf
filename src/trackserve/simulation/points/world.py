"""GenericDetector as a moving particle sees it: planes of modules, and two tubes.

Space is divided into cells of radius, azimuth and z. Each cell lists the modules that a step of at
most :data:`STEP` from it can reach. Where there are none, a longer step is free.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.detectors.generic.material import TUBE_RADII, TUBES
from trackserve.edm.columns import Array
from trackserve.edm.truth import MM_PER_CM

from ..processes.cells import Grid, fill_cells, free_steps
from ..processes.planes import Planes
from .detector import PointsDetector
from .material import module_thickness

RADIUS, HALF_LENGTH = 103.0, 300.0
"""Size of the cylinder that holds the detector, cm."""
STEP = 1.0
"""Longest step where a surface may be near, cm."""
R_BINS, PHI_BINS, Z_BINS = 103, 96, 300
R_WIDTH, Z_WIDTH = RADIUS / R_BINS, 2 * HALF_LENGTH / Z_BINS
GRID = Grid(R_BINS, PHI_BINS, Z_BINS, R_WIDTH, Z_WIDTH, HALF_LENGTH)
_POINTS = 9
"""The extent of a module in cells is found from so many points along each of its axes."""


class World(NamedTuple):
    """Surfaces and material.

    Attributes:
        planes: of all modules.
        thickness: float64[n], of each module, cm of silicon.
        first: int32[cells + 1] and
        modules: int32[m], the modules of each cell.
        free: float64[radius, z], a step that meets no surface, cm; 0 where one may be near.
        tubes: thickness of the beam pipe and of the support tube, cm of silicon.
    """

    planes: Planes
    thickness: Array
    first: Array
    modules: Array
    free: Array
    tubes: tuple[float, ...]


def make_world(detector: PointsDetector, material: float = 1.0) -> World:
    """The world of particles; ``material`` multiplies all thicknesses, 0 is a vacuum."""
    normal = np.cross(detector.axes[:, 0], detector.axes[:, 1])
    planes = Planes(
        detector.centre / MM_PER_CM,
        np.concatenate([detector.axes, normal[:, None]], axis=1),
        detector.half / MM_PER_CM,
    )
    boxes = _boxes(planes)
    bins = (
        (np.arange(r0, r1), np.unique(np.arange(p0, p1) % PHI_BINS), np.arange(z0, z1))
        for r0, r1, p0, p1, z0, z1 in boxes.tolist()
    )
    cells = fill_cells(bins, GRID)
    return World(
        planes,
        material * module_thickness(detector),
        cells.first,
        cells.modules,
        _free(cells.near),
        tuple(material * thickness for thickness in TUBES),
    )


def _boxes(planes: Planes) -> Array:
    """First and last bin, exclusive, of radius, azimuth and z of each module, int64[n, 6]."""
    lower, upper, length = planes.half.T
    span = np.linspace(-1, 1, _POINTS)
    v = length[:, None, None] * span[:, None]
    width = lower[:, None, None] + (upper - lower)[:, None, None] * 0.5 * (span[:, None] + 1)
    local = np.stack(np.broadcast_arrays(width * span, v), axis=-1).reshape(len(lower), -1, 2)
    place = planes.centre[:, None] + np.einsum("npi,nij->npj", local, planes.axes[:, :2])
    radius = np.hypot(place[..., 0], place[..., 1])
    turn = np.arctan2(planes.centre[:, 1], planes.centre[:, 0])[:, None]
    phi = (np.arctan2(place[..., 1], place[..., 0]) - turn + np.pi) % (2 * np.pi) - np.pi
    least = radius.min(axis=1)
    # between the points a plane may be nearer to the beam by as much as two points are apart
    slack = STEP + 2 * np.maximum(lower, upper) / (_POINTS - 1)
    reach = slack / np.maximum(least - slack, slack)
    width_phi = 2 * np.pi / PHI_BINS
    low_phi, high_phi = turn[:, 0] + phi.min(axis=1) - reach, turn[:, 0] + phi.max(axis=1) + reach
    z = place[..., 2]
    bins = np.stack(
        [
            np.maximum((least - slack) / R_WIDTH, 0),
            np.minimum((radius.max(axis=1) + STEP) / R_WIDTH + 1, R_BINS),
            (low_phi + np.pi) / width_phi,
            (high_phi + np.pi) / width_phi + 1,
            np.maximum((z.min(axis=1) - STEP + HALF_LENGTH) / Z_WIDTH, 0),
            np.minimum((z.max(axis=1) + STEP + HALF_LENGTH) / Z_WIDTH + 1, Z_BINS),
        ],
        axis=1,
    )
    return np.floor(bins).astype(np.int64)


def _free(near: Array) -> Array:
    """The step from each bin of radius and z that reaches no bin near a surface, cm."""
    r = (np.arange(R_BINS) + 0.5) * R_WIDTH
    blocked = near.copy()
    for radius in TUBE_RADII:
        blocked[np.abs(r - radius) < STEP + R_WIDTH] = True
    return free_steps(blocked, min(R_WIDTH, Z_WIDTH))
