"""Triplets: two edges that meet, and whose three points may be of a particle from near the beam.

The second pass of finishing starts from them. There, a point often has a better edge than that of
its own track, so that a path of best edges would not follow the track.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from trackserve.device.compile import f32, kernel, shared, shared_step
from trackserve.edm import Edges, Ragged, TrackCandidates
from trackserve.edm.columns import Array

from .follow import PRIOR, Cloud
from .helix import through

LEAST_PT = 0.2
"""GeV. Particles of a smaller pT make no triplets."""
MOST_KINK = 0.02
"""Most difference of cot(theta) between the two edges of a triplet, in units of its change with
theta."""
_BLOCK = 1 << 12
"""Inner edges between two looks at the deadline."""


def find_triplets(
    edges: Edges,
    rank: Array,
    cloud: Cloud,
    unit: float,
    check: Callable[[int], None],
    look: Callable[[], None] = lambda: None,
) -> TrackCandidates:
    """Return the triplets of an event as pieces: three points, from the inside out.

    They are in the order of the inner one of their edges, then in that of the outer one. The score
    of a triplet is the mean of both.

    Args:
        edges: edges between points.
        rank: int32[n], place of each point from the inside out.
        cloud: the points.
        unit: pT of a particle of charge 1 over its circle's radius, GeV/mm.
        check: called with the number of triplets, before there is memory for them; may refuse it.
        look: called again and again; may end the work by what it raises.
    """
    is_turned = rank[edges.source] < rank[edges.target]
    outer = np.where(is_turned, edges.target, edges.source)
    inner = np.where(is_turned, edges.source, edges.target)
    order = np.argsort(inner, kind="stable")
    start = np.searchsorted(inner[order], np.arange(len(rank) + 1))

    def list_all(found: Array) -> int:
        n = 0
        for first in range(0, len(inner), _BLOCK):
            look()
            last = min(first + _BLOCK, len(inner))
            n = _list(outer, inner, order, start, cloud, unit, found, first, last, n)
        return n

    n = list_all(np.empty((0, 2), np.int32))
    check(n)
    found = np.empty((n, 2), np.int32)
    list_all(found)
    first, second = found.T
    scores = mean_score.py_func(edges.score[first], edges.score[second])  # type: ignore[attr-defined]
    points = np.stack([inner[first], outer[first], outer[second]], axis=1)
    lists = Ragged(np.arange(0, 3 * n + 1, 3, dtype=np.int64), points.reshape(-1))
    return TrackCandidates(lists, scores)


@shared
def mean_score(one: Any, other: Any) -> Any:
    """Return the score of a triplet, float32; or of each of many."""
    return (one + other) * f32(0.5)


@shared_step
def may_be_track(cloud: Cloud, a: int, b: int, c: int, unit: float) -> bool:
    """Return whether three points, from the inside out, may be of a particle from near the beam."""
    x, y, z = cloud.x, cloud.y, cloud.z
    first = math.sqrt((x[b] - x[a]) ** 2 + (y[b] - y[a]) ** 2)
    second = math.sqrt((x[c] - x[b]) ** 2 + (y[c] - y[b]) ** 2)
    if not (first > 0 and second > 0):
        return False
    slope = (z[b] - z[a]) / first
    if abs((z[c] - z[b]) / second - slope) > MOST_KINK * (1 + slope * slope):
        return False
    circle = through(x[a], y[a], x[b], y[b], x[c], y[c])
    return abs(circle.k) * LEAST_PT < unit and abs(circle.d0) < PRIOR


@kernel
def _list(
    outer: Array,
    inner: Array,
    order: Array,
    start: Array,
    cloud: Cloud,
    unit: float,
    found: Array,
    first: int,
    last: int,
    n: int,
) -> int:
    """List the edges of triplets as far as there is room; return the number of triplets.

    Only triplets whose inner edge is one of ``first`` to ``last`` are listed, after ``n`` others.

    Args:
        outer, inner: int32[m], points of edges.
        order: int64[m], edges by their inner point.
        start: int64[n + 1], the first place in ``order`` of each point.
        found: int32[., 2], takes the inner and the outer edge of each.
    """
    for e in range(first, last):
        a, b = inner[e], outer[e]
        for j in range(start[b], start[b + 1]):
            if may_be_track(cloud, a, b, outer[order[j]], unit):
                if n < len(found):
                    found[n, 0], found[n, 1] = e, order[j]
                n += 1
    return n
