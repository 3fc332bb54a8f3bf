"""Tracks to vertices as a mixture, a block for each event.

Vertices move one after the other, as each changes the density that the next one finds. The
threads of the block share the tracks around it. One thread makes each sum, in the order of a CPU.
So the number of threads does not change any bit.
"""

from __future__ import annotations

from typing import Any

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
from trackserve.device.sort import lower_bound
from trackserve.edm import VAR_ZIP, Vertices

from ..config import MixtureCuts
from ..mixture import (
    Mixture,
    Sums,
    add_to_chi2,
    add_to_mean,
    assign,
    begin_competition,
    begin_fit,
    error_of_mean,
    grid_points,
    inflated,
    is_maximum,
    likelihood_by,
    makes_vertex,
    must_move,
    seed_density,
    seed_grid,
    seed_points,
    seed_width,
    settle,
    share_of,
    take_track,
    wake_around,
)
from ..tracks import FittedTracks
from ..vertices import NOISE, Ranking, final_number
from .columns import make_columns
from .tracks import BatchTracks, tracks_of_event
from .vertices import BatchVertices, rank_by_sum_pt2


def make_mixture(device: Device, n_tracks: int, points: int) -> Mixture:
    """Return memory for all tracks and points of a batch."""
    array = device.array
    return Mixture(
        chosen=array("mixture.chosen", n_tracks, np.int32),
        z=array("mixture.z", n_tracks, np.float64),
        sigma=array("mixture.sigma", n_tracks, np.float64),
        vertex=array("mixture.vertex", n_tracks, np.int32),
        density=array("mixture.density", n_tracks, np.float64),
        belongs=array("mixture.belongs", n_tracks, np.float64),
        weight_of=array("mixture.weight_of", n_tracks, np.float64),
        grid=array("mixture.grid", points, np.float64),
        position=array("mixture.position", points, np.float64),
        share=array("mixture.share", points, np.float64),
        low=array("mixture.low", points, np.int32),
        high=array("mixture.high", points, np.int32),
        mean=array("mixture.mean", points, np.float64),
        weight=array("mixture.weight", points, np.float64),
        chi2=array("mixture.chi2", points, np.float64),
        ndof=array("mixture.ndof", points, np.int32),
        waiting=array("mixture.waiting", points, np.bool_),
        order=array("mixture.order", points, np.int32),
        rank=array("mixture.rank", points, np.int32),
        other=array("mixture.other", points + n_tracks, np.int32),
    )


def fit_mixture(device: Device, tracks: BatchTracks, cuts: MixtureCuts) -> BatchVertices:
    """Find the vertices of each event, by falling sum of pT^2; fill ``vertex`` of the tracks."""
    n_events = tracks.n_events
    room = grid_points(2 * cuts.max_zip, cuts)
    points = n_events * room
    work = make_mixture(device, tracks.n, points)
    vertices = BatchVertices(
        start=device.array("mixture.start", n_events + 1, np.int32),
        columns=make_columns(device, "vertices", Vertices, points),
    )
    device.launch_blocks(_find, n_events, tracks, vertices.start, work, cuts, room)
    device.scan(vertices.start, n_events, vertices.start)
    of_track = tracks.columns.vertex
    device.launch_blocks(_fill, n_events, tracks.start, of_track, vertices, work, room, n_events)
    return vertices


@device_function
def _of_event(work: Mixture, i: int, j: int, p: int, q: int) -> Mixture:
    """Return the memory of an event with tracks ``i`` to ``j`` and points ``p`` to ``q``."""
    return Mixture(
        chosen=work.chosen[i:j],
        z=work.z[i:j],
        sigma=work.sigma[i:j],
        vertex=work.vertex[i:j],
        density=work.density[i:j],
        belongs=work.belongs[i:j],
        weight_of=work.weight_of[i:j],
        grid=work.grid[p:q],
        position=work.position[p:q],
        share=work.share[p:q],
        low=work.low[p:q],
        high=work.high[p:q],
        mean=work.mean[p:q],
        weight=work.weight[p:q],
        chi2=work.chi2[p:q],
        ndof=work.ndof[p:q],
        waiting=work.waiting[p:q],
        order=work.order[p:q],
        rank=work.rank[p:q],
        other=work.other[p + i : q + j],
    )


@cuda_kernel
def _find(batch: BatchTracks, number: Any, work: Mixture, cuts: MixtureCuts, room: int) -> None:
    buffer = cuda.shared.array(THREADS, np.int32)
    for e in range(cuda.blockIdx.x, batch.n_events, cuda.gridDim.x):
        i, j = batch.start[e], batch.start[e + 1]
        tracks, mine = tracks_of_event(batch, e), _of_event(work, i, j, e * room, (e + 1) * room)
        n = _choose(tracks, cuts, mine, buffer)
        n_vertices = _find_seeds(n, cuts, mine, buffer)
        _compete(n, n_vertices, cuts, mine)
        n_vertices = _keep_alive(n_vertices, mine, buffer)
        for k in range(cuda.threadIdx.x, n, cuda.blockDim.x):
            assign(k, n_vertices, cuts, mine)
        n_vertices = _drop_small(n, n_vertices, cuts.min_tracks, mine, buffer)
        _fit_vertices(n, n_vertices, mine)

        for t in range(cuda.threadIdx.x, j - i, cuda.blockDim.x):
            take_track(t, tracks, cuts, mine)
            assign(t, n_vertices, cuts, mine)
        cuda.syncthreads()
        ranking = Ranking(mine.share, mine.order, mine.rank, mine.other)
        rank_by_sum_pt2(tracks, mine.vertex, n_vertices, ranking)
        if cuda.threadIdx.x == 0:
            number[e] = n_vertices


@device_function
def _choose(tracks: FittedTracks, cuts: MixtureCuts, work: Mixture, buffer: Any) -> int:
    """Find the tracks that make vertices, by rising z, and return their number."""
    row, z = work.other, work.density  # not needed yet
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
        work.sigma[i] = inflated(tracks.covariance[row[k], VAR_ZIP], cuts)
    cuda.syncthreads()
    return n


@device_function
def _find_seeds(n: int, cuts: MixtureCuts, work: Mixture, buffer: Any) -> int:
    """Fill ``position`` with the maxima of the density of ``n`` tracks; return their number.

    A thread takes a point.
    """
    if n == 0:
        return 0
    z, density = work.z, work.grid
    grid = seed_grid(z[0], z[n - 1], cuts)
    start, n_points = grid
    low, high = work.vertex, work.other  # not needed yet
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        width = seed_width(work.sigma[i], cuts)
        low[i], high[i] = seed_points(z[i], width, grid, cuts)
    cuda.syncthreads()
    furthest = cuts.seed_reach * seed_width(cuts.inflation * cuts.max_error, cuts) + cuts.step
    for k in range(cuda.threadIdx.x, n_points, cuda.blockDim.x):
        point, total = start + k * cuts.step, 0.0
        for i in range(lower_bound(z, n, point - furthest), lower_bound(z, n, point + furthest)):
            if low[i] <= k < high[i]:
                total += seed_density(point - z[i], seed_width(work.sigma[i], cuts), cuts)
        density[k] = total
    cuda.syncthreads()
    found = 0
    for first in range(1, n_points - 1, cuda.blockDim.x):
        k = first + cuda.threadIdx.x
        seed = 1 if k < n_points - 1 and is_maximum(density, k) else 0
        place, found = place_in_block(buffer, seed, found)
        if seed:
            work.position[place] = start + k * cuts.step
    cuda.syncthreads()
    return found


@device_function
def _compete(n: int, m: int, cuts: MixtureCuts, work: Mixture) -> None:
    """Let ``m`` seeds compete for ``n`` tracks."""
    me, step = cuda.threadIdx.x, cuda.blockDim.x
    begin_competition(n, m, cuts, work, me, step)
    cuda.syncthreads()
    for i in range(me, n, step):
        work.density[i] = cuts.noise
        for v in range(m):
            if work.low[v] <= i < work.high[v]:
                work.density[i] += likelihood_by(v, i, cuts, work)
    cuda.syncthreads()
    for _ in range(cuts.max_iterations):
        done = True
        for v in range(m):
            if not must_move(v, work):
                continue
            _take_out(v, cuts, work, me, step)
            cuda.syncthreads()
            unsettled = 1 if me == 0 and settle(v, n, _sums(v, work), cuts, work) else 0
            unsettled = cuda.syncthreads_or(unsettled)
            _put_back(v, cuts, work, me, step)
            if unsettled:
                wake_around(v, m, cuts, work, me, step)
                done = False
            cuda.syncthreads()
        if done:
            break


@device_function
def _take_out(v: int, cuts: MixtureCuts, work: Mixture, first: int, step: int) -> None:
    """Take vertex ``v`` out of the density around it, and find the shares of tracks in it."""
    for i in range(work.low[v] + first, work.high[v], step):
        here = likelihood_by(v, i, cuts, work)
        belongs = weight = 0.0
        if here > 0.0:
            belongs, weight = share_of(here, i, work)
            work.density[i] -= here
        work.belongs[i], work.weight_of[i] = belongs, weight


@device_function
def _sums(v: int, work: Mixture) -> Sums:
    """Return the sums over the tracks of vertex ``v``, by one thread."""
    tracks = weight = mean = 0.0
    for i in range(work.low[v], work.high[v]):
        tracks += work.belongs[i]
        weight += work.weight_of[i]
        mean += work.weight_of[i] * work.z[i]
    return Sums(tracks, weight, mean)


@device_function
def _put_back(v: int, cuts: MixtureCuts, work: Mixture, first: int, step: int) -> None:
    """Add vertex ``v`` to the density around it, if it is alive."""
    if work.share[v] > 0.0:
        for i in range(work.low[v] + first, work.high[v], step):
            work.density[i] += likelihood_by(v, i, cuts, work)


@device_function
def _keep_alive(m: int, work: Mixture, buffer: Any) -> int:
    """Order the survivors of ``m`` vertices by position, and return their number."""
    position, share = work.mean, work.weight  # not needed yet
    alive = 0
    for first in range(0, m, cuda.blockDim.x):
        v = first + cuda.threadIdx.x
        lives = 1 if v < m and work.share[v] > 0.0 else 0
        place, alive = place_in_block(buffer, lives, alive)
        if lives:
            position[place], share[place] = work.position[v], work.share[v]
    cuda.syncthreads()
    for k in range(cuda.threadIdx.x, alive, cuda.blockDim.x):
        v = rank_of(position, alive, k)
        work.position[v], work.share[v] = position[k], share[k]
    cuda.syncthreads()
    return alive


@device_function
def _drop_small(n: int, n_vertices: int, min_tracks: int, work: Mixture, buffer: Any) -> int:
    """Leave out vertices of few tracks, renumber the rest, and return their number."""
    tracks, number = work.ndof, work.rank
    for v in range(cuda.threadIdx.x, n_vertices, cuda.blockDim.x):
        tracks[v] = 0
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        if work.vertex[i] >= 0:
            cuda.atomic.add(tracks, work.vertex[i], 1)
    cuda.syncthreads()
    kept = 0
    for first in range(0, n_vertices, cuda.blockDim.x):
        v = first + cuda.threadIdx.x
        keep, position, share = 0, 0.0, 0.0
        if v < n_vertices:
            keep, position, share = (
                1 if tracks[v] >= min_tracks else 0,
                work.position[v],
                work.share[v],
            )
        place, kept = place_in_block(buffer, keep, kept)
        if keep:
            work.position[place], work.share[place] = position, share
        if v < n_vertices:
            number[v] = place if keep else NOISE
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        work.vertex[i] = final_number(work.vertex[i], number)
    cuda.syncthreads()
    return kept


@device_function
def _fit_vertices(n: int, n_vertices: int, work: Mixture) -> None:
    """Find the weighted mean of the tracks of each vertex, and their chi2."""
    for v in range(cuda.threadIdx.x, n_vertices, cuda.blockDim.x):
        begin_fit(v, work)
        for i in range(n):
            if work.vertex[i] == v:
                add_to_mean(v, i, work)
        work.mean[v] /= work.weight[v]
        for i in range(n):
            if work.vertex[i] == v:
                add_to_chi2(v, i, work)
    cuda.syncthreads()


@cuda_kernel
def _fill(
    start: Any, of_track: Any, vertices: BatchVertices, work: Mixture, room: int, n_events: int
) -> None:
    c = vertices.columns
    for e in range(cuda.blockIdx.x, n_events, cuda.gridDim.x):
        first, p = e * room, vertices.start[e]
        for k in range(cuda.threadIdx.x, vertices.start[e + 1] - p, cuda.blockDim.x):
            v = first + work.order[first + k]
            c.z[p + k], c.z_error[p + k] = work.mean[v], error_of_mean(work.weight[v])
            c.chi2[p + k], c.ndof[p + k] = work.chi2[v], work.ndof[v]
            c.sum_pt2[p + k] = -work.share[v]
        rank = work.rank[first : first + room]
        for t in range(start[e] + cuda.threadIdx.x, start[e + 1], cuda.blockDim.x):
            of_track[t] = final_number(work.vertex[t], rank)
