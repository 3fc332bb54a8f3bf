"""Selection of fitted ntuplets by their errors and clusters, and resolution of shared hits.

The fit tells tracks from chance, as its errors are honest: fakes among triplets have a large
chi2, or miss the beam spot by many errors of tip. So do their clusters and the layers that they
lack (:mod:`.shape`). Tracks that pass are taken in the order of a score: hits first, then what
speaks against them. A track that shares a hit with a better one is a duplicate.
"""

from __future__ import annotations

import math

import numpy as np

from trackserve.device.compile import LANES, kernel, shared, u64, wide_vectors
from trackserve.device.lanes import load_columns
from trackserve.device.sort import sort_spread
from trackserve.edm import MAX_HITS, VAR_TIP, Tracks
from trackserve.edm.columns import Array

from .broken_line import MIN_HITS
from .config import ScoreCuts
from .fit import Fitted, Sizes
from .shape import (
    LENGTHS,
    MISSED,
    N_OF_CLUSTER,
    N_OF_TRACK,
    HitShapes,
    ShapeWorkspace,
    judge_shapes_side_by_side,
    load_cluster,
    load_track,
)

_BAD, _DUPLICATE, _LOOSE = Tracks.BAD, Tracks.DUPLICATE, Tracks.LOOSE


@shared
def most_cost(n_hits: int, cuts: ScoreCuts) -> float:
    """Return the largest cost of a track of so many hits, in chi2."""
    return cuts.triplet_cost if n_hits == 3 else cuts.long_cost


@shared
def cost_of_fit(t: int, fitted: Fitted, cuts: ScoreCuts) -> float:
    """Return what the fit says against ntuplet ``t``, in chi2; infinite if it is no track.

    A triplet has so few hits that chi2 of the fit says little: that of the beam spot counts too.
    """
    chi2, tip, var_tip = fitted.chi2[t], fitted.state[t, 1], fitted.covariance[t, VAR_TIP]
    q_over_pt, zip_ = fitted.state[t, 2], fitted.state[t, 4]
    n_hits = fitted.ntuplets.n_hits[t]
    near = (abs(tip) < cuts.tip) & (abs(zip_) < cuts.zip)
    cost = float(chi2)
    of_tip = tip * tip / (var_tip + cuts.tip_spread * cuts.tip_spread)
    cost += of_tip if n_hits == 3 else 0.0
    # a fit that failed is NaN, and no comparison holds
    good = (cost < most_cost(n_hits, cuts)) & near & (cuts.min_pt * abs(q_over_pt) < 1.0)
    return cost if good else math.inf


@shared
def cost_of(of_fit: float, n_hits: int, track: Array, lane: int, cuts: ScoreCuts) -> float:
    """Return all that speaks against an ntuplet, in chi2; infinite if it is no track.

    Args:
        of_fit: what its fit says.
        n_hits: number of its hits.
        track: :attr:`.shape.ShapeWorkspace.track`, with the result.
        lane: lane of the ntuplet.
        cuts: constants of the selection.
    """
    lengths, missed = track[LENGTHS, lane], track[MISSED, lane]
    cost, most = of_fit + (lengths + cuts.per_missed * missed), most_cost(n_hits, cuts)
    return cost if lengths < most - of_fit and cost < most else math.inf


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
def _score_tracks(fitted: Fitted, hits: HitShapes, cuts: ScoreCuts) -> Array:
    """Return the score of each ntuplet, float64[n]; -inf for one that is no track."""
    wide_vectors()
    ntuplets = fitted.ntuplets
    n = len(ntuplets.n_hits)
    score = np.empty(n, np.float64)
    cost = np.empty(n, np.float64)
    rows = np.empty((MAX_HITS + 1, n), np.int32)  # tracks of as many hits in a row
    count = np.zeros(MAX_HITS + 1, np.int64)
    for t in range(u64(n)):
        score[t] = -math.inf
        n_hits = u64(ntuplets.n_hits[t])
        rows[n_hits, u64(count[n_hits])] = t
        cost[t] = cost_of_fit(t, fitted, cuts)
        count[n_hits] += int(cost[t] < math.inf)
    # one row of memory for each hit: most are in several ntuplets
    loaded = np.empty((len(hits.ordered.order), N_OF_CLUSTER, 1), np.float32)
    for h in range(u64(len(loaded))):
        load_cluster(h, hits, loaded[h], 0)
    places = np.empty((MAX_HITS, LANES), np.int32)
    work = ShapeWorkspace(
        np.empty((MAX_HITS, N_OF_CLUSTER, LANES), np.float32),
        np.empty((N_OF_TRACK, LANES)),
        np.empty(LANES, np.int32),
    )
    for n_hits in range(MIN_HITS, MAX_HITS + 1):
        for block in range(0, count[n_hits], LANES):
            filled = min(LANES, count[n_hits] - block)
            for lane in range(u64(LANES)):  # the last track again where there is none
                t = u64(rows[n_hits, block + min(np.int64(lane), filled - 1)])
                load_track(t, fitted, hits, work, lane)
                for k in range(u64(n_hits)):
                    places[k, lane] = ntuplets.hits[t, k]
            for k in range(u64(n_hits)):
                load_columns(
                    loaded, places, k * u64(LANES), work.cluster, k * u64(N_OF_CLUSTER * LANES)
                )
            judge_shapes_side_by_side(n_hits, LANES, hits.tables, cuts, work)
            for lane in range(u64(filled)):
                t = u64(rows[n_hits, block + np.int64(lane)])
                all_in_all = cost_of(cost[t], n_hits, work.track, lane, cuts)
                score[t] = score_of(n_hits, all_in_all, cuts)
    return score


@kernel
def resolve_tracks(fitted: Fitted, hits: HitShapes, sizes: Sizes, cuts: ScoreCuts) -> Array:
    """Return the quality of each ntuplet, uint8[n]: bad, duplicate or loose."""
    ntuplets = fitted.ntuplets
    n = len(ntuplets.n_hits)
    score = _score_tracks(fitted, hits, cuts)
    good = np.empty((2, n), np.int32)
    n_good = u64(0)
    for t in range(u64(n)):
        good[0, n_good] = t
        n_good += u64(score[t] > -math.inf)
    best = score_of(MAX_HITS, 0.0, cuts)
    worst = score_of(MIN_HITS, cuts.long_cost, cuts)
    sort_spread(-score, good[0, :n_good], good[1, :n_good], -best, -worst)

    quality = np.full(n, _BAD, np.uint8)
    taken = np.zeros(sizes.n_hits + 1, np.bool_)
    for i in range(n_good):
        t = u64(good[0, i])
        shared_hits = 0
        for k in range(u64(MAX_HITS)):
            shared_hits += taken[u64(ntuplets.hits[t, k] + 1)]
        if shared_hits > may_share(ntuplets.n_hits[t], score[t], cuts):
            quality[t] = _DUPLICATE
            continue
        quality[t] = _LOOSE
        for k in range(u64(MAX_HITS)):
            taken[u64(ntuplets.hits[t, k] + 1)] = True
        taken[0] = False
    return quality
