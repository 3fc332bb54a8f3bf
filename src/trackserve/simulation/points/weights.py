"""Weights of simulated points in the TrackML score."""

from __future__ import annotations

import numpy as np

from trackserve.edm.columns import Array
from trackserve.edm.truth import Particles

ORDER_WEIGHTS = (10.0, 8.0, 6.0, 5.0, 3.0, 3.0, 3.0, 5.0, 6.0)
"""Weights of a particle's points from the first to the last, stretched to their number."""
MIN_POINTS, MAX_POINTS = 4, 20
"""A particle with fewer points has no weight; points beyond the last have none."""
PT_RANGE, PT_WEIGHTS = (0.5, 3.0), (0.2, 1.0)
"""A particle's weight grows linearly with pT (GeV) between these, and is constant outside."""


def score_weights(particle: Array, order: Array, particles: Particles) -> Array:
    """Weights of the points in the TrackML score, float32[n]. Their sum is 1, or 0.

    The points of a primary particle with at least :data:`MIN_POINTS` of them weigh together
    what its pT says, and share it by their order. Other points weigh nothing. In the
    challenge's files too, points of particles from the material have weight 0.

    Source: arXiv:1904.06778 and the challenge's library (LAL/trackml-library, ``weights.py``).
    One thing differs: here a particle's points are in the order of its way, there in that of their
    distance in z from its start.

    Args:
        particle: int32[n], row in ``particles``; -1 for noise.
        order: number[n], in which the particle passed, by any measure.
        particles: of the event.
    """
    points = np.flatnonzero(particle >= 0)
    points = points[np.lexsort((order[points], particle[points]))]
    owner = particle[points]
    first = np.searchsorted(owner, owner)
    count = np.bincount(owner, minlength=len(particles))
    pt = np.hypot(*particles.momentum[:, :2].astype(np.float32).T)  # as files keep it
    share = np.interp(pt, PT_RANGE, PT_WEIGHTS) * (particles.primary & (count >= MIN_POINTS))
    table = _order_table()
    length = np.minimum(count, MAX_POINTS)[owner]
    place = np.minimum(np.arange(len(points)) - first, MAX_POINTS)
    weight = np.zeros(len(particle))
    weight[points] = share[owner] * table[length, place]
    total = weight.sum()
    return (weight / total if total > 0 else weight).astype(np.float32)


def _order_table() -> Array:
    """Share of each point in the weight of a track, float64[number of points, place]."""
    table = np.zeros((MAX_POINTS + 1, MAX_POINTS + 1))
    support = np.linspace(0, 1, len(ORDER_WEIGHTS))
    for n in range(MIN_POINTS, MAX_POINTS + 1):
        weights = np.interp(np.linspace(0, 1, n), support, ORDER_WEIGHTS)
        table[n, :n] = weights / weights.sum()
    return table
