"""Tracks to vertices: clusters in z by density (plugin-PixelVertexFinding).

Method: A. Rodriguez and A. Laio, Science 344 (2014) 1492, in one dimension; then a
weighted mean, a split in two of vertices that fit badly, and a second mean.
"""

from __future__ import annotations

import math

import numpy as np

from ..device import kernel, shared
from ..edm import Tracks, Vertices
from ..edm.columns import Array
from .config import VertexCuts

_NOISE = -1


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
    n_tracks = len(n_hits)
    chosen = np.empty(n_tracks, np.int64)
    n = 0
    for t in range(n_tracks):
        if n_hits[t] >= cuts.min_hits and 1 / abs(state[t, 2]) >= cuts.min_pt:
            chosen[n] = t
            n += 1
    zip_ = np.empty(n)
    for i in range(n):
        zip_[i] = state[chosen[i], 4]
    track = chosen[:n][np.argsort(zip_, kind="mergesort")]
    z = np.empty(n)
    variance = np.empty(n)
    for i in range(n):
        z[i], variance[i] = state[track[i], 4], covariance[track[i], 14]

    vertex, n_vertices = _cluster(z, variance, cuts)
    position, _, chi2, ndof = _fit_vertices(z, variance, vertex, n_vertices, cuts.outlier_chi2)
    n_vertices = _split_vertices(z, variance, vertex, position, chi2, ndof, cuts)
    position, error, chi2, ndof = _fit_vertices(
        z, variance, vertex, n_vertices, cuts.outlier_chi2_final
    )

    of_track = np.full(n_tracks, _NOISE, np.int32)
    for i in range(n):
        of_track[track[i]] = vertex[i]
    return by_sum_pt2(state, of_track, position, error, chi2, ndof)


@kernel
def by_sum_pt2(
    state: Array, vertex: Array, position: Array, error: Array, chi2: Array, ndof: Array
) -> tuple[tuple[Array, ...], Array]:
    """Columns of :class:`trackserve.edm.Vertices` by falling sum of pT^2, and the vertex of each
    track among them.

    Args:
        vertex: int32[tracks], row in the next four; -1 for none.
    """
    sum_pt2 = np.zeros(len(position))
    for t in range(len(vertex)):
        if vertex[t] >= 0:
            pt = 1 / float(state[t, 2])
            sum_pt2[vertex[t]] += pt * pt
    order = np.argsort(-sum_pt2, kind="mergesort")
    rank = np.empty(len(position), np.int16)
    for k in range(len(position)):
        rank[order[k]] = k
    ranked = np.full(len(vertex), _NOISE, np.int16)
    for t in range(len(vertex)):
        if vertex[t] >= 0:
            ranked[t] = rank[vertex[t]]
    columns = (
        position[order].astype(np.float32),
        error[order].astype(np.float32),
        chi2[order].astype(np.float32),
        ndof[order],
        sum_pt2[order].astype(np.float32),
    )
    return columns, ranked


@kernel
def _cluster(z: Array, variance: Array, cuts: VertexCuts) -> tuple[Array, int]:
    """Cluster of each track (sorted by z), -1 for noise; and the number of clusters."""
    n = len(z)
    density = np.zeros(n, np.int32)
    max_variance = cuts.max_error * cuts.max_error
    for i in range(n):
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
    parent = np.arange(n)
    for i in range(n):
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

    cluster = np.full(n, _NOISE, np.int32)
    n_clusters = 0
    for i in range(n):
        if parent[i] == i and density[i] >= cuts.min_neighbours:
            cluster[i] = n_clusters
            n_clusters += 1
    for i in range(n):
        root = i
        while parent[root] != root:
            root = parent[root]
        cluster[i] = cluster[root]
    return cluster, n_clusters


@kernel
def _fit_vertices(
    z: Array, variance: Array, vertex: Array, n_vertices: int, outlier_chi2: float
) -> tuple[Array, Array, Array, Array]:
    """Weighted means; tracks with a larger chi2 leave their vertex (in place)."""
    position = np.zeros(n_vertices)
    weight = np.zeros(n_vertices)
    chi2 = np.zeros(n_vertices)
    ndof = np.full(n_vertices, -1, np.int32)
    for i in range(len(z)):
        v = vertex[i]
        if v >= 0:
            weight[v] += 1 / variance[i]
            position[v] += z[i] / variance[i]
    for v in range(n_vertices):
        position[v] /= weight[v]
    for i in range(len(z)):
        v = vertex[i]
        if v < 0:
            continue
        dz = z[i] - position[v]
        c = dz * dz / variance[i]
        if c > outlier_chi2:
            vertex[i] = _NOISE
        else:
            chi2[v] += c
            ndof[v] += 1
    error = np.empty(n_vertices)
    for v in range(n_vertices):
        scale = chi2[v] / ndof[v] if ndof[v] > 0 else 1.0
        error[v] = math.sqrt(scale / weight[v])
    return position, error, chi2, ndof


@kernel
def _split_vertices(
    z: Array,
    variance: Array,
    vertex: Array,
    position: Array,
    chi2: Array,
    ndof: Array,
    cuts: VertexCuts,
) -> int:
    """Split vertices that fit badly in two by 2-means (in place); returns their number."""
    n_tracks = len(z)
    n_vertices = len(position)
    member = np.empty(n_tracks, np.int32)
    upper = np.empty(n_tracks, np.bool_)
    found = n_vertices
    for v in range(n_vertices):
        if ndof[v] < cuts.split_min_ndof or chi2[v] < cuts.split_chi2 * ndof[v]:
            continue
        n = 0
        for i in range(n_tracks):
            if vertex[i] == v:
                member[n] = i
                upper[n] = z[i] >= position[v]
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
                vertex[member[k]] = found
        found += 1
    return found
