"""Tracks to vertices by density, a block for each event.

A thread takes a track, or a vertex, and scans the others. One thread makes each sum, in the order
of a CPU. So the number of threads does not change any bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.cuda import (
    THREADS,
    Device,
    cuda_kernel,
    device_function,
    place_in_block,
    rank_of,
)
from trackserve.edm import VAR_ZIP, Vertices

from ..config import VertexCuts
from ..tracks import FittedTracks
from ..vertices import (
    NOISE,
    Density,
    Ranking,
    add_to_chi2,
    add_to_mean,
    begin_fit,
    begins_cluster,
    count_neighbours,
    error_of_mean,
    final_number,
    find_members,
    is_two,
    leader,
    makes_vertex,
    may_be_two,
    move_upper,
    nearest_denser,
    squared_pt,
)
from .columns import make_columns
from .tracks import BatchTracks, tracks_of_event


class BatchVertices(NamedTuple):
    """Vertices of a batch.

    Attributes:
        start: int32[events + 1], first of each event.
        columns: columns of :class:`trackserve.edm.Vertices`.
    """

    start: Any
    columns: Any


def make_density(device: Device, n: int) -> Density:
    """Return memory for the ``n`` tracks of a batch."""

    def array(name: str, dtype: Any) -> Any:
        return device.array(f"density.{name}", n, dtype)

    return Density(
        chosen=array("chosen", np.int32),
        z=array("z", np.float64),
        variance=array("variance", np.float64),
        density=array("density", np.int32),
        parent=array("parent", np.int32),
        cluster=array("cluster", np.int32),
        vertex=array("vertex", np.int32),
        member=array("member", np.int32),
        upper=array("upper", np.bool_),
        position=array("position", np.float64),
        weight=array("weight", np.float64),
        chi2=array("chi2", np.float64),
        error=array("error", np.float64),
        ndof=array("ndof", np.int32),
        minus_sum=array("minus_sum", np.float64),
        order=array("order", np.int32),
        rank=array("rank", np.int32),
        other=array("other", np.int32),
    )


def find_vertices(device: Device, tracks: BatchTracks, cuts: VertexCuts) -> BatchVertices:
    """Find the vertices of each event, by falling sum of pT^2; fill ``vertex`` of the tracks."""
    n_events = tracks.n_events
    work = make_density(device, tracks.n)
    vertices = BatchVertices(
        start=device.array("vertices.start", n_events + 1, np.int32),
        columns=make_columns(device, "vertices", Vertices, tracks.n),
    )
    device.launch_blocks(_find, n_events, tracks, vertices.start, work, cuts)
    device.scan(vertices.start, n_events, vertices.start)
    of_track = tracks.columns.vertex
    device.launch_blocks(_fill, n_events, tracks.start, of_track, vertices, work, n_events)
    return vertices


@device_function
def _of_event(work: Density, i: int, j: int) -> Density:
    """Return the memory of an event with tracks ``i`` to ``j``."""
    return Density(
        chosen=work.chosen[i:j],
        z=work.z[i:j],
        variance=work.variance[i:j],
        density=work.density[i:j],
        parent=work.parent[i:j],
        cluster=work.cluster[i:j],
        vertex=work.vertex[i:j],
        member=work.member[i:j],
        upper=work.upper[i:j],
        position=work.position[i:j],
        weight=work.weight[i:j],
        chi2=work.chi2[i:j],
        error=work.error[i:j],
        ndof=work.ndof[i:j],
        minus_sum=work.minus_sum[i:j],
        order=work.order[i:j],
        rank=work.rank[i:j],
        other=work.other[i:j],
    )


@cuda_kernel
def _find(batch: BatchTracks, number: Any, work: Density, cuts: VertexCuts) -> None:
    buffer = cuda.shared.array(THREADS, np.int32)
    for e in range(cuda.blockIdx.x, batch.n_events, cuda.gridDim.x):
        i, j = batch.start[e], batch.start[e + 1]
        tracks, mine = tracks_of_event(batch, e), _of_event(work, i, j)
        n = _choose(tracks, cuts, mine, buffer)
        n_vertices = _cluster(n, cuts, mine, buffer)
        _fit_vertices(n, n_vertices, cuts.outlier_chi2, mine)
        n_vertices = _split_vertices(n, n_vertices, cuts, mine, buffer)
        _fit_vertices(n, n_vertices, cuts.outlier_chi2_final, mine)

        for t in range(cuda.threadIdx.x, j - i, cuda.blockDim.x):
            mine.vertex[t] = NOISE
        cuda.syncthreads()
        for k in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            mine.vertex[mine.chosen[k]] = mine.cluster[k]
        cuda.syncthreads()
        ranking = Ranking(mine.minus_sum, mine.order, mine.rank, mine.other)
        rank_by_sum_pt2(tracks, mine.vertex, n_vertices, ranking)
        if cuda.threadIdx.x == 0:
            number[e] = n_vertices


@device_function
def _choose(tracks: FittedTracks, cuts: VertexCuts, work: Density, buffer: Any) -> int:
    """Find the tracks that make vertices, by rising z, and return their number."""
    row, z = work.other, work.position  # not needed yet
    n, n_tracks = 0, len(tracks.n_hits)
    for first in range(0, n_tracks, cuda.blockDim.x):
        t = first + cuda.threadIdx.x
        chosen = 1 if t < n_tracks and makes_vertex(t, tracks, cuts) else 0
        place, n = place_in_block(buffer, chosen, n)
        if chosen:
            row[place], z[place] = t, tracks.state[t, 4]
    cuda.syncthreads()
    for k in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        i = rank_of(z, n, k)
        work.chosen[i], work.z[i] = row[k], z[k]
        work.variance[i] = tracks.covariance[row[k], VAR_ZIP]
    cuda.syncthreads()
    return n


@device_function
def _cluster(n: int, cuts: VertexCuts, work: Density, buffer: Any) -> int:
    """Find the cluster of each of ``n`` tracks, and return the number of clusters."""
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        work.density[i] = count_neighbours(i, n, cuts, work)
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        work.parent[i] = nearest_denser(i, n, cuts, work)
    cuda.syncthreads()
    n_clusters = 0
    for first in range(0, n, cuda.blockDim.x):
        i = first + cuda.threadIdx.x
        begins = 1 if i < n and begins_cluster(i, cuts, work) else 0
        place, n_clusters = place_in_block(buffer, begins, n_clusters)
        if i < n:
            work.cluster[i] = place if begins else NOISE
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        if work.parent[i] != i:
            work.cluster[i] = work.cluster[leader(i, work.parent)]
    cuda.syncthreads()
    return n_clusters


@device_function
def _fit_vertices(n: int, n_vertices: int, outlier_chi2: float, work: Density) -> None:
    """Find the weighted mean of each vertex; tracks with a larger chi2 leave it."""
    for v in range(cuda.threadIdx.x, n_vertices, cuda.blockDim.x):
        begin_fit(v, work)
        for i in range(n):
            if work.cluster[i] == v:
                add_to_mean(v, i, work)
        work.position[v] /= work.weight[v]
        for i in range(n):
            if work.cluster[i] == v:
                add_to_chi2(v, i, outlier_chi2, work)
        work.error[v] = error_of_mean(work.chi2[v], work.ndof[v], work.weight[v])
    cuda.syncthreads()


@device_function
def _split_vertices(n: int, n_vertices: int, cuts: VertexCuts, work: Density, buffer: Any) -> int:
    """Split vertices that fit badly in two, and return the number of vertices."""
    found, n_members = n_vertices, 0
    for first in range(0, n_vertices, cuda.blockDim.x):
        v = first + cuda.threadIdx.x
        size = work.ndof[v] + 1 if v < n_vertices and may_be_two(v, cuts, work) else 0
        place, n_members = place_in_block(buffer, size, n_members)
        member, upper = work.member[place : place + size], work.upper[place : place + size]
        two = 0
        if size > 0:
            find_members(v, n, member, work)
            two = 1 if is_two(v, size, member, upper, cuts, work) else 0
        place, found = place_in_block(buffer, two, found)
        if two:
            move_upper(size, place, member, upper, work)
    cuda.syncthreads()
    return found


@device_function
def rank_by_sum_pt2(tracks: FittedTracks, vertex: Any, n_vertices: int, ranking: Ranking) -> None:
    """Order vertices by falling sum of pT^2, by the threads of a block.

    The arguments are those of :func:`..vertices.rank_by_sum_pt2`.
    """
    minus_sum, order, rank, _ = ranking
    for v in range(cuda.threadIdx.x, n_vertices, cuda.blockDim.x):
        minus_sum[v] = 0.0
        for t in range(len(tracks.n_hits)):
            if vertex[t] == v:
                minus_sum[v] -= squared_pt(tracks.state[t, 2])
    cuda.syncthreads()
    for v in range(cuda.threadIdx.x, n_vertices, cuda.blockDim.x):
        rank[v] = rank_of(minus_sum, n_vertices, v)
        order[rank[v]] = v
    cuda.syncthreads()


@cuda_kernel
def _fill(start: Any, of_track: Any, vertices: BatchVertices, work: Density, n_events: int) -> None:
    c = vertices.columns
    for e in range(cuda.blockIdx.x, n_events, cuda.gridDim.x):
        i, p = start[e], vertices.start[e]
        for k in range(cuda.threadIdx.x, vertices.start[e + 1] - p, cuda.blockDim.x):
            v = i + work.order[i + k]
            c.z[p + k], c.z_error[p + k] = work.position[v], work.error[v]
            c.chi2[p + k], c.ndof[p + k] = work.chi2[v], work.ndof[v]
            c.sum_pt2[p + k] = -work.minus_sum[v]
        rank = work.rank[i : start[e + 1]]
        for t in range(i + cuda.threadIdx.x, start[e + 1], cuda.blockDim.x):
            of_track[t] = final_number(work.vertex[t], rank)
