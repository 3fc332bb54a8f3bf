"""Quality of fitted ntuplets and removal of duplicates, as in the reference.

See kernel_classifyTracks and the two cleaners of CAHitNtupletGeneratorKernelsImpl.h.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm import MAX_HITS, Tracks
from trackserve.edm.columns import Array

from .config import QualityCuts
from .fit import Fitted, Sizes
from .shape import HitShapes

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE


@shared
def max_chi2(pt: float, cuts: QualityCuts) -> float:
    """Return the largest chi2/ndof of a good track with ``pt`` GeV."""
    p = min(pt, cuts.chi2_max_pt)
    shape = cuts.chi2_0 + p * (cuts.chi2_1 + p * (cuts.chi2_2 + p * cuts.chi2_3))
    return cuts.chi2_scale * shape / 3


@shared
def in_region(t: int, pt: float, fitted: Fitted, cuts: QualityCuts) -> bool:
    """Whether ntuplet ``t`` passes near the beam spot and its ``pt``, GeV, is high enough."""
    tip, zip_ = fitted.state[t, 1], fitted.state[t, 4]
    if fitted.ntuplets.n_hits[t] > 3:
        near, hard = abs(tip) < cuts.quadruplet_tip, pt > cuts.quadruplet_pt
    else:
        near, hard = abs(tip) < cuts.triplet_tip, pt > cuts.triplet_pt
    return near and hard and abs(zip_) < cuts.zip


class ByTarget(NamedTuple):
    """Tracks by target, which is a cell or a hit; int32.

    Attributes:
        start: first row of each target in ``row``, and one value more.
        filled: first free row of each target.
        row: the tracks.
    """

    start: Array
    filled: Array
    row: Array


@shared
def loses_hit(n_hits: int, longest: int, is_closest: bool) -> bool:
    """Whether a track gives up a hit that it shares.

    The longest tracks keep it; if these are triplets, the one closest to the beam spot.
    """
    return n_hits < longest or (longest == 3 and not is_closest)


@shared
def grade(t: int, fitted: Fitted, cuts: QualityCuts) -> int:
    """Return the quality of ntuplet ``t`` by itself."""
    state = fitted.state
    if fitted.ntuplets.duplicate[t]:
        return _DUPLICATE
    if math.isnan(state[t, 0] + state[t, 1] + state[t, 2] + state[t, 3] + state[t, 4]):
        return _BAD
    pt = 1.0 / abs(state[t, 2])
    good_fit = fitted.chi2[t] / fitted.ndof[t] < max_chi2(pt, cuts)
    return _LOOSE if good_fit and in_region(t, pt, fitted, cuts) else _BAD


@kernel
def select_tracks(fitted: Fitted, _hits: HitShapes, sizes: Sizes, cuts: QualityCuts) -> Array:
    """Return the quality of each ntuplet, uint8[n]: bad, duplicate or loose.

    Doublets are judged one after the other. If loose tracks share one, the closest to the beam
    spot stays, and the others become duplicates. Then hits are judged. If loose tracks share one,
    the longest stay; if these are triplets, the closest to the beam spot.
    """
    n = len(fitted.chi2)
    quality = np.empty(n, np.uint8)
    for t in range(n):
        quality[t] = grade(t, fitted, cuts)
    most = max(sizes.n_cells, sizes.n_hits) + 1
    room = ByTarget(
        start=np.empty(most, np.int32),
        filled=np.empty(most, np.int32),
        row=np.empty(MAX_HITS * n, np.int32),
    )
    _remove_shared_cells(fitted, sizes.n_cells, quality, room)
    _remove_shared_hits(fitted, sizes.n_hits, quality, room)
    return quality


@kernel
def _by_target(targets: Array, n: int, quality: Array, room: ByTarget) -> None:
    """Group loose tracks by target.

    Args:
        targets: int32[tracks, k], targets of each track, then -1.
        n: number of targets.
        quality: quality of each track.
        room: memory; it gets the tracks.
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
def _remove_shared_cells(fitted: Fitted, n_cells: int, quality: Array, room: ByTarget) -> None:
    """Make duplicates of loose tracks that share a cell with one closer to the beam spot."""
    _by_target(fitted.ntuplets.cells, n_cells, quality, room)
    state = fitted.state
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
def _remove_shared_hits(fitted: Fitted, n: int, quality: Array, room: ByTarget) -> None:
    """Make duplicates of loose tracks that give up one of ``n`` hits: see :func:`loses_hit`."""
    _by_target(fitted.ntuplets.hits, n, quality, room)
    n_hits, state = fitted.ntuplets.n_hits, fitted.state
    start, _, row = room
    for h in range(n):
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
