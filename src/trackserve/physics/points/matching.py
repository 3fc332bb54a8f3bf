"""Matching of track candidates to particles, by majority.

A candidate matches a particle if more than half of its points are that particle's (single
majority). The match is double if also more than half of the particle's points are on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trackserve.edm.columns import Array, Columns, column


@dataclass(frozen=True, eq=False)
class MajorityMatches(Columns):
    """One row per candidate."""

    n_points: Array = column(np.int64)
    particle: Array = column(np.int64)
    """The particle of more than half of the points; -1 if there is none."""
    shared: Array = column(np.int64)
    """Number of points of that particle on the candidate."""
    double: Array = column(np.bool_)
    """Whether more than half of that particle's points are on the candidate."""


def match_candidates(offsets: Array, points: Array, particle: Array) -> MajorityMatches:
    """Match candidates to particles. Noise counts for no particle.

    Args:
        offsets: int64[n + 1]; candidate ``i`` has ``points[offsets[i]:offsets[i + 1]]``.
        points: int[...], rows of ``particle``.
        particle: int32[event's points], -1 for noise.
    """
    n_points = np.diff(offsets)
    candidate = np.repeat(np.arange(len(n_points)), n_points)
    owner = particle[points].astype(np.int64)
    pairs = (candidate << 32 | owner)[owner >= 0]
    pair, shared = np.unique(pairs, return_counts=True)
    row, owner = pair >> 32, pair & 0xFFFFFFFF
    majority = 2 * shared > n_points[row]
    row, owner, shared = row[majority], owner[majority], shared[majority]
    size = np.bincount(particle[particle >= 0])
    matches = MajorityMatches(
        n_points,
        np.full(len(n_points), -1),
        np.zeros(len(n_points), np.int64),
        np.zeros(len(n_points), np.bool_),
    )
    matches.particle[row] = owner
    matches.shared[row] = shared
    matches.double[row] = 2 * shared > size[owner]
    return matches


def match_components(labels: Array, particle: Array) -> MajorityMatches:
    """Match components to particles as :func:`match_candidates`; one row per component.

    Args:
        labels: int64[points], number of each point's component, from 0.
        particle: int32[points], -1 for noise.
    """
    offsets = np.concatenate([[0], np.cumsum(np.bincount(labels))]).astype(np.int64)
    return match_candidates(offsets, np.argsort(labels, kind="stable"), particle)


def duplicates(matches: MajorityMatches) -> Array:
    """Whether a better candidate has the same particle, bool[candidates].

    A candidate is better if it has more points of the particle, or as many and fewer other
    points. The number of duplicates does not depend on the order of the candidates.
    """
    others = matches.n_points - matches.shared
    order = np.lexsort((others, -matches.shared, matches.particle))
    particle = matches.particle[order]
    duplicate = np.zeros(len(matches), bool)
    duplicate[order[1:]] = (particle[1:] == particle[:-1]) & (particle[1:] >= 0)
    return duplicate
