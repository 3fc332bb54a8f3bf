"""Cells of radius, azimuth and z, which list the modules that are near."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import shared
from trackserve.edm.columns import Array

from .kinematics import Vector


class Grid(NamedTuple):
    """How space is divided into cells: bins of radius, of azimuth, and of z around 0.

    Attributes:
        n_r, n_phi, n_z: numbers of bins.
        r_width, z_width: of a bin, cm.
        half_length: of the cylinder that is divided, cm.
    """

    n_r: int
    n_phi: int
    n_z: int
    r_width: float
    z_width: float
    half_length: float


@shared
def bin_of(r: float, at: Vector, grid: Grid) -> tuple[int, int]:
    """Bins of radius and of z of the point ``at``, which lies ``r`` cm from the axis."""
    in_r = min(int(r / grid.r_width), grid.n_r - 1)
    in_z = min(max(int((at.z + grid.half_length) / grid.z_width), 0), grid.n_z - 1)
    return in_r, in_z


@shared
def cell_of(in_r: int, in_z: int, at: Vector, grid: Grid) -> int:
    """The cell of the point ``at``, whose bins of radius and z are known."""
    phi = (math.atan2(at.y, at.x) + math.pi) / (2 * math.pi)
    in_phi = min(int(phi * grid.n_phi), grid.n_phi - 1)
    return (in_r * grid.n_phi + in_phi) * grid.n_z + in_z


class Cells(NamedTuple):
    """The modules near each cell; the cells are in the order of radius, azimuth and z.

    Attributes:
        first: int32[cells + 1] and
        modules: int32[m], the modules of each cell.
        near: bool[radius, z], whether a module is near at any azimuth.
    """

    first: Array
    modules: Array
    near: Array


def fill_cells(bins: Iterable[tuple[Array, Array, Array]], grid: Grid) -> Cells:
    """Sort modules into cells.

    Args:
        bins: of radius, azimuth and z of each module.
        grid: of the cells.
    """
    n_r, n_phi, n_z = grid.n_r, grid.n_phi, grid.n_z
    cells, inside = [], []
    near = np.zeros((n_r, n_z), np.bool_)
    for module, (in_r, in_phi, in_z) in enumerate(bins):
        near[np.ix_(in_r, in_z)] = True
        touched = (in_r[:, None, None] * n_phi + in_phi[:, None]) * n_z + in_z
        cells.append(touched.ravel())
        inside.append(np.full(touched.size, module, np.int32))
    cell, modules = np.concatenate(cells), np.concatenate(inside)
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], np.arange(n_r * n_phi * n_z + 1))
    return Cells(first.astype(np.int32), modules[order], near)


def free_steps(near: Array, width: float) -> Array:
    """The step from each bin that reaches no bin near a surface, float64[radius, z], cm.

    Args:
        near: bool[radius, z], whether a surface is near.
        width: of a bin, along the axis where bins are smaller, cm.
    """
    free = np.zeros(near.shape)
    grown = near
    while not grown.all():
        wider = grown.copy()
        wider[1:] |= grown[:-1]
        wider[:-1] |= grown[1:]
        grown = wider.copy()
        grown[:, 1:] |= wider[:, :-1]
        grown[:, :-1] |= wider[:, 1:]
        free[~grown] += width
    return free
