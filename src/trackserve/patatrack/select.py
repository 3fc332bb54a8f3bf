"""Quality of fitted ntuplets and removal of duplicates (kernel_classifyTracks and
the two cleaners of CAHitNtupletGeneratorKernelsImpl.h)."""

from __future__ import annotations

import math

import numpy as np

from ..device import kernel, shared
from ..edm import Tracks
from ..edm.columns import Array
from .config import QualityCuts
from .fit import Fitted
from .ntuplets import Ntuplets

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE


def select_tracks(
    ntuplets: Ntuplets, fitted: Fitted, n_cells: int, n_hits: int, cuts: QualityCuts
) -> Array:
    """Quality of each ntuplet, uint8[n]: bad, duplicate or loose.

    Loose tracks that share a doublet or a hit with a better one become duplicates. Of
    those that share a doublet the one closest to the beam spot stays, judged doublet by
    doublet. Of those that share a hit the longest stay; of triplets, the closest to the
    beam spot.
    """
    quality: Array = _select_tracks(ntuplets, fitted, n_cells, n_hits, cuts)
    return quality


@shared
def max_chi2(pt: float, cuts: QualityCuts) -> float:
    """Largest chi2/ndof of a track with ``pt`` GeV."""
    p = min(pt, cuts.chi2_max_pt)
    shape = cuts.chi2_0 + p * (cuts.chi2_1 + p * (cuts.chi2_2 + p * cuts.chi2_3))
    return cuts.chi2_scale * shape / 3


@shared
def in_region(n_hits: int, pt: float, tip: float, zip_: float, cuts: QualityCuts) -> bool:
    """Whether a track comes from the beam spot's surroundings and is hard enough."""
    if n_hits > 3:
        near, hard = abs(tip) < cuts.quadruplet_tip, pt > cuts.quadruplet_pt
    else:
        near, hard = abs(tip) < cuts.triplet_tip, pt > cuts.triplet_pt
    return near and hard and abs(zip_) < cuts.zip


@kernel
def _select_tracks(
    ntuplets: Ntuplets, fitted: Fitted, n_cells: int, n_hits: int, cuts: QualityCuts
) -> Array:
    quality = _classify(ntuplets, fitted, cuts)
    _remove_shared_cells(ntuplets.cells, fitted.state, quality, n_cells)
    _remove_shared_hits(ntuplets.hits, ntuplets.n_hits, fitted.state, quality, n_hits)
    return quality


@kernel
def _classify(ntuplets: Ntuplets, fitted: Fitted, cuts: QualityCuts) -> Array:
    n = len(ntuplets.n_hits)
    state = fitted.state
    quality = np.full(n, _BAD, np.uint8)
    for t in range(n):
        if ntuplets.duplicate[t]:
            quality[t] = _DUPLICATE
            continue
        finite = True
        for k in range(5):
            finite &= not math.isnan(state[t, k])
        if not finite:
            continue
        pt = 1.0 / abs(state[t, 2])
        good_fit = fitted.chi2[t] / fitted.ndof[t] < max_chi2(pt, cuts)
        if good_fit and in_region(ntuplets.n_hits[t], pt, state[t, 1], state[t, 4], cuts):
            quality[t] = _LOOSE
    return quality


@kernel
def _by_target(targets: Array, n_targets: int, chosen: Array) -> tuple[Array, Array]:
    """Rows of ``targets`` (int32[n, k], -1 pads) by value, chosen rows only; stable."""
    start = np.zeros(n_targets + 1, np.int32)
    for t in range(len(targets)):
        if chosen[t]:
            for k in range(targets.shape[1]):
                if targets[t, k] >= 0:
                    start[targets[t, k] + 1] += 1
    for i in range(n_targets):
        start[i + 1] += start[i]
    row = np.empty(start[n_targets], np.int32)
    filled = start[:-1].copy()
    for t in range(len(targets)):
        if chosen[t]:
            for k in range(targets.shape[1]):
                target = targets[t, k]
                if target >= 0:
                    row[filled[target]] = t
                    filled[target] += 1
    return start, row


@kernel
def _remove_shared_cells(cells: Array, state: Array, quality: Array, n_cells: int) -> None:
    start, row = _by_target(cells, n_cells, quality == _LOOSE)
    for c in range(n_cells):
        if start[c + 1] - start[c] < 2:
            continue
        best = -1
        for i in range(start[c], start[c + 1]):
            t = row[i]
            if quality[t] == _LOOSE and (best < 0 or abs(state[t, 1]) < abs(state[best, 1])):
                best = t
        for i in range(start[c], start[c + 1]):
            if row[i] != best:
                quality[row[i]] = _DUPLICATE


@kernel
def _remove_shared_hits(
    hits: Array, n_hits: Array, state: Array, quality: Array, n_all_hits: int
) -> None:
    start, row = _by_target(hits, n_all_hits, quality == _LOOSE)
    for h in range(n_all_hits):
        if start[h + 1] - start[h] < 2:
            continue
        longest = 0
        best = -1
        for i in range(start[h], start[h + 1]):
            t = row[i]
            longest = max(longest, int(n_hits[t]))
            if best < 0 or abs(state[t, 1]) < abs(state[best, 1]):
                best = t
        for i in range(start[h], start[h + 1]):
            t = row[i]
            if n_hits[t] < longest or (longest == 3 and t != best):
                quality[t] = _DUPLICATE
