"""Selection of fitted ntuplets by their errors, and resolution of shared hits.

With honest errors the fit itself tells tracks from chance: fakes among triplets fail
its chi2, or miss the beam spot by many errors of tip. Tracks that pass are taken in the
order of a score, hits first, then chi2; one that shares a hit with a better one is a
duplicate.
"""

from __future__ import annotations

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm import Tracks
from trackserve.edm.columns import Array

from .config import ScoreCuts
from .fit import Fitted
from .ntuplets import Ntuplets

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE


def resolve_tracks(ntuplets: Ntuplets, fitted: Fitted, n_hits: int, cuts: ScoreCuts) -> Array:
    """Quality of each ntuplet, uint8[n]: bad, duplicate or loose."""
    quality: Array = _resolve_tracks(ntuplets, fitted, n_hits, cuts)
    return quality


@shared
def penalty(n_hits: int, chi2: float, tip: float, var_tip: float, cuts: ScoreCuts) -> float:
    """chi2 of the fit; of a triplet, which has little else, of the beam spot as well."""
    if n_hits > 3:
        return chi2
    return chi2 + tip * tip / (var_tip + cuts.tip_spread * cuts.tip_spread)


@shared
def is_good(
    n_hits: int, cost: float, tip: float, zip_: float, q_over_pt: float, cuts: ScoreCuts
) -> bool:
    """Whether a track fits well (see :func:`penalty`), is near the beam spot and hard enough."""
    most = cuts.triplet_chi2 if n_hits == 3 else cuts.long_chi2
    near = abs(tip) < cuts.tip and abs(zip_) < cuts.zip
    # a fit that failed is NaN, and no comparison holds
    return cost < most and near and cuts.min_pt * abs(q_over_pt) < 1.0


@shared
def score_of(n_hits: int, cost: float, cuts: ScoreCuts) -> float:
    """By which tracks that share hits are ranked; the first of equal ones wins."""
    return cuts.per_hit * n_hits - cost


@shared
def may_share(n_hits: int, cuts: ScoreCuts) -> int:
    """Hits that a track may have in common with better ones."""
    return cuts.max_shared if n_hits > 3 else 0


@kernel
def _resolve_tracks(ntuplets: Ntuplets, fitted: Fitted, n_hits: int, cuts: ScoreCuts) -> Array:
    n = len(ntuplets.n_hits)
    quality = np.full(n, _BAD, np.uint8)
    good = np.empty(n, np.int32)
    score = np.empty(n, np.float64)
    n_good = 0
    for t in range(n):
        length = ntuplets.n_hits[t]
        tip, zip_ = fitted.state[t, 1], fitted.state[t, 4]
        cost = penalty(length, fitted.chi2[t], tip, fitted.covariance[t, 5], cuts)
        if is_good(length, cost, tip, zip_, fitted.state[t, 2], cuts):
            good[n_good] = t
            score[n_good] = score_of(length, cost, cuts)
            n_good += 1

    taken = np.zeros(n_hits, np.bool_)
    for i in np.argsort(-score[:n_good], kind="mergesort"):
        t = good[i]
        shared_hits = 0
        for k in range(ntuplets.n_hits[t]):
            shared_hits += taken[ntuplets.hits[t, k]]
        if shared_hits > may_share(ntuplets.n_hits[t], cuts):
            quality[t] = _DUPLICATE
            continue
        quality[t] = _LOOSE
        for k in range(ntuplets.n_hits[t]):
            taken[ntuplets.hits[t, k]] = True
    return quality
