"""Tracks to vertices: clusters in z by density (plugin-PixelVertexFinding).

Method: A. Rodriguez and A. Laio, Science 344 (2014) 1492, in one dimension; then a
weighted mean, a split in two of vertices that fit badly, and a second mean.

The formulas are for one track or one vertex. A CPU takes one after the other; on a GPU the threads
of a block share them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.device.sort import sort_by
from trackserve.edm import VAR_ZIP
from trackserve.edm.columns import Array

from .config import VertexCuts
from .tracks import FittedTracks

NOISE = -1


class Ranking(NamedTuple):
    """Order of vertices by falling sum of pT^2.

    Attributes:
        minus_sum: float64[vertices], minus the sum of pT^2 of each vertex, GeV^2.
        order: int32[vertices], the vertices in order.
        rank: int32[vertices], place of each vertex in ``order``.
        other: int32[vertices], scratch memory.
    """

    minus_sum: Array
    order: Array
    rank: Array
    other: Array


class Density(NamedTuple):
    """Memory for the tracks of one event; it has room for as many vertices.

    Attributes:
        chosen: int32, tracks that make vertices, by rising z.
        z, variance: float64, z of the chosen tracks, cm, and its variance, cm^2.
        density: int32, number of chosen tracks near each of them.
        parent: int32, the chosen track that each of them follows.
        cluster: int32, vertex of each chosen track; -1 if in none.
        vertex: int32, vertex of each track; -1 if in none.
        member: int32, tracks of a vertex that may be two.
        upper: bool, whether each of these is in the upper part.
        position, weight: float64, weighted mean of each vertex, cm, and sum of weights, 1/cm^2.
        chi2, error: float64, chi2 of each vertex, and error of the mean, cm.
        ndof: int32, degrees of freedom of each vertex.
        minus_sum, order, rank, other: memory of :class:`Ranking`; ``other`` has a row per track.
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
    ndof: Array
    minus_sum: Array
    order: Array
    rank: Array
    other: Array


@kernel
def make_density(n: int) -> Density:
    """Return memory for ``n`` tracks."""
    return Density(
        chosen=np.empty(n, np.int32),
        z=np.empty(n),
        variance=np.empty(n),
        density=np.empty(n, np.int32),
        parent=np.empty(n, np.int32),
        cluster=np.empty(n, np.int32),
        vertex=np.empty(n, np.int32),
        member=np.empty(n, np.int32),
        upper=np.empty(n, np.bool_),
        position=np.empty(n),
        weight=np.empty(n),
        chi2=np.empty(n),
        error=np.empty(n),
        ndof=np.empty(n, np.int32),
        minus_sum=np.empty(n),
        order=np.empty(n, np.int32),
        rank=np.empty(n, np.int32),
        other=np.empty(n, np.int32),
    )


@shared
def compatible(i: int, j: int, cuts: VertexCuts, work: Density) -> bool:
    """Whether the ``i``-th and the ``j``-th track may come from one vertex."""
    dz = abs(work.z[i] - work.z[j])
    return dz <= cuts.eps and dz * dz <= cuts.chi2_max * (work.variance[i] + work.variance[j])


@kernel
def find_vertices(tracks: FittedTracks, cuts: VertexCuts, vertex: Array) -> tuple[Array, ...]:
    """Find the vertices of an event.

    Args:
        tracks: its tracks.
        cuts: constants.
        vertex: int16[n]; it gets the vertex of each track, -1 if in none.

    Returns:
        columns of :class:`trackserve.edm.Vertices`, by falling sum of pT^2.
    """
    n = len(tracks.n_hits)
    work = make_density(n)
    n_vertices = _cluster_tracks(tracks, cuts, work)
    z, error, chi2, sum_pt2 = np.empty((4, n_vertices), np.float32)
    ndof = np.empty(n_vertices, np.int32)
    for k in range(n_vertices):
        v = work.order[k]
        z[k], error[k] = work.position[v], work.error[v]
        chi2[k], ndof[k], sum_pt2[k] = work.chi2[v], work.ndof[v], -work.minus_sum[v]
    for t in range(n):
        vertex[t] = final_number(work.vertex[t], work.rank)
    return z, error, chi2, ndof, sum_pt2


@shared
def makes_vertex(t: int, tracks: FittedTracks, cuts: VertexCuts) -> bool:
    """Whether track ``t`` has enough hits and pT."""
    return tracks.n_hits[t] >= cuts.min_hits and 1 / abs(tracks.state[t, 2]) >= cuts.min_pt


@shared
def final_number(vertex: int, rank: Array) -> int:
    """Return the place of ``vertex`` among those of the event; -1 if the track is in none."""
    return rank[vertex] if vertex >= 0 else NOISE


@kernel
def _cluster_tracks(tracks: FittedTracks, cuts: VertexCuts, work: Density) -> int:
    """Find the vertices of one event, in ``work``, and return their number."""
    n_tracks, state = len(tracks.n_hits), tracks.state
    n = 0
    for t in range(n_tracks):
        work.z[t] = state[t, 4]
        if makes_vertex(t, tracks, cuts):
            work.chosen[n] = t
            n += 1
    sort_by(work.z, work.chosen, work.other, n)
    for i in range(n):
        t = work.chosen[i]
        work.z[i], work.variance[i] = state[t, 4], tracks.covariance[t, VAR_ZIP]

    n_vertices = _cluster(n, cuts, work)
    _fit_vertices(n, n_vertices, cuts.outlier_chi2, work)
    n_vertices = _split_vertices(n, n_vertices, cuts, work)
    _fit_vertices(n, n_vertices, cuts.outlier_chi2_final, work)

    for t in range(n_tracks):
        work.vertex[t] = NOISE
    for i in range(n):
        work.vertex[work.chosen[i]] = work.cluster[i]
    ranking = Ranking(work.minus_sum, work.order, work.rank, work.other)
    rank_by_sum_pt2(tracks, work.vertex, n_vertices, ranking)
    return n_vertices


@kernel
def rank_by_sum_pt2(tracks: FittedTracks, vertex: Array, n_vertices: int, ranking: Ranking) -> None:
    """Order vertices by falling sum of pT^2.

    Args:
        tracks: the tracks of the event.
        vertex: vertex of each track; -1 if in none.
        n_vertices: number of vertices.
        ranking: memory; it gets the order.
    """
    minus_sum, order, rank, other = ranking
    for v in range(n_vertices):
        minus_sum[v], order[v] = 0.0, v
    for t in range(len(tracks.n_hits)):
        if vertex[t] >= 0:
            minus_sum[vertex[t]] -= squared_pt(tracks.state[t, 2])
    sort_by(minus_sum, order, other, n_vertices)
    for k in range(n_vertices):
        rank[order[k]] = k


@shared
def squared_pt(q_over_pt: float) -> float:
    """Return pT^2, GeV^2."""
    pt = 1 / float(q_over_pt)
    return pt * pt


@kernel
def _cluster(n: int, cuts: VertexCuts, work: Density) -> int:
    """Find the cluster of each of ``n`` tracks, and return the number of clusters."""
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
    """Count those of ``n`` tracks that may come from one vertex with the ``i``-th."""
    z, variance = work.z, work.variance
    density = 0
    if variance[i] > cuts.max_error * cuts.max_error:
        return density
    for step in (-1, 1):
        j = i + step
        while 0 <= j < n and abs(z[j] - z[i]) <= cuts.eps:
            density += compatible(i, j, cuts, work)
            j += step
    return density


@shared
def nearest_denser(i: int, n: int, cuts: VertexCuts, work: Density) -> int:
    """Return the nearest of ``n`` tracks that has a higher density and may share the vertex.

    Of two tracks of one density, that of lower z counts as denser. If there is none, it is the
    ``i``-th track itself.
    """
    z, density = work.z, work.density
    parent = i
    nearest = cuts.eps
    for step in (-1, 1):
        j = i + step
        while 0 <= j < n and abs(z[j] - z[i]) <= nearest:
            denser = density[j] > density[i] or (density[j] == density[i] and z[j] < z[i])
            if denser and compatible(i, j, cuts, work):
                nearest = abs(z[j] - z[i])
                parent = j
            j += step
    return parent


@shared
def begins_cluster(i: int, cuts: VertexCuts, work: Density) -> bool:
    """Whether the ``i``-th track follows no other and has enough neighbours."""
    return work.parent[i] == i and work.density[i] >= cuts.min_neighbours


@shared
def leader(i: int, parent: Array) -> int:
    """Return the track at the end of the chain that the ``i``-th track follows."""
    while parent[i] != i:
        i = parent[i]
    return i


@kernel
def _fit_vertices(n: int, n_vertices: int, outlier_chi2: float, work: Density) -> None:
    """Find the weighted mean of each vertex; tracks with a larger chi2 leave it."""
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
    """Set the sums of vertex ``v`` to those of no track."""
    work.position[v], work.weight[v], work.chi2[v], work.ndof[v] = 0.0, 0.0, 0.0, -1


@shared
def add_to_mean(v: int, i: int, work: Density) -> None:
    """Add the ``i``-th track to the sums of its vertex ``v``."""
    work.weight[v] += 1 / work.variance[i]
    work.position[v] += work.z[i] / work.variance[i]


@shared
def add_to_chi2(v: int, i: int, outlier_chi2: float, work: Density) -> None:
    """Add the ``i``-th track to the chi2 of its vertex ``v``; an outlier leaves the vertex."""
    dz = work.z[i] - work.position[v]
    chi2 = dz * dz / work.variance[i]
    if chi2 > outlier_chi2:
        work.cluster[i] = NOISE
    else:
        work.chi2[v] += chi2
        work.ndof[v] += 1


@shared
def error_of_mean(chi2: float, ndof: int, weight: float) -> float:
    """Return the error of a vertex, cm, scaled by the square root of chi2/ndof."""
    scale = chi2 / ndof if ndof > 0 else 1.0
    return math.sqrt(scale / weight)


@kernel
def _split_vertices(n_tracks: int, n_vertices: int, cuts: VertexCuts, work: Density) -> int:
    """Split vertices that fit badly in two, and return the number of vertices."""
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
    """Whether vertex ``v`` has enough tracks and fits badly."""
    ndof = work.ndof[v]
    return ndof >= cuts.split_min_ndof and work.chi2[v] >= cuts.split_chi2 * ndof


@shared
def find_members(v: int, n_tracks: int, member: Array, work: Density) -> int:
    """Fill ``member`` with the tracks of vertex ``v``, by rising z, and return their number."""
    n = 0
    for i in range(n_tracks):
        if work.cluster[i] == v:
            member[n] = i
            n += 1
    return n


@shared
def is_two(v: int, n: int, member: Array, upper: Array, cuts: VertexCuts, work: Density) -> bool:
    """Whether the tracks of vertex ``v``, split in two parts by 2-means, are well apart.

    Args:
        v: the vertex.
        n: number of its tracks.
        member: its tracks.
        upper: memory; it gets whether each track is in the upper part.
        cuts: constants of the split.
        work: memory of the event.
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
