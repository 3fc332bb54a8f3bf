"""Helices as lines of many straight pieces.

A particle of charge q moves on a circle of radius R about

    centre = start + q R (sin(phi), -cos(phi)),

clockwise seen from +z if q is positive. After the transverse path s its direction has the azimuth
phi - q s / R, and its z has grown by s cot(theta).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array, Ragged

SAGITTA = 0.05
"""mm. A straight piece is nowhere farther than this from its helix."""
_MOST_PIECES = 96


class Helices(NamedTuple):
    """Helices from their starting points on; lengths in mm, angles in rad.

    Attributes:
        start: float64[n, 3].
        phi: float64[n], azimuth of the direction at the start.
        curvature: float64[n], q / R, 1/mm.
        cot_theta: float64[n].
    """

    start: Array
    phi: Array
    curvature: Array
    cot_theta: Array

    def at(self, path: Array) -> Array:
        """The points after transverse paths.

        Args:
            path: float64[n], mm.

        Returns:
            float64[n, 3], mm.
        """
        half = self.curvature * path / 2
        chord = path * np.sinc(half / np.pi)
        direction = self.phi - half
        step = [chord * np.cos(direction), chord * np.sin(direction), path * self.cot_theta]
        point: Array = self.start + np.stack(step, axis=1)
        return point

    def path_to(self, point: Array) -> Array:
        """The transverse path to the place nearest to a point across the beam, within one turn.

        Args:
            point: float64[n, 3], mm.

        Returns:
            float64[n], mm; 0 or more.
        """
        dx, dy = (point - self.start)[:, :2].T
        along = dx * np.cos(self.phi) + dy * np.sin(self.phi)
        left = dy * np.cos(self.phi) - dx * np.sin(self.phi)
        with np.errstate(divide="ignore", invalid="ignore"):
            turn = np.arctan2(self.curvature * along, 1 + self.curvature * left)
            turned = np.where(self.curvature < 0, -turn, turn) % (2 * np.pi)
            path = np.where(self.curvature == 0, along, turned / np.abs(self.curvature))
        return np.clip(path, 0, None)

    def take(self, row: Array) -> Helices:
        """The helices of ``row``, int[m]."""
        return Helices(*(values[row] for values in self))


def last_paths(helices: Helices, hits: Ragged, position: Array) -> Array:
    """The transverse path of each helix to the farthest of its hits, float64[n], mm.

    A hit that lies behind the start, where a whole turn would lead to it, does not count.

    Args:
        helices: n helices.
        hits: rows of ``position`` for each.
        position: float[m, 3], mm.
    """
    owner = np.repeat(np.arange(len(hits)), hits.counts)
    paths = helices.take(owner).path_to(position[hits.values].astype(np.float64))
    with np.errstate(divide="ignore"):
        behind = paths * np.abs(helices.curvature[owner]) > 1.5 * np.pi
    paths[behind] = 0
    longest = np.zeros(len(hits))
    np.maximum.at(longest, owner, paths)
    return longest


def trace(helices: Helices, path: Array) -> tuple[Array, Array]:
    """Helices as lines that leave them by at most :data:`SAGITTA`.

    Args:
        helices: n helices.
        path: float64[n], length of each across the beam, mm.

    Returns:
        int64[n + 1], first point of each line; float32[points, 3], mm.
    """
    curvature = np.abs(helices.curvature)
    pieces = np.ceil(path * np.sqrt(curvature / (8 * SAGITTA)))
    n_points = np.clip(pieces, 1, _MOST_PIECES).astype(np.int64) + 1
    offsets = np.concatenate([[0], np.cumsum(n_points)])
    owner = np.repeat(np.arange(len(path)), n_points)
    step = (np.arange(offsets[-1]) - offsets[owner]) / (n_points[owner] - 1)
    points = helices.take(owner).at(step * path[owner])
    return offsets, points.astype(np.float32)
