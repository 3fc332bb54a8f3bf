"""Tracks to vertices by density, a block for each event.

A thread takes a track, or a vertex, and then scans the others: a sum is always made by one
thread and in the order of a CPU, so that the number of threads is of no account.
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
from trackserve.edm import Vertices

from ..config import VertexCuts
from ..vertices import (
    NOISE,
    Density,
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
from .tracks import BatchTracks


class BatchVertices(NamedTuple):
    """Vertices of a batch.

    Attributes:
        start: int32[events + 1], first of each event.
        columns: of :class:`trackserve.edm.Vertices`.
    """

    start: Any
    columns: Any


def find_vertices(
    device: Device, tracks: BatchTracks, n_tracks: int, n_events: int, cuts: VertexCuts
) -> BatchVertices:
    """Vertices of each event by falling sum of pT^2; fills the tracks' ``vertex``.

    Args:
        n_tracks: of the batch, at most.
    """

    def array(name: str, dtype: Any) -> Any:
        return device.array(f"density.{name}", n_tracks, dtype)

    work = Density(
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
        minus_sum=array("minus_sum", np.float64),
        ndof=array("ndof", np.int32),
        order=array("order", np.int32),
        rank=array("rank", np.int32),
        other=array("other", np.int32),
    )
    vertices = BatchVertices(
        start=device.array("vertices.start", n_events + 1, np.int32),
        columns=make_columns(device, "vertices", Vertices, n_tracks),
    )
    device.launch_blocks(_find, n_events, tracks, vertices.start, work, cuts, n_events)
    device.scan(vertices.start, n_events, vertices.start)
    of_track = tracks.columns.vertex
    device.launch_blocks(_fill, n_events, tracks.start, of_track, vertices, work, n_events)
    return vertices


@device_function
def _of_event(work: Density, i: int, j: int) -> Density:
    """The memory of an event with tracks ``i`` to ``j``."""
    return Density(
        *(work.chosen[i:j], work.z[i:j], work.variance[i:j], work.density[i:j]),
        *(work.parent[i:j], work.cluster[i:j], work.vertex[i:j], work.member[i:j]),
        *(work.upper[i:j], work.position[i:j], work.weight[i:j], work.chi2[i:j]),
        *(work.error[i:j], work.minus_sum[i:j], work.ndof[i:j], work.order[i:j]),
        *(work.rank[i:j], work.other[i:j]),
    )


@cuda_kernel
def _find(tracks: BatchTracks, number: Any, work: Density, cuts: VertexCuts, n_events: int) -> None:
    buffer = cuda.shared.array(THREADS, np.int32)
    columns = tracks.columns
    for e in range(cuda.blockIdx.x, n_events, cuda.gridDim.x):
        i, j = tracks.start[e], tracks.start[e + 1]
        state, mine = columns.state[i:j], _of_event(work, i, j)
        n = _choose(j - i, state, columns.covariance[i:j], columns.n_hits[i:j], cuts, mine, buffer)
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
        rank_by_sum_pt2(
            state, mine.vertex, j - i, n_vertices, mine.minus_sum, mine.order, mine.rank
        )
        if cuda.threadIdx.x == 0:
            number[e] = n_vertices


@device_function
def _choose(
    n_tracks: int,
    state: Any,
    covariance: Any,
    n_hits: Any,
    cuts: VertexCuts,
    work: Density,
    buffer: Any,
) -> int:
    """Tracks that make vertices, by rising z; returns their number."""
    row, z = work.other, work.position  # not needed yet
    n = 0
    for first in range(0, n_tracks, cuda.blockDim.x):
        t = first + cuda.threadIdx.x
        chosen = 1 if t < n_tracks and makes_vertex(n_hits[t], state[t, 2], cuts) else 0
        place, n = place_in_block(buffer, chosen, n)
        if chosen:
            row[place], z[place] = t, state[t, 4]
    cuda.syncthreads()
    for k in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        i = rank_of(z, n, k)
        work.chosen[i], work.z[i], work.variance[i] = row[k], z[k], covariance[row[k], 14]
    cuda.syncthreads()
    return n


@device_function
def _cluster(n: int, cuts: VertexCuts, work: Density, buffer: Any) -> int:
    """Cluster of each track, -1 for noise; returns the number of clusters."""
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
    """Weighted means; tracks with a larger chi2 leave their vertex."""
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
    """Split vertices that fit badly in two; returns their number."""
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
def rank_by_sum_pt2(
    state: Any,
    vertex: Any,
    n_tracks: int,
    n_vertices: int,
    minus_sum: Any,
    order: Any,
    rank: Any,
) -> None:
    """As :func:`..vertices.rank_by_sum_pt2`, by the threads of a block."""
    for v in range(cuda.threadIdx.x, n_vertices, cuda.blockDim.x):
        minus_sum[v] = 0.0
        for t in range(n_tracks):
            if vertex[t] == v:
                minus_sum[v] -= squared_pt(state[t, 2])
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
