"""Selection of fitted ntuplets by their errors, and resolution of shared hits.

The fit tells tracks from chance, as its errors are honest: fakes among triplets have a large
chi2, or miss the beam spot by many errors of tip. Tracks that pass are taken in the order of a
score: hits first, then chi2. A track that shares a hit with a better one is a duplicate.
"""

from __future__ import annotations

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm import VAR_TIP, Tracks
from trackserve.edm.columns import Array

from .config import ScoreCuts
from .fit import Fitted, Sizes

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE


def resolve_tracks(fitted: Fitted, sizes: Sizes, cuts: ScoreCuts) -> Array:
    """Return the quality of each ntuplet, uint8[n]: bad, duplicate or loose."""
    quality: Array = _resolve_tracks(fitted, sizes.n_hits, cuts)
    return quality


@shared
def penalty(t: int, fitted: Fitted, cuts: ScoreCuts) -> float:
    """Return chi2 of ntuplet ``t``: that of the fit, and for a triplet that of the beam spot too.

    A triplet has so few hits that chi2 of the fit says little.
    """
    chi2, tip, var_tip = fitted.chi2[t], fitted.state[t, 1], fitted.covariance[t, VAR_TIP]
    if fitted.ntuplets.n_hits[t] > 3:
        return chi2
    return chi2 + tip * tip / (var_tip + cuts.tip_spread * cuts.tip_spread)


@shared
def is_good(t: int, cost: float, fitted: Fitted, cuts: ScoreCuts) -> bool:
    """Whether ntuplet ``t`` fits well, passes near the beam spot and has enough pT.

    Args:
        t: row of the ntuplet.
        cost: its :func:`penalty`.
        fitted: all ntuplets.
        cuts: constants of the selection.
    """
    tip, q_over_pt, zip_ = fitted.state[t, 1], fitted.state[t, 2], fitted.state[t, 4]
    most = cuts.triplet_chi2 if fitted.ntuplets.n_hits[t] == 3 else cuts.long_chi2
    near = abs(tip) < cuts.tip and abs(zip_) < cuts.zip
    # a fit that failed is NaN, and no comparison holds
    return cost < most and near and cuts.min_pt * abs(q_over_pt) < 1.0


@shared
def score_of(n_hits: int, cost: float, cuts: ScoreCuts) -> float:
    """Return the score of a track; the best of those that share hits wins, the first of equals."""
    return cuts.per_hit * n_hits - cost


@shared
def may_share(n_hits: int, cuts: ScoreCuts) -> int:
    """Return the number of hits that a track may have in common with better ones."""
    return cuts.max_shared if n_hits > 3 else 0


@kernel
def _resolve_tracks(fitted: Fitted, n_hits: int, cuts: ScoreCuts) -> Array:
    ntuplets = fitted.ntuplets
    n = len(ntuplets.n_hits)
    quality = np.full(n, _BAD, np.uint8)
    good = np.empty(n, np.int32)
    score = np.empty(n, np.float64)
    n_good = 0
    for t in range(n):
        cost = penalty(t, fitted, cuts)
        if is_good(t, cost, fitted, cuts):
            good[n_good] = t
            score[n_good] = score_of(ntuplets.n_hits[t], cost, cuts)
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
