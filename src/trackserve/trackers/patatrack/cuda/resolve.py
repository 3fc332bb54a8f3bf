"""Selection of ntuplets and resolution of shared hits, a block for each event.

A track is judged once it is the best of the waiting tracks on all of its hits: then every better
one that shares a hit with it has been judged. So tracks far apart are judged at the same time. The
answer is the same as if they were judged one by one in the order of their scores.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_LAYERS
from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.edm import MAX_HITS, Tracks

from ..config import ScoreCuts
from ..fit import Fitted
from ..ntuplets import Ntuplets
from ..resolve import cost_of, cost_of_fit, may_share, score_of
from ..shape import (
    N_OF_CLUSTER,
    N_OF_TRACK,
    HitShapes,
    ShapeWorkspace,
    judge_shapes_side_by_side,
    load_cluster,
    load_track,
)
from .doublets import BatchCells
from .hits import BatchHits
from .ntuplets import Beginnings

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE
_NOBODY = 0x7FFFFFFF


class Contest(NamedTuple):
    """Ntuplets of a batch that compete for hits and cells.

    Attributes:
        n_events, n, n_hits, n_cells: numbers of events, ntuplets, hits and cells.
        start: int32[n_events + 1], first ntuplet of each event.
        quality: uint8[n], quality of each ntuplet.
        score: float64[n], score of each ntuplet; -inf for one that is no track.
        waiting: int32[n], ntuplets that are not judged yet. Each thread of a block has its own
            list, in rows that are one block apart: so no thread waits for another's list.
        taken: int32[n_hits], 1 for a hit of a track that stays, else 0.
        best_score: float64[n_hits], best score of the waiting ntuplets that have the hit.
        best: int32[n_hits], first of the ntuplets with that score.
    """

    n_events: int
    n: int
    n_hits: int
    n_cells: int
    start: Any
    quality: Any
    score: Any
    waiting: Any
    taken: Any
    best_score: Any
    best: Any


def start_contest(
    device: Device, hits: BatchHits, cells: BatchCells, beginnings: Beginnings, n: int
) -> Contest:
    """Make room for the quality of ``n`` ntuplets, and find the first ntuplet of each event."""
    contest = Contest(
        n_events=hits.n_events,
        n=n,
        n_hits=hits.n,
        n_cells=cells.n,
        start=device.array("contest.start", hits.n_events + 1, np.int32),
        quality=device.array("contest.quality", n, np.uint8),
        score=device.array("contest.score", n, np.float64),
        waiting=device.array("contest.waiting", n, np.int32),
        taken=device.array("contest.taken", hits.n, np.int32),
        best_score=device.array("contest.best_score", hits.n, np.float64),
        best=device.array("contest.best", hits.n, np.int32),
    )
    device.launch(
        _find_events, hits.n_events + 1, hits.start, cells.start, beginnings.first, contest
    )
    return contest


def resolve_tracks(
    device: Device, fitted: Fitted, hits: HitShapes, contest: Contest, cuts: ScoreCuts
) -> None:
    """Fill :attr:`Contest.quality`."""
    device.fill(contest.taken, contest.n_hits, 0)
    device.launch(_judge_alone, contest.n, fitted, hits, contest, cuts)
    device.launch_blocks(_resolve, contest.n_events, fitted.ntuplets, contest, cuts)


@cuda_kernel
def _find_events(hit: Any, cell: Any, ntuplet: Any, contest: Contest) -> None:
    """Find the first ntuplet of each event, from the first of each hit's and each cell's."""
    for e in range(cuda.grid(1), contest.n_events + 1, cuda.gridsize(1)):
        contest.start[e] = ntuplet[cell[hit[e * N_LAYERS]]]


@cuda_kernel
def _judge_alone(fitted: Fitted, hits: HitShapes, contest: Contest, cuts: ScoreCuts) -> None:
    work = ShapeWorkspace(
        cluster=cuda.local.array((MAX_HITS, N_OF_CLUSTER, 1), np.float32),
        track=cuda.local.array((N_OF_TRACK, 1), np.float64),
        seen=cuda.local.array(1, np.int32),
    )
    for t in range(cuda.grid(1), contest.n, cuda.gridsize(1)):
        contest.quality[t] = _BAD
        n_hits = int(fitted.ntuplets.n_hits[t])
        cost = cost_of_fit(t, fitted, cuts)
        if cost < math.inf:
            load_track(t, fitted, hits, work, 0)
            for k in range(n_hits):
                load_cluster(fitted.ntuplets.hits[t, k], hits, work.cluster[k], 0)
            judge_shapes_side_by_side(n_hits, 1, hits.tables, cuts, work)
            cost = cost_of(cost, n_hits, work.track, 0, cuts)
        contest.score[t] = score_of(n_hits, cost, cuts)


@cuda_kernel
def _resolve(ntuplets: Ntuplets, contest: Contest, cuts: ScoreCuts) -> None:
    for event in range(cuda.blockIdx.x, contest.n_events, cuda.gridDim.x):
        first = end = contest.start[event] + cuda.threadIdx.x
        for t in range(first, contest.start[event + 1], cuda.blockDim.x):
            if contest.score[t] > -math.inf:
                contest.waiting[end] = t
                end += cuda.blockDim.x
        waiting = True
        while waiting:
            _find_best(ntuplets, contest, first, end)
            end = _judge(ntuplets, contest, first, end, cuts)
            waiting = cuda.syncthreads_or(1 if end > first else 0) != 0


@device_function
def _find_best(ntuplets: Ntuplets, contest: Contest, first: int, end: int) -> None:
    """Find the best of the waiting tracks on each hit, by the threads of a block."""
    for p in range(first, end, cuda.blockDim.x):
        t = contest.waiting[p]
        for k in range(ntuplets.n_hits[t]):
            h = ntuplets.hits[t, k]
            contest.best_score[h], contest.best[h] = -np.inf, _NOBODY
    cuda.syncthreads()
    for p in range(first, end, cuda.blockDim.x):
        t = contest.waiting[p]
        for k in range(ntuplets.n_hits[t]):
            cuda.atomic.max(contest.best_score, ntuplets.hits[t, k], contest.score[t])
    cuda.syncthreads()
    for p in range(first, end, cuda.blockDim.x):
        t = contest.waiting[p]
        for k in range(ntuplets.n_hits[t]):
            h = ntuplets.hits[t, k]
            if contest.best_score[h] == contest.score[t]:
                cuda.atomic.min(contest.best, h, t)
    cuda.syncthreads()


@device_function
def _judge(ntuplets: Ntuplets, contest: Contest, first: int, end: int, cuts: ScoreCuts) -> int:
    """Judge the tracks that are the best on all of their hits.

    Returns:
        the end of this thread's list of the others.
    """
    kept = first
    for p in range(first, end, cuda.blockDim.x):
        t = contest.waiting[p]
        ahead, shared_hits = True, 0
        for k in range(ntuplets.n_hits[t]):
            h = ntuplets.hits[t, k]
            ahead = ahead and contest.best[h] == t
            shared_hits += contest.taken[h]
        if not ahead:
            contest.waiting[kept] = t
            kept += cuda.blockDim.x
        elif shared_hits > may_share(int(ntuplets.n_hits[t]), contest.score[t], cuts):
            contest.quality[t] = _DUPLICATE
        else:
            contest.quality[t] = _LOOSE
            for k in range(ntuplets.n_hits[t]):
                contest.taken[ntuplets.hits[t, k]] = 1
    return kept
