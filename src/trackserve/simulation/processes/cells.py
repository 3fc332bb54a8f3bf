"""Cells of radius, azimuth and z, which list the modules that are near."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array


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


def fill_cells(bins: Iterable[tuple[Array, Array, Array]], n_r: int, n_phi: int, n_z: int) -> Cells:
    """Sort modules into cells.

    Args:
        bins: of radius, azimuth and z of each module.
        n_r, n_phi, n_z: numbers of bins.
    """
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
