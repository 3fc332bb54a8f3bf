"""Tracks for tests of the fit: their points, and the fit of points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.edm import MAX_HITS
from trackserve.edm.columns import Array
from trackserve.trackers.patatrack import broken_line as line
from trackserve.trackers.patatrack.config import REFERENCE, FitConstants


def helix_points(
    pt: float, charge: int, phi: float, tip: float, cot_theta: float, zip_: float, n: int
) -> Array:
    """Return the points where a helix crosses cylinders like the barrel's layers, [n, 3]."""
    radius = pt / REFERENCE.fit.field
    # at the point of closest approach the direction is phi; tip = q (|centre| - R)
    centre_distance = radius + charge * tip
    centre = centre_distance * charge * np.array([math.sin(phi), -math.cos(phi)])
    start = math.atan2(-centre[1], -centre[0])
    points = []
    for r in (2.9, 6.8, 9.0, 10.9, 16.0)[:n]:
        low, high = 0.0, math.pi * radius
        for _ in range(80):
            s = (low + high) / 2
            angle = start - charge * s / radius
            x = centre + radius * np.array([math.cos(angle), math.sin(angle)])
            low, high = (s, high) if math.hypot(*x) < r else (low, s)
        points.append([*x, zip_ + s * cot_theta])
    return np.array(points)


class Fits(NamedTuple):
    """Fits of some tracks: state [n, 5], covariance [n, 15] and chi2 [n]."""

    state: Array
    covariance: Array
    chi2: Array


def fit_points(
    points: Array, normals: Array, constants: FitConstants, var_across: float = 1e-6
) -> Fits:
    """Fit tracks side by side, in layers of 0.02 radiation lengths along the beam.

    Args:
        points: [tracks, hits, 3], cm; their variance along the beam is 4e-6 cm^2.
        normals: [..., 3], unit vectors across the layers, as many or one for all.
        constants: constants of the line.
        var_across: variance of the points across the beam, cm^2.
    """
    lanes, n = points.shape[:2]
    work = line.Workspace(
        np.empty((MAX_HITS, line.N_OF_HIT, lanes)), np.empty((line.N_OF_TRACK, lanes))
    )
    hit = work.hit[:n].transpose(2, 0, 1)  # tracks, hits, rows
    hit[..., [line.X, line.Y, line.Z]] = points
    hit[..., line.VAR_X], hit[..., line.VAR_Y] = var_across, 4e-6
    hit[..., [line.XX, line.XY, line.XZ]] = np.cross([0, 0, 1], normals)
    hit[..., [line.YX, line.YY, line.YZ]] = [0, 0, 1]
    hit[..., line.X0] = 0.02
    line.fit_broken_lines_side_by_side(n, lanes, constants, work)
    state, covariance = work.track[line.STATE :], work.track[line.COVARIANCE :]
    return Fits(state[:5].T, covariance[:15].T, work.track[line.CHI2])
