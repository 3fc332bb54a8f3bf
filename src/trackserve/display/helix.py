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

from .scene import Lines

SAGITTA = 0.2
"""mm. A straight piece is nowhere farther than this from its helix."""
_MOST_PIECES = 96
FAR = 30.0
"""mm. A particle's hit that is farther than this from its helix is not of its first turn."""
BEHIND = 1.5 * np.pi
"""rad. A hit that a helix would reach after a larger turn lies behind its start."""


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


def trace(helices: Helices, hits: Ragged, position: Array) -> Lines:
    """Helices up to their last hits, as lines that leave them by at most :data:`SAGITTA`.

    Args:
        helices: n helices.
        hits: rows of ``position`` for each.
        position: float[m, 3], mm.
    """
    owner, path = _paths_to(helices, hits, position)[:2]
    owner, path = _steps(helices, _longest(len(hits), owner, path))
    return _lines(len(hits), owner, helices.take(owner).at(path))


def trace_through(helices: Helices, hits: Ragged, position: Array) -> Lines:
    """Helices that are moved so that they pass their hits, as scattered particles do.

    Between two hits, and between the start and the first one, a line moves away from its helix in
    proportion to the path. Hits that are farther than :data:`FAR` from it do not count: the
    particle has turned round before, or has lost much of its momentum.

    Args:
        helices, hits, position: as of :func:`trace`.
    """
    n = len(hits)
    hit_owner, hit_path, away = _paths_to(helices, hits, position)
    near = np.linalg.norm(away, axis=1) < FAR
    hit_owner, hit_path, away = hit_owner[near], hit_path[near], away[near]
    owner, path = _steps(helices, _longest(n, hit_owner, hit_path))
    owner, path = np.concatenate([owner, hit_owner]), np.concatenate([path, hit_path])
    order = np.lexsort((path, owner))
    owner, path = owner[order], path[order]
    knot_owner = np.concatenate([np.arange(n), hit_owner])
    knot_path = np.concatenate([np.zeros(n), hit_path])
    moved = np.concatenate([np.zeros((n, 3)), away])
    order = np.lexsort((knot_path, knot_owner))
    scale = 2 * path.max(initial=1.0)  # so that the paths of different helices do not mix
    knots = (knot_owner * scale + knot_path)[order]
    shift = [np.interp(owner * scale + path, knots, one[order]) for one in moved.T]
    return _lines(n, owner, helices.take(owner).at(path) + np.stack(shift, axis=1))


def _paths_to(helices: Helices, hits: Ragged, position: Array) -> tuple[Array, Array, Array]:
    """The helix of each hit, the path along it to the hit, and the vector from there to it, mm.

    The path to a hit that lies behind the start, where almost a whole turn would lead to it, is 0.
    """
    owner = np.repeat(np.arange(len(hits)), hits.counts)
    own, point = helices.take(owner), position[hits.values].astype(np.float64)
    path = own.path_to(point)
    path[path * np.abs(own.curvature) > BEHIND] = 0
    return owner, path, point - own.at(path)


def _longest(n: int, owner: Array, path: Array) -> Array:
    longest = np.zeros(n)
    np.maximum.at(longest, owner, path)
    return longest


def _steps(helices: Helices, path: Array) -> tuple[Array, Array]:
    """The helix of each point of the lines up to ``path``, float64[n], and the path to it."""
    pieces = np.ceil(path * np.sqrt(np.abs(helices.curvature) / (8 * SAGITTA)))
    n_points = np.clip(pieces, 1, _MOST_PIECES).astype(np.int64) + 1
    first = np.cumsum(n_points) - n_points
    owner = np.repeat(np.arange(len(path)), n_points)
    share = (np.arange(len(owner)) - first[owner]) / (n_points[owner] - 1)
    return owner, share * path[owner]


def _lines(n: int, owner: Array, points: Array) -> Lines:
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=n))])
    return Lines(offsets.astype(np.int64), points.astype(np.float32))
