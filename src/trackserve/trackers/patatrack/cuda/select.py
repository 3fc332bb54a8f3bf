"""Quality of ntuplets, and removal of duplicates with a block for each event.

Doublets are judged in their order, as the tracks that stay on one decide which are left on the
next. But a doublet can be judged once it is the first waiting one of each track that has it: then
no doublet before it matters. So doublets far apart are judged at the same time. The answer is the
same as if they were judged one by one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.edm import Tracks

from ..config import QualityCuts
from ..fit import Fitted
from ..ntuplets import MAX_CELLS, Ntuplets
from ..select import grade, loses_hit
from ..shape import HitShapes
from .resolve import Contest

_DUPLICATE, _LOOSE = Tracks.DUPLICATE, Tracks.LOOSE
_NOBODY = 0x7FFFFFFF


class OnCells(NamedTuple):
    """Loose tracks that share cells.

    Attributes:
        next: int32[ntuplets], first cell of each that is not judged yet.
        n: int32[cells], number of tracks that have the cell.
        ahead: int32[cells], number of tracks whose ``next`` it is.
        tip: float64[cells], least distance of these tracks from the beam spot, cm.
        closest: int32[cells], first track at that distance, once the cell can be judged.
    """

    next: Any
    n: Any
    ahead: Any
    tip: Any
    closest: Any


class OnHits(NamedTuple):
    """Loose tracks that share hits.

    Attributes:
        longest: int32[hits], number of hits of the longest track that has the hit.
        tip: float64[hits], least distance of a track from the beam spot, cm.
        closest: int32[hits], first track at that distance.
    """

    longest: Any
    tip: Any
    closest: Any


def select_tracks(
    device: Device, fitted: Fitted, _hits: HitShapes, contest: Contest, cuts: QualityCuts
) -> None:
    """Fill :attr:`.Contest.quality`."""
    array, n, n_hits, n_cells = device.array, contest.n, contest.n_hits, contest.n_cells
    on_cells = OnCells(
        next=array("select.next", n, np.int32),
        n=array("select.n", n_cells, np.int32),
        ahead=array("select.ahead", n_cells, np.int32),
        tip=array("select.cell_tip", n_cells, np.float64),
        closest=array("select.cell_closest", n_cells, np.int32),
    )
    on_hits = OnHits(
        longest=array("select.longest", n_hits, np.int32),
        tip=array("select.hit_tip", n_hits, np.float64),
        closest=array("select.hit_closest", n_hits, np.int32),
    )
    device.launch(_classify, n, fitted, contest, cuts)
    device.launch_blocks(_remove_duplicates, contest.n_events, fitted, contest, on_cells, on_hits)


@cuda_kernel
def _classify(fitted: Fitted, contest: Contest, cuts: QualityCuts) -> None:
    for t in range(cuda.grid(1), contest.n, cuda.gridsize(1)):
        contest.quality[t] = grade(t, fitted, cuts)


@cuda_kernel
def _remove_duplicates(
    fitted: Fitted, contest: Contest, on_cells: OnCells, on_hits: OnHits
) -> None:
    ntuplets, quality = fitted.ntuplets, contest.quality
    for event in range(cuda.blockIdx.x, contest.n_events, cuda.gridDim.x):
        first, last = contest.start[event] + cuda.threadIdx.x, contest.start[event + 1]
        end = first
        for t in range(first, last, cuda.blockDim.x):
            if quality[t] == _LOOSE:
                contest.waiting[end] = t
                end += cuda.blockDim.x
                on_cells.next[t] = _cell_after(ntuplets, t, -1)
                for k in range(ntuplets.n_hits[t] - 1):
                    on_cells.n[ntuplets.cells[t, k]] = 0
        cuda.syncthreads()
        for p in range(first, end, cuda.blockDim.x):
            t = contest.waiting[p]
            for k in range(ntuplets.n_hits[t] - 1):
                cuda.atomic.add(on_cells.n, ntuplets.cells[t, k], 1)
        waiting = True
        while waiting:
            _find_closest_on_cells(fitted, contest.waiting, on_cells, first, end)
            end = _judge_cells(ntuplets, contest, on_cells, first, end)
            waiting = cuda.syncthreads_or(1 if end > first else 0) != 0
        _find_best_on_hits(fitted, quality, on_hits, first, last)
        for t in range(first, last, cuda.blockDim.x):
            if quality[t] == _LOOSE:
                for k in range(ntuplets.n_hits[t]):
                    h = ntuplets.hits[t, k]
                    if loses_hit(ntuplets.n_hits[t], on_hits.longest[h], on_hits.closest[h] == t):
                        quality[t] = _DUPLICATE
        cuda.syncthreads()


@device_function
def _cell_after(ntuplets: Ntuplets, t: int, cell: int) -> int:
    """Return the first cell of track ``t`` that comes after ``cell``; ``_NOBODY`` if none does."""
    found = _NOBODY
    for k in range(MAX_CELLS):
        if cell < ntuplets.cells[t, k] < found:
            found = ntuplets.cells[t, k]
    return found


@device_function
def _find_closest_on_cells(
    fitted: Fitted, waiting: Any, on_cells: OnCells, first: int, end: int
) -> None:
    """Find the closest track on each cell that can be judged, by the threads of a block."""
    for p in range(first, end, cuda.blockDim.x):
        c = on_cells.next[waiting[p]]
        on_cells.ahead[c], on_cells.tip[c], on_cells.closest[c] = 0, np.inf, _NOBODY
    cuda.syncthreads()
    for p in range(first, end, cuda.blockDim.x):
        c = on_cells.next[waiting[p]]
        cuda.atomic.add(on_cells.ahead, c, 1)
        cuda.atomic.min(on_cells.tip, c, abs(fitted.state[waiting[p], 1]))
    cuda.syncthreads()
    for p in range(first, end, cuda.blockDim.x):
        t = waiting[p]
        c = on_cells.next[t]
        if on_cells.ahead[c] == on_cells.n[c] and on_cells.tip[c] == abs(fitted.state[t, 1]):
            cuda.atomic.min(on_cells.closest, c, t)
    cuda.syncthreads()


@device_function
def _judge_cells(
    ntuplets: Ntuplets, contest: Contest, on_cells: OnCells, first: int, end: int
) -> int:
    """Judge the cells whose closest track is known.

    Returns:
        the end of this thread's list of tracks that have other cells.
    """
    kept = first
    for p in range(first, end, cuda.blockDim.x):
        t = contest.waiting[p]
        closest = on_cells.closest[on_cells.next[t]]
        if closest == t:
            on_cells.next[t] = _cell_after(ntuplets, t, on_cells.next[t])
        elif closest != _NOBODY:
            contest.quality[t] = _DUPLICATE
            for k in range(ntuplets.n_hits[t] - 1):
                cuda.atomic.add(on_cells.n, ntuplets.cells[t, k], -1)
            continue
        if on_cells.next[t] != _NOBODY:
            contest.waiting[kept] = t
            kept += cuda.blockDim.x
    return kept


@device_function
def _find_best_on_hits(
    fitted: Fitted, quality: Any, on_hits: OnHits, first: int, last: int
) -> None:
    """Find the longest track and the closest one on each hit, by the threads of a block."""
    ntuplets = fitted.ntuplets
    for t in range(first, last, cuda.blockDim.x):
        if quality[t] == _LOOSE:
            for k in range(ntuplets.n_hits[t]):
                h = ntuplets.hits[t, k]
                on_hits.longest[h], on_hits.tip[h], on_hits.closest[h] = 0, np.inf, _NOBODY
    cuda.syncthreads()
    for t in range(first, last, cuda.blockDim.x):
        if quality[t] == _LOOSE:
            for k in range(ntuplets.n_hits[t]):
                h = ntuplets.hits[t, k]
                cuda.atomic.max(on_hits.longest, h, int(ntuplets.n_hits[t]))
                cuda.atomic.min(on_hits.tip, h, abs(fitted.state[t, 1]))
    cuda.syncthreads()
    for t in range(first, last, cuda.blockDim.x):
        if quality[t] == _LOOSE:
            for k in range(ntuplets.n_hits[t]):
                h = ntuplets.hits[t, k]
                if on_hits.tip[h] == abs(fitted.state[t, 1]):
                    cuda.atomic.min(on_hits.closest, h, t)
    cuda.syncthreads()
