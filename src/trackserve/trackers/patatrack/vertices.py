"""Tracks to vertices: clusters in z by density (plugin-PixelVertexFinding).

Method: A. Rodriguez and A. Laio, Science 344 (2014) 1492, in one dimension; then a
weighted mean, a split in two of vertices that fit badly, and a second mean.

Here is what is done to one track or one vertex. A CPU does it to one after the other; on a
GPU the threads of a block share them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.device.sort import sort_by
from trackserve.edm import Tracks, Vertices
from trackserve.edm.columns import Array

from .config import VertexCuts

NOISE = -1


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
        member: int32, upper: bool, tracks of a vertex that may be two and which part each is in.
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
    n_vertices = _cluster_tracks(n, state, covariance, n_hits, cuts, work)
    z, error, chi2, sum_pt2 = np.empty((4, n_vertices), np.float32)
    ndof = np.empty(n_vertices, np.int32)
    vertex = np.empty(n, np.int16)
    for k in range(n_vertices):
        v = work.order[k]
        z[k], error[k] = work.position[v], work.error[v]
        chi2[k], ndof[k], sum_pt2[k] = work.chi2[v], work.ndof[v], -work.minus_sum[v]
    for t in range(n):
        vertex[t] = final_number(work.vertex[t], work.rank)
    return (z, error, chi2, ndof, sum_pt2), vertex


@shared
def makes_vertex(n_hits: int, q_over_pt: float, cuts: VertexCuts) -> bool:
    """Whether a track is long and hard enough."""
    return n_hits >= cuts.min_hits and 1 / abs(q_over_pt) >= cuts.min_pt


@shared
def final_number(vertex: int, rank: Array) -> int:
    """The place of a track's vertex among those of the event; -1 if it is in none."""
    return rank[vertex] if vertex >= 0 else NOISE


@kernel
def _cluster_tracks(
    n_tracks: int, state: Array, covariance: Array, n_hits: Array, cuts: VertexCuts, work: Density
) -> int:
    """Vertices of one event, in ``work``; returns their number."""
    n = 0
    for t in range(n_tracks):
        work.z[t] = state[t, 4]
        if makes_vertex(n_hits[t], state[t, 2], cuts):
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
        work.vertex[t] = NOISE
    for i in range(n):
        work.vertex[work.chosen[i]] = work.cluster[i]
    rank_by_sum_pt2(
        *(state, work.vertex, n_tracks, n_vertices, work.minus_sum),
        *(work.order, work.other, work.rank),
    )
    return n_vertices


@kernel
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
            minus_sum[vertex[t]] -= squared_pt(state[t, 2])
    sort_by(minus_sum, order, other, n_vertices)
    for k in range(n_vertices):
        rank[order[k]] = k


@shared
def squared_pt(q_over_pt: float) -> float:
    """pT^2, GeV^2."""
    pt = 1 / float(q_over_pt)
    return pt * pt


@kernel
def _cluster(n: int, cuts: VertexCuts, work: Density) -> int:
    """Cluster of each track, -1 for noise; returns the number of clusters."""
    for i in range(n):
        work.density[i] = count_neighbours(i, n, cuts, work)
    for i in range(n):
        work.parent[i] = nearest_denser(i, n, cuts, work)
    n_clusters = 0
    for i in range(n):
        work.cluster[i] = NOISE
        if begins_cluster(i, cuts, work):
            work.cluster[i] = n_clusters
            n_clusters += 1
    for i in range(n):
        work.cluster[i] = work.cluster[leader(i, work.parent)]
    return n_clusters


@shared
def count_neighbours(i: int, n: int, cuts: VertexCuts, work: Density) -> int:
    """How many of the ``n`` tracks may come from one vertex with the ``i``-th."""
    z, variance = work.z, work.variance
    density = 0
    if variance[i] > cuts.max_error * cuts.max_error:
        return density
    for step in (-1, 1):
        j = i + step
        while 0 <= j < n and abs(z[j] - z[i]) <= cuts.eps:
            density += compatible(z[i], variance[i], z[j], variance[j], cuts.eps, cuts.chi2_max)
            j += step
    return density


@shared
def nearest_denser(i: int, n: int, cuts: VertexCuts, work: Density) -> int:
    """The nearest neighbour of higher density (ties: of lower z); the track itself if none."""
    z, variance, density = work.z, work.variance, work.density
    parent = i
    nearest = cuts.eps
    for step in (-1, 1):
        j = i + step
        while 0 <= j < n and abs(z[j] - z[i]) <= nearest:
            denser = density[j] > density[i] or (density[j] == density[i] and z[j] < z[i])
            if denser and compatible(z[i], variance[i], z[j], variance[j], cuts.eps, cuts.chi2_max):
                nearest = abs(z[j] - z[i])
                parent = j
            j += step
    return parent


@shared
def begins_cluster(i: int, cuts: VertexCuts, work: Density) -> bool:
    return work.parent[i] == i and work.density[i] >= cuts.min_neighbours


@shared
def leader(i: int, parent: Array) -> int:
    """The track that is followed, from one to the next, by the ``i``-th."""
    while parent[i] != i:
        i = parent[i]
    return i


@kernel
def _fit_vertices(n: int, n_vertices: int, outlier_chi2: float, work: Density) -> None:
    """Weighted means; tracks with a larger chi2 leave their vertex."""
    for v in range(n_vertices):
        begin_fit(v, work)
    for i in range(n):
        if work.cluster[i] >= 0:
            add_to_mean(work.cluster[i], i, work)
    for v in range(n_vertices):
        work.position[v] /= work.weight[v]
    for i in range(n):
        if work.cluster[i] >= 0:
            add_to_chi2(work.cluster[i], i, outlier_chi2, work)
    for v in range(n_vertices):
        work.error[v] = error_of_mean(work.chi2[v], work.ndof[v], work.weight[v])


@shared
def begin_fit(v: int, work: Density) -> None:
    """Of a vertex with no track yet."""
    work.position[v], work.weight[v], work.chi2[v], work.ndof[v] = 0.0, 0.0, 0.0, -1


@shared
def add_to_mean(v: int, i: int, work: Density) -> None:
    """Add the ``i``-th track to the sums of its vertex ``v``."""
    work.weight[v] += 1 / work.variance[i]
    work.position[v] += work.z[i] / work.variance[i]


@shared
def add_to_chi2(v: int, i: int, outlier_chi2: float, work: Density) -> None:
    """Add the ``i``-th track to the chi2 of its vertex ``v``, or take it out of that."""
    dz = work.z[i] - work.position[v]
    chi2 = dz * dz / work.variance[i]
    if chi2 > outlier_chi2:
        work.cluster[i] = NOISE
    else:
        work.chi2[v] += chi2
        work.ndof[v] += 1


@shared
def error_of_mean(chi2: float, ndof: int, weight: float) -> float:
    """cm, scaled by how well the tracks fit."""
    scale = chi2 / ndof if ndof > 0 else 1.0
    return math.sqrt(scale / weight)


@kernel
def _split_vertices(n_tracks: int, n_vertices: int, cuts: VertexCuts, work: Density) -> int:
    """Split vertices that fit badly in two; returns their number."""
    member, upper = work.member, work.upper
    found = n_vertices
    for v in range(n_vertices):
        if may_be_two(v, cuts, work):
            n = find_members(v, n_tracks, member, work)
            if is_two(v, n, member, upper, cuts, work):
                move_upper(n, found, member, upper, work)
                found += 1
    return found


@shared
def may_be_two(v: int, cuts: VertexCuts, work: Density) -> bool:
    ndof = work.ndof[v]
    return ndof >= cuts.split_min_ndof and work.chi2[v] >= cuts.split_chi2 * ndof


@shared
def find_members(v: int, n_tracks: int, member: Array, work: Density) -> int:
    """The tracks of vertex ``v`` by rising z; returns their number."""
    n = 0
    for i in range(n_tracks):
        if work.cluster[i] == v:
            member[n] = i
            n += 1
    return n


@shared
def is_two(v: int, n: int, member: Array, upper: Array, cuts: VertexCuts, work: Density) -> bool:
    """Split the ``n`` tracks in ``member`` by 2-means; whether the parts are well apart.

    Args:
        upper: gets which part each track is in.
    """
    z, variance = work.z, work.variance
    for k in range(n):
        upper[k] = z[member[k]] >= work.position[v]
    weight_0 = weight_1 = mean_0 = mean_1 = 0.0
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
            return False
        mean_0 /= weight_0
        mean_1 /= weight_1
        changed = False
        for k in range(n):
            moved = abs(z[member[k]] - mean_0) >= abs(z[member[k]] - mean_1)
            changed |= moved != upper[k]
            upper[k] = moved
        if not changed:
            break
    distance = mean_0 - mean_1
    return distance * distance / (1 / weight_0 + 1 / weight_1) >= cuts.split_significance


@shared
def move_upper(n: int, v: int, member: Array, upper: Array, work: Density) -> None:
    """Make the upper part of a vertex the vertex ``v``."""
    for k in range(n):
        if upper[k]:
            work.cluster[member[k]] = v
