"""Tracks to vertices: clusters in z by density (plugin-PixelVertexFinding).

Method: A. Rodriguez and A. Laio, Science 344 (2014) 1492, in one dimension; then a
weighted mean, a split in two of vertices that fit badly, and a second mean.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..device import kernel, shared, sort_by
from ..edm import Tracks, Vertices
from ..edm.columns import Array
from .config import VertexCuts

_NOISE = -1


class Density(NamedTuple):
    """Memory for one event; as many rows as tracks, of which there are at least as many as
    vertices.

    Attributes:
        chosen: int32, tracks that make vertices, by rising z.
        z, variance: float64, theirs, cm and cm^2.
        density: int32, tracks nearby.
        parent: int32, the one each follows.
        cluster: int32, vertex of each; -1 if in none.
        vertex: int32, the same of all tracks.
        member: int32, upper: bool, of a vertex that may be two.
        position, weight, chi2, error, minus_sum: float64, of each vertex.
        ndof: int32.
        order: int32, vertices by falling sum of pT^2.
        rank: int32, place of each in ``order``.
        other: int32, scratch memory.
    """

    chosen: Array
    z: Array
    variance: Array
    density: Array
    parent: Array
    cluster: Array
    vertex: Array
    member: Array
    upper: Array
    position: Array
    weight: Array
    chi2: Array
    error: Array
    minus_sum: Array
    ndof: Array
    order: Array
    rank: Array
    other: Array


def find_vertices(tracks: Tracks, cuts: VertexCuts) -> tuple[Vertices, Array]:
    """Vertices by falling sum of pT^2, and for each track its vertex (int16[n], -1 if none)."""
    columns, vertex_of_track = _find_vertices(tracks.state, tracks.covariance, tracks.n_hits, cuts)
    return Vertices(*columns), vertex_of_track


@shared
def compatible(z1: float, var1: float, z2: float, var2: float, eps: float, chi2_max: float) -> bool:
    """Whether two tracks may come from one vertex."""
    dz = abs(z1 - z2)
    return dz <= eps and dz * dz <= chi2_max * (var1 + var2)


@kernel
def _find_vertices(
    state: Array, covariance: Array, n_hits: Array, cuts: VertexCuts
) -> tuple[tuple[Array, ...], Array]:
    n = len(n_hits)
    work = Density(
        *(np.empty(n, np.int32), np.empty(n), np.empty(n), np.empty(n, np.int32)),
        *(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)),
        *(np.empty(n, np.int32), np.empty(n, np.bool_), np.empty(n), np.empty(n)),
        *(np.empty(n), np.empty(n), np.empty(n), np.empty(n, np.int32)),
        *(np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)),
    )
    n_vertices = cluster_tracks(n, state, covariance, n_hits, cuts, work)
    z, error, chi2, sum_pt2 = np.empty((4, n_vertices), np.float32)
    ndof = np.empty(n_vertices, np.int32)
    vertex = np.empty(n, np.int16)
    write_vertices(n, n_vertices, work, z, error, chi2, ndof, sum_pt2, vertex)
    return (z, error, chi2, ndof, sum_pt2), vertex


@shared
def cluster_tracks(
    n_tracks: int, state: Array, covariance: Array, n_hits: Array, cuts: VertexCuts, work: Density
) -> int:
    """Vertices of one event, in ``work``; returns their number."""
    n = 0
    for t in range(n_tracks):
        work.z[t] = state[t, 4]
        if n_hits[t] >= cuts.min_hits and 1 / abs(state[t, 2]) >= cuts.min_pt:
            work.chosen[n] = t
            n += 1
    sort_by(work.z, work.chosen, work.other, n)
    for i in range(n):
        work.z[i], work.variance[i] = state[work.chosen[i], 4], covariance[work.chosen[i], 14]

    n_vertices = _cluster(n, cuts, work)
    _fit_vertices(n, n_vertices, cuts.outlier_chi2, work)
    n_vertices = _split_vertices(n, n_vertices, cuts, work)
    _fit_vertices(n, n_vertices, cuts.outlier_chi2_final, work)

    for t in range(n_tracks):
        work.vertex[t] = _NOISE
    for i in range(n):
        work.vertex[work.chosen[i]] = work.cluster[i]
    rank_by_sum_pt2(
        *(state, work.vertex, n_tracks, n_vertices, work.minus_sum),
        *(work.order, work.other, work.rank),
    )
    return n_vertices


@shared
def write_vertices(
    n_tracks: int,
    n_vertices: int,
    work: Density,
    z: Array,
    error: Array,
    chi2: Array,
    ndof: Array,
    sum_pt2: Array,
    vertex: Array,
) -> None:
    """Fill columns of :class:`trackserve.edm.Vertices`, and the vertex of each track."""
    for k in range(n_vertices):
        v = work.order[k]
        z[k], error[k] = work.position[v], work.error[v]
        chi2[k], ndof[k], sum_pt2[k] = work.chi2[v], work.ndof[v], -work.minus_sum[v]
    for t in range(n_tracks):
        vertex[t] = work.rank[work.vertex[t]] if work.vertex[t] >= 0 else _NOISE


@shared
def rank_by_sum_pt2(
    state: Array,
    vertex: Array,
    n_tracks: int,
    n_vertices: int,
    minus_sum: Array,
    order: Array,
    other: Array,
    rank: Array,
) -> None:
    """Order vertices by falling sum of pT^2.

    Args:
        vertex: the vertex of each track; -1 for none.
        minus_sum: gets minus the sum of pT^2 of each vertex.
        order: gets the vertices in order.
        other: scratch memory, int32.
        rank: gets the place of each vertex in ``order``.
    """
    for v in range(n_vertices):
        minus_sum[v], order[v] = 0.0, v
    for t in range(n_tracks):
        if vertex[t] >= 0:
            pt = 1 / float(state[t, 2])
            minus_sum[vertex[t]] -= pt * pt
    sort_by(minus_sum, order, other, n_vertices)
    for k in range(n_vertices):
        rank[order[k]] = k


@shared
def _cluster(n: int, cuts: VertexCuts, work: Density) -> int:
    """Cluster of each track, -1 for noise; returns the number of clusters."""
    z, variance, density, parent = work.z, work.variance, work.density, work.parent
    max_variance = cuts.max_error * cuts.max_error
    for i in range(n):
        density[i] = 0
        if variance[i] > max_variance:
            continue
        for step in (-1, 1):
            j = i + step
            while 0 <= j < n and abs(z[j] - z[i]) <= cuts.eps:
                density[i] += compatible(
                    z[i], variance[i], z[j], variance[j], cuts.eps, cuts.chi2_max
                )
                j += step

    # each track follows its nearest neighbour of higher density (ties: of lower z)
    for i in range(n):
        parent[i] = i
        nearest = cuts.eps
        for step in (-1, 1):
            j = i + step
            while 0 <= j < n and abs(z[j] - z[i]) <= nearest:
                denser = density[j] > density[i] or (density[j] == density[i] and z[j] < z[i])
                if denser and compatible(
                    z[i], variance[i], z[j], variance[j], cuts.eps, cuts.chi2_max
                ):
                    nearest = abs(z[j] - z[i])
                    parent[i] = j
                j += step

    n_clusters = 0
    for i in range(n):
        work.cluster[i] = _NOISE
        if parent[i] == i and density[i] >= cuts.min_neighbours:
            work.cluster[i] = n_clusters
            n_clusters += 1
    for i in range(n):
        root = i
        while parent[root] != root:
            root = parent[root]
        work.cluster[i] = work.cluster[root]
    return n_clusters


@shared
def _fit_vertices(n: int, n_vertices: int, outlier_chi2: float, work: Density) -> None:
    """Weighted means; tracks with a larger chi2 leave their vertex."""
    z, variance, position, weight = work.z, work.variance, work.position, work.weight
    chi2, ndof = work.chi2, work.ndof
    for v in range(n_vertices):
        position[v], weight[v], chi2[v], ndof[v] = 0.0, 0.0, 0.0, -1
    for i in range(n):
        v = work.cluster[i]
        if v >= 0:
            weight[v] += 1 / variance[i]
            position[v] += z[i] / variance[i]
    for v in range(n_vertices):
        position[v] /= weight[v]
    for i in range(n):
        v = work.cluster[i]
        if v < 0:
            continue
        dz = z[i] - position[v]
        c = dz * dz / variance[i]
        if c > outlier_chi2:
            work.cluster[i] = _NOISE
        else:
            chi2[v] += c
            ndof[v] += 1
    for v in range(n_vertices):
        scale = chi2[v] / ndof[v] if ndof[v] > 0 else 1.0
        work.error[v] = math.sqrt(scale / weight[v])


@shared
def _split_vertices(n_tracks: int, n_vertices: int, cuts: VertexCuts, work: Density) -> int:
    """Split vertices that fit badly in two by 2-means; returns their number."""
    z, variance, member, upper = work.z, work.variance, work.member, work.upper
    found = n_vertices
    for v in range(n_vertices):
        ndof = work.ndof[v]
        if ndof < cuts.split_min_ndof or work.chi2[v] < cuts.split_chi2 * ndof:
            continue
        n = 0
        for i in range(n_tracks):
            if work.cluster[i] == v:
                member[n] = i
                upper[n] = z[i] >= work.position[v]
                n += 1
        for _ in range(cuts.split_max_iterations):
            weight_0 = weight_1 = mean_0 = mean_1 = 0.0
            for k in range(n):
                w = 1 / variance[member[k]]
                if upper[k]:
                    weight_1 += w
                    mean_1 += w * z[member[k]]
                else:
                    weight_0 += w
                    mean_0 += w * z[member[k]]
            if weight_0 == 0 or weight_1 == 0:
                break
            mean_0 /= weight_0
            mean_1 /= weight_1
            changed = False
            for k in range(n):
                moved = abs(z[member[k]] - mean_0) >= abs(z[member[k]] - mean_1)
                changed |= moved != upper[k]
                upper[k] = moved
            if not changed:
                break
        if weight_0 == 0 or weight_1 == 0:
            continue
        distance = mean_0 - mean_1
        if distance * distance / (1 / weight_0 + 1 / weight_1) < cuts.split_significance:
            continue
        for k in range(n):
            if upper[k]:
                work.cluster[member[k]] = found
        found += 1
    return found
