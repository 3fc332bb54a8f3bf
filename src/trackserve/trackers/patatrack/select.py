"""Quality of fitted ntuplets and removal of duplicates (kernel_classifyTracks and
the two cleaners of CAHitNtupletGeneratorKernelsImpl.h)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm import MAX_HITS, Tracks
from trackserve.edm.columns import Array

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


class ByTarget(NamedTuple):
    """Room for tracks by cell or by hit, int32: of each target where its tracks begin and how
    far they are filled (one row more), and the tracks."""

    start: Array
    filled: Array
    row: Array


@shared
def loses_hit(n_hits: int, longest: int, is_closest: bool) -> bool:
    """Whether a track leaves a hit to the longest of those that share it, or, if these are
    triplets, to the one closest to the beam spot."""
    return n_hits < longest or (longest == 3 and not is_closest)


@shared
def grade(
    duplicate: bool,
    n_hits: int,
    phi: float,
    tip: float,
    q_over_pt: float,
    cot_theta: float,
    zip_: float,
    chi2: float,
    ndof: int,
    cuts: QualityCuts,
) -> int:
    """Quality of an ntuplet by itself."""
    if duplicate:
        return _DUPLICATE
    if math.isnan(phi + tip + q_over_pt + cot_theta + zip_):
        return _BAD
    pt = 1.0 / abs(q_over_pt)
    good_fit = chi2 / ndof < max_chi2(pt, cuts)
    return _LOOSE if good_fit and in_region(n_hits, pt, tip, zip_, cuts) else _BAD


@kernel
def _select_tracks(
    ntuplets: Ntuplets, fitted: Fitted, n_cells: int, n_hits: int, cuts: QualityCuts
) -> Array:
    n = len(ntuplets.n_hits)
    quality = np.empty(n, np.uint8)
    for t in range(n):
        phi, tip, q_over_pt = fitted.state[t, 0], fitted.state[t, 1], fitted.state[t, 2]
        quality[t] = grade(
            *(ntuplets.duplicate[t], ntuplets.n_hits[t], phi, tip, q_over_pt),
            *(fitted.state[t, 3], fitted.state[t, 4], fitted.chi2[t], fitted.ndof[t], cuts),
        )
    most = max(n_cells, n_hits) + 1
    room = ByTarget(
        np.empty(most, np.int32), np.empty(most, np.int32), np.empty(MAX_HITS * n, np.int32)
    )
    _remove_shared_cells(ntuplets.cells, n_cells, fitted.state, quality, room)
    _remove_shared_hits(ntuplets.hits, n_hits, ntuplets.n_hits, fitted.state, quality, room)
    return quality


@kernel
def _by_target(targets: Array, n: int, quality: Array, room: ByTarget) -> None:
    """Loose tracks by target, of which there are ``n``.

    Args:
        targets: int32[tracks, k], -1 pads.
    """
    start, filled, row = room
    for i in range(n + 1):
        start[i] = 0
    for t in range(len(targets)):
        if quality[t] == _LOOSE:
            for k in range(targets.shape[1]):
                if targets[t, k] >= 0:
                    start[targets[t, k] + 1] += 1
    for i in range(n):
        start[i + 1] += start[i]
        filled[i] = start[i]
    for t in range(len(targets)):
        if quality[t] == _LOOSE:
            for k in range(targets.shape[1]):
                if targets[t, k] >= 0:
                    target = targets[t, k]
                    row[filled[target]] = t
                    filled[target] += 1


@kernel
def _remove_shared_cells(
    cells: Array, n_cells: int, state: Array, quality: Array, room: ByTarget
) -> None:
    """Of loose tracks that share a cell the one closest to the beam spot stays, cell by cell."""
    _by_target(cells, n_cells, quality, room)
    start, _, row = room
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
    hits: Array, n_all_hits: int, n_hits: Array, state: Array, quality: Array, room: ByTarget
) -> None:
    """Of loose tracks that share a hit the longest stay, or the triplet closest to the beam
    spot."""
    _by_target(hits, n_all_hits, quality, room)
    start, _, row = room
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
            if loses_hit(n_hits[t], longest, t == best):
                quality[t] = _DUPLICATE
