"""Selection of ntuplets and resolution of shared hits, a block for each event.

A track is judged once it is the best on all of its hits among those not yet judged: then
every better one that shares a hit with it has been. So tracks far apart are judged at the
same time, with the answer of taking them one by one in the order of their scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_LAYERS
from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.edm import Tracks

from ..config import ScoreCuts
from ..fit import Fitted
from ..ntuplets import Ntuplets
from ..resolve import (
    is_good,
    may_share,
    penalty,
    score_of,
)
from .doublets import BatchCells
from .hits import BatchHits
from .ntuplets import Beginnings

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE
_NOBODY = 0x7FFFFFFF


class Contest(NamedTuple):
    """Who has which hit.

    Attributes:
        start: int32[events + 1], first ntuplet of each event.
        quality: uint8[n], of each ntuplet.
        score: float64[n].
        waiting: int32[n], ntuplets not yet judged. Each thread of a block lists its own in
            every so many rows of the event's, so that no thread waits for another's list.
        taken: int32[hits], whether a track that stays has it.
        best_score: float64[hits], the best of those that wait.
        best: int32[hits], the first that has it.
    """

    start: Any
    quality: Any
    score: Any
    waiting: Any
    taken: Any
    best_score: Any
    best: Any


def start_contest(
    device: Device,
    hits: BatchHits,
    cells: BatchCells,
    beginnings: Beginnings,
    n_events: int,
    n_hits: int,
    n: int,
) -> Contest:
    """Room for the quality of each of ``n`` ntuplets, and where those of each event begin."""
    contest = Contest(
        start=device.array("contest.start", n_events + 1, np.int32),
        quality=device.array("contest.quality", n, np.uint8),
        score=device.array("contest.score", n, np.float64),
        waiting=device.array("contest.waiting", n, np.int32),
        taken=device.array("contest.taken", n_hits, np.int32),
        best_score=device.array("contest.best_score", n_hits, np.float64),
        best=device.array("contest.best", n_hits, np.int32),
    )
    device.launch(
        *(_find_events, n_events + 1, hits.start, cells.start, beginnings.first),
        *(contest.start, n_events),
    )
    return contest


def resolve_tracks(
    device: Device,
    ntuplets: Ntuplets,
    fitted: Fitted,
    contest: Contest,
    n_events: int,
    n_hits: int,
    cuts: ScoreCuts,
) -> None:
    """Fill :attr:`Contest.quality`."""
    device.fill(contest.taken, n_hits, 0)
    device.launch_blocks(_resolve, n_events, ntuplets, fitted, contest, cuts, n_events)


@cuda_kernel
def _find_events(hit: Any, cell: Any, ntuplet: Any, start: Any, n_events: int) -> None:
    """From where each hit's cells and each cell's ntuplets begin."""
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        start[e] = ntuplet[cell[hit[e * N_LAYERS]]]


@cuda_kernel
def _resolve(
    ntuplets: Ntuplets, fitted: Fitted, contest: Contest, cuts: ScoreCuts, n_events: int
) -> None:
    for event in range(cuda.blockIdx.x, n_events, cuda.gridDim.x):
        first = end = contest.start[event] + cuda.threadIdx.x
        for t in range(first, contest.start[event + 1], cuda.blockDim.x):
            length = int(ntuplets.n_hits[t])
            tip, zip_, q_over_pt = fitted.state[t, 1], fitted.state[t, 4], fitted.state[t, 2]
            cost = penalty(length, fitted.chi2[t], tip, fitted.covariance[t, 5], cuts)
            contest.quality[t], contest.score[t] = _BAD, score_of(length, cost, cuts)
            if is_good(length, cost, tip, zip_, q_over_pt, cuts):
                contest.waiting[end] = t
                end += cuda.blockDim.x
        waiting = True
        while waiting:
            _find_best(ntuplets, contest, first, end)
            end = _judge(ntuplets, contest, first, end, cuts)
            waiting = cuda.syncthreads_or(1 if end > first else 0) != 0


@device_function
def _find_best(ntuplets: Ntuplets, contest: Contest, first: int, end: int) -> None:
    """For each hit the best of the tracks that wait, by the threads of a block."""
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
    """Judge the tracks that are the best on all of their hits; where the list of others ends."""
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
        elif shared_hits > may_share(int(ntuplets.n_hits[t]), cuts):
            contest.quality[t] = _DUPLICATE
        else:
            contest.quality[t] = _LOOSE
            for k in range(ntuplets.n_hits[t]):
                contest.taken[ntuplets.hits[t, k]] = 1
    return kept
