"""Quality of ntuplets and removal of duplicates, the latter a thread for each event: which of
those that share a doublet stays depends on the order of the doublets."""

from __future__ import annotations

import numpy as np
from numba import cuda

from ...detector.phase1 import N_LAYERS
from ...device.cuda import Device, cuda_kernel
from ...edm import MAX_HITS
from ..config import QualityCuts
from ..doublets import Cells
from ..fit import Fitted
from ..ntuplets import Ntuplets
from ..select import ByTarget, grade, remove_shared_cells, remove_shared_hits
from .hits import BatchHits
from .resolve import Contest


def select_tracks(
    device: Device,
    hits: BatchHits,
    cells: Cells,
    ntuplets: Ntuplets,
    fitted: Fitted,
    contest: Contest,
    n_events: int,
    n_hits: int,
    n_cells: int,
    n: int,
    cuts: QualityCuts,
) -> None:
    """Fill :attr:`.Contest.quality` of ``n`` ntuplets."""
    most = max(n_cells, n_hits) + n_events
    room = ByTarget(
        start=device.array("select.start", most, np.int32),
        filled=device.array("select.filled", most, np.int32),
        row=device.array("select.row", MAX_HITS * n, np.int32),
    )
    device.launch(_classify, n, ntuplets, fitted, contest, cuts, n)
    device.launch(
        _remove_duplicates, n_events, hits, cells, ntuplets, fitted, contest, room, n_events
    )


@cuda_kernel
def _classify(
    ntuplets: Ntuplets, fitted: Fitted, contest: Contest, cuts: QualityCuts, n: int
) -> None:
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        phi, tip, q_over_pt = fitted.state[t, 0], fitted.state[t, 1], fitted.state[t, 2]
        contest.quality[t] = grade(
            *(ntuplets.duplicate[t], ntuplets.n_hits[t], phi, tip, q_over_pt),
            *(fitted.state[t, 3], fitted.state[t, 4], fitted.chi2[t], fitted.ndof[t], cuts),
        )


@cuda_kernel
def _remove_duplicates(
    hits: BatchHits,
    cells: Cells,
    ntuplets: Ntuplets,
    fitted: Fitted,
    contest: Contest,
    room: ByTarget,
    n_events: int,
) -> None:
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        i, j = contest.start[e], contest.start[e + 1]
        h, h_end = hits.start[e * N_LAYERS], hits.start[(e + 1) * N_LAYERS]
        c, c_end = cells.start[h], cells.start[h_end]
        state, quality = fitted.state[i:j], contest.quality[i:j]
        row = room.row[MAX_HITS * i : MAX_HITS * j]
        by_cell = ByTarget(
            room.start[c + e : c_end + e + 1], room.filled[c + e : c_end + e + 1], row
        )
        remove_shared_cells(ntuplets.cells[i:j], c, c_end - c, state, quality, by_cell)
        by_hit = ByTarget(
            room.start[h + e : h_end + e + 1], room.filled[h + e : h_end + e + 1], row
        )
        remove_shared_hits(
            ntuplets.hits[i:j], h, h_end - h, ntuplets.n_hits[i:j], state, quality, by_hit
        )
