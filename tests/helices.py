"""Tracks for tests of the fit: their points, and the fit of points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import LANES
from trackserve.edm import MAX_HITS
from trackserve.edm.columns import Array
from trackserve.trackers.patatrack.config import REFERENCE, FitConstants
from trackserve.trackers.patatrack.doublets import OrderedHits
from trackserve.trackers.patatrack.fit import MeasuredHits, _fit_broken_lines
from trackserve.trackers.patatrack.ntuplets import MAX_CELLS, Ntuplets


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
    """Fit tracks with the loop of the pipeline, in layers of 0.02 radiation lengths along the beam.

    Args:
        points: [tracks, hits, 3], cm; their variance along the beam is 4e-6 cm^2.
        normals: [..., 3], unit vectors across the layers, as many or one for all.
        constants: constants of the line.
        var_across: variance of the points across the beam, cm^2.
    """
    tracks, n = points.shape[:2]
    rows = np.arange(tracks * n, dtype=np.int32)
    x, y, z = np.ascontiguousarray(points.reshape(-1, 3).T, np.float32)
    nothing = np.zeros_like(x)
    # each hit has a module of its own
    ordered = OrderedHits(rows, rows, rows, rows, x, y, z, nothing, rows)
    surface = np.zeros((tracks, n, LANES), np.float32)
    surface[..., :3], surface[..., 3:6], surface[..., 9] = (
        np.cross([0, 0, 1], normals),
        [0, 0, 1],
        0.02,
    )
    measured = MeasuredHits(
        ordered,
        np.full_like(x, var_across),
        np.full_like(x, 4e-6),
        surface.reshape(-1, LANES),
    )
    hits = np.full((tracks, MAX_HITS), -1, np.int32)
    hits[:, :n] = rows.reshape(tracks, n)
    ntuplets = Ntuplets(
        np.full(tracks, n, np.int8),
        np.full((tracks, MAX_CELLS), -1, np.int32),
        hits,
        np.zeros(tracks, np.bool_),
    )
    states, covariances, chi2s, _ = _fit_broken_lines(ntuplets, measured, constants)
    return Fits(states, covariances, chi2s)
