"""Edges to track candidates: connected components, their labels, and the points in order."""

from __future__ import annotations

import numpy as np

from trackserve.device.compile import kernel
from trackserve.edm import Ragged, TrackCandidates
from trackserve.edm.columns import Array


def connected_components(n_points: int, source: Array, target: Array) -> Array:
    """The component of every point, isolated ones too.

    Args:
        n_points: number of points.
        source, target: int32[m], the points of each edge.

    Returns:
        int64[n_points]; components are numbered from 0 by their smallest point.
    """
    return _components(
        n_points,
        np.ascontiguousarray(source, np.int32),
        np.ascontiguousarray(target, np.int32),
    )


def keep_best_edges(rank: Array, source: Array, target: Array, score: Array) -> Array:
    """Which edges remain where each point keeps its best one inwards and its best outwards.

    An edge remains if both of its points keep it, so that what is left are paths. Of edges
    with one score that to the nearer point in ``rank`` is the better.

    Args:
        rank: int32[n], place of each point from the inside out.
        source, target: int32[m], the points of each edge.
        score: float32[m].

    Returns:
        bool[m].
    """
    return _keep_best_edges(rank, source, target, score)


def make_candidates(
    labels: Array, rank: Array, source: Array, score: Array, min_points: int
) -> TrackCandidates:
    """The components of ``min_points`` or more, with the mean score of their edges.

    Args:
        labels: int64[n], as :func:`connected_components` returns them.
        rank: int32[n], place of each point from the inside out.
        source: int32[m], a point of each edge.
        score: float32[m], of each edge.
        min_points: least size.
    """
    offsets, points, scores = _candidates(labels, rank, source, score, min_points)
    return TrackCandidates(Ragged(offsets, points), scores)


@kernel
def _components(n_points: int, source: Array, target: Array) -> Array:
    parent = np.arange(n_points).astype(np.int32)
    for e in range(len(source)):
        a, b = source[e], target[e]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        # the smaller one is the root: then a root is the first point of its component
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    labels = np.empty(n_points, np.int64)
    n = 0
    for i in range(n_points):
        if parent[i] == i:
            labels[i] = n
            n += 1
        else:
            labels[i] = labels[parent[i]]
    return labels


@kernel
def _keep_best_edges(rank: Array, source: Array, target: Array, score: Array) -> Array:
    n = len(rank)
    inwards = np.full(n, -1, np.int32)
    outwards = np.full(n, -1, np.int32)
    for e in range(len(source)):
        s, t = source[e], target[e]
        outer, inner = (s, t) if rank[s] > rank[t] else (t, s)
        step = rank[outer] - rank[inner]
        for side in range(2):
            point = outer if side == 0 else inner
            best = inwards[point] if side == 0 else outwards[point]
            better = best < 0
            if not better:
                other = abs(rank[source[best]] - rank[target[best]])
                better = score[e] > score[best] or (score[e] == score[best] and step < other)
            if better and side == 0:
                inwards[point] = e
            elif better:
                outwards[point] = e
    kept = np.zeros(len(source), np.bool_)
    for e in range(len(source)):
        s, t = source[e], target[e]
        outer, inner = (s, t) if rank[s] > rank[t] else (t, s)
        kept[e] = inwards[outer] == e and outwards[inner] == e
    return kept


@kernel
def _candidates(
    labels: Array, rank: Array, source: Array, score: Array, min_points: int
) -> tuple[Array, Array, Array]:
    n_points = len(labels)
    n_components = labels.max() + 1 if n_points else 0
    size = np.zeros(n_components, np.int64)
    for i in range(n_points):
        size[labels[i]] += 1
    number = np.full(n_components, -1, np.int64)
    n = 0
    total = 0
    for c in range(n_components):
        if size[c] >= min_points:
            number[c] = n
            n += 1
            total += size[c]
    offsets = np.zeros(n + 1, np.int64)
    for c in range(n_components):
        if number[c] >= 0:
            offsets[number[c] + 1] = offsets[number[c]] + size[c]

    in_order = np.empty(n_points, np.int32)
    for i in range(n_points):
        in_order[rank[i]] = i
    filled = offsets.copy()
    points = np.empty(total, np.int32)
    for k in range(n_points):
        i = in_order[k]
        c = number[labels[i]]
        if c >= 0:
            points[filled[c]] = i
            filled[c] += 1

    sums = np.zeros(n, np.float64)
    n_edges = np.zeros(n, np.int64)
    for e in range(len(source)):
        c = number[labels[source[e]]]
        if c >= 0:
            sums[c] += score[e]
            n_edges[c] += 1
    scores = np.empty(n, np.float32)
    for c in range(n):
        scores[c] = sums[c] / max(n_edges[c], 1)
    return offsets, points, scores
