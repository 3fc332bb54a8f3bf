"""Selection of fitted ntuplets by their errors and clusters, and resolution of shared hits.

The fit tells tracks from chance, as its errors are honest: fakes among triplets have a large
chi2, or miss the beam spot by many errors of tip. So do their clusters and the layers that they
lack (:mod:`.shape`). Tracks that pass are taken in the order of a score: hits first, then what
speaks against them. A track that shares a hit with a better one is a duplicate.
"""

from __future__ import annotations

import math

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm import VAR_TIP, Tracks
from trackserve.edm.columns import Array

from .config import ScoreCuts
from .fit import Fitted, Sizes
from .shape import HitShapes, strangeness

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE


def resolve_tracks(fitted: Fitted, hits: HitShapes, sizes: Sizes, cuts: ScoreCuts) -> Array:
    """Return the quality of each ntuplet, uint8[n]: bad, duplicate or loose."""
    quality: Array = _resolve_tracks(fitted, hits, sizes.n_hits, cuts)
    return quality


@shared
def cost_of(t: int, fitted: Fitted, hits: HitShapes, cuts: ScoreCuts) -> float:
    """Return what speaks against ntuplet ``t``, in chi2; infinite if it is no track.

    A triplet has so few hits that chi2 of the fit says little: that of the beam spot counts too.
    """
    chi2, tip, var_tip = fitted.chi2[t], fitted.state[t, 1], fitted.covariance[t, VAR_TIP]
    q_over_pt, zip_ = fitted.state[t, 2], fitted.state[t, 4]
    near = abs(tip) < cuts.tip and abs(zip_) < cuts.zip
    cost, most = float(chi2), cuts.long_cost
    if fitted.ntuplets.n_hits[t] == 3:
        cost += tip * tip / (var_tip + cuts.tip_spread * cuts.tip_spread)
        most = cuts.triplet_cost
    # a fit that failed is NaN, and no comparison holds
    if cost < most and near and cuts.min_pt * abs(q_over_pt) < 1.0:
        cost += strangeness(t, fitted, hits, cuts, most - cost)
        if cost < most:
            return cost
    return math.inf


@shared
def score_of(n_hits: int, cost: float, cuts: ScoreCuts) -> float:
    """Return the score of a track; the best of those that share hits wins, the first of equals."""
    return cuts.per_hit * n_hits - cost


@shared
def may_share(n_hits: int, score: float, cuts: ScoreCuts) -> int:
    """Return the number of hits that a track may have in common with better ones."""
    sure = score > score_of(n_hits, cuts.shared_cost, cuts)
    return cuts.max_shared if n_hits > 3 and sure else 0


@kernel
def _resolve_tracks(fitted: Fitted, hits: HitShapes, n_hits: int, cuts: ScoreCuts) -> Array:
    ntuplets = fitted.ntuplets
    n = len(ntuplets.n_hits)
    quality = np.full(n, _BAD, np.uint8)
    good = np.empty(n, np.int32)
    score = np.empty(n, np.float64)
    n_good = 0
    for t in range(n):
        cost = cost_of(t, fitted, hits, cuts)
        if cost < math.inf:
            good[n_good] = t
            score[n_good] = score_of(ntuplets.n_hits[t], cost, cuts)
            n_good += 1

    taken = np.zeros(n_hits, np.bool_)
    for i in np.argsort(-score[:n_good], kind="mergesort"):
        t = good[i]
        shared_hits = 0
        for k in range(ntuplets.n_hits[t]):
            shared_hits += taken[ntuplets.hits[t, k]]
        if shared_hits > may_share(ntuplets.n_hits[t], score[i], cuts):
            quality[t] = _DUPLICATE
            continue
        quality[t] = _LOOSE
        for k in range(ntuplets.n_hits[t]):
            taken[ntuplets.hits[t, k]] = True
    return quality
