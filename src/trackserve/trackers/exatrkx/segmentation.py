"""Edges to track candidates: the edges of paths, and the points of candidates in order."""

from __future__ import annotations

import numpy as np

from trackserve.device.compile import kernel
from trackserve.device.components import connected_components
from trackserve.edm import Edges, Ragged, TrackCandidates
from trackserve.edm.columns import Array

from .architecture import Cuts


def segment(rank: Array, edges: Edges, cuts: Cuts) -> tuple[Array, TrackCandidates]:
    """Return the component of each point, int64[n], and the candidates that edges make.

    Args:
        rank: int32[n], place of each point from the inside out.
        edges: edges between these points.
        cuts: which edges count, and the least points of a candidate or, if candidates are to be
            finished, of a piece.
    """
    if cuts.segmentation == "paths":
        edges = edges.take(keep_best_edges(rank, edges))
    labels = connected_components(len(rank), edges.source, edges.target)
    return labels, make_candidates(labels, rank, edges, cuts.least_component)


def sure_edges(edges: Edges, cuts: Cuts) -> Edges:
    """Return the edges that make the first pieces."""
    return edges.take(edges.score > np.float32(cuts.sure))


def keep_best_edges(rank: Array, edges: Edges) -> Array:
    """Return whether each edge remains if points keep only their best two edges, bool[m].

    A point keeps its best edge inwards and its best edge outwards. An edge remains if both of its
    points keep it: the edges that remain are paths. The best edge has the highest score. Of edges
    with the same score, the best one spans the fewest ranks.

    Args:
        rank: int32[n], place of each point from the inside out.
        edges: m edges between these points.
    """
    return _keep_best_edges(rank, edges.source, edges.target, edges.score)


def make_candidates(labels: Array, rank: Array, edges: Edges, min_points: int) -> TrackCandidates:
    """Return the components with ``min_points`` points or more.

    The score of a candidate is the mean score of its edges.

    Args:
        labels: int64[n], the component of each point.
        rank: int32[n], place of each point from the inside out.
        edges: the edges that made the components.
        min_points: least number of points of a candidate.
    """
    offsets, points, scores = _candidates(labels, rank, edges.source, edges.score, min_points)
    return TrackCandidates(Ragged(offsets, points), scores)


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
