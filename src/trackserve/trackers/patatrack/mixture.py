"""Tracks to vertices: a mixture of normal distributions along z.

Each vertex is a position and a number of tracks; each track is drawn from one of the
vertices, within the error of its zip, or from a uniform background. Likelihood is
maximised vertex by vertex with a minimum message length: a vertex that explains fewer
tracks than it costs dies, so that their number need not be known.

Method: M. Figueiredo and A. K. Jain, IEEE Trans. PAMI 24 (2002) 381; seeds are the
maxima of the tracks' density.

Loops over what does not depend on each other begin at ``first`` and go on by ``step``: 0 and 1
on a CPU; on a GPU the threads of a block share them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.device.sort import lower_bound, sort_by
from trackserve.edm import Tracks, Vertices
from trackserve.edm.columns import Array

from .config import MixtureCuts
from .vertices import NOISE, final_number, rank_by_sum_pt2


class Mixture(NamedTuple):
    """Memory for one event.

    Attributes:
        chosen: int32[tracks], those that make vertices, by rising z.
        z, sigma: float64[tracks], cm, of the chosen ones, in that order; then of all.
        vertex: int32[tracks], likewise.
        density: float64[tracks], likelihood of each by all vertices and the noise.
        belongs, weight_of: float64[tracks], how far each belongs to the vertex that moves, and
            how much it then weighs in its mean.
        grid: float64[points], density of tracks, see :func:`grid_points`.
        position, share: float64[points], of each vertex, and the tracks that it explains.
        low, high: int32[points], the first track that is near it and the one past the last.
        mean, weight, chi2: float64[points], of the tracks given to it.
        ndof: int32[points].
        waiting: bool[points].
        order: int32[points], number of vertices apart, by falling sum of pT^2.
        rank: int32[points], place of each vertex in ``order``.
        other: int32[tracks or points], scratch memory.
    """

    chosen: Array
    z: Array
    sigma: Array
    vertex: Array
    density: Array
    belongs: Array
    weight_of: Array
    grid: Array
    position: Array
    share: Array
    low: Array
    high: Array
    mean: Array
    weight: Array
    chi2: Array
    ndof: Array
    waiting: Array
    order: Array
    rank: Array
    other: Array


def fit_mixture(tracks: Tracks, cuts: MixtureCuts) -> tuple[Vertices, Array]:
    """Vertices by falling sum of pT^2, and for each track its vertex (int16[n], -1 if none).

    Tracks of few hits or large errors, and those that fit badly or miss the beam spot, do
    not make vertices, but are given to them.
    """
    columns, vertex = _fit_mixture(
        tracks.state, tracks.covariance, tracks.chi2, tracks.n_hits, cuts
    )
    return Vertices(*columns), vertex


@shared
def grid_points(span: float, cuts: MixtureCuts) -> int:
    """Points of the density, at most, of tracks within ``span`` cm; seeds are fewer."""
    margin = cuts.seed_reach * cuts.inflation * cuts.max_error
    return int((span + 2.0 * margin) / cuts.step) + 4


@shared
def likelihood(z: float, sigma: float, position: float, reach: float) -> float:
    """Density of a track at ``z`` that stems from ``position``, times sqrt(2 pi), 1/cm."""
    pull = (z - position) / sigma
    if abs(pull) >= reach:
        return 0.0
    return math.exp(-0.5 * pull * pull) / sigma


@kernel
def _fit_mixture(
    state: Array, covariance: Array, chi2s: Array, n_hits: Array, cuts: MixtureCuts
) -> tuple[tuple[Array, ...], Array]:
    n = len(n_hits)
    lowest = highest = 0.0
    for t in range(n):
        lowest, highest = min(lowest, float(state[t, 4])), max(highest, float(state[t, 4]))
    m = grid_points(highest - lowest, cuts)
    work = Mixture(
        *(np.empty(n, np.int32), np.empty(n), np.empty(n), np.empty(n, np.int32)),
        *(np.empty(n), np.empty(n), np.empty(n), np.empty(m), np.empty(m), np.empty(m)),
        *(np.empty(m, np.int32), np.empty(m, np.int32)),
        *(np.empty(m), np.empty(m), np.empty(m), np.empty(m, np.int32)),
        *(np.empty(m, np.bool_), np.empty(m, np.int32), np.empty(m, np.int32)),
        np.empty(max(n, m), np.int32),
    )
    n_vertices = _find_mixture(n, state, covariance, chi2s, n_hits, cuts, work)
    z, error, chi2, sum_pt2 = np.empty((4, n_vertices), np.float32)
    ndof = np.empty(n_vertices, np.int32)
    vertex = np.empty(n, np.int16)
    for k in range(n_vertices):
        v = work.order[k]
        z[k], error[k] = work.mean[v], error_of_mean(work.weight[v])
        chi2[k], ndof[k], sum_pt2[k] = work.chi2[v], work.ndof[v], -work.share[v]
    for t in range(n):
        vertex[t] = final_number(work.vertex[t], work.rank)
    return (z, error, chi2, ndof, sum_pt2), vertex


@kernel
def _find_mixture(
    n_tracks: int,
    state: Array,
    covariance: Array,
    chi2s: Array,
    n_hits: Array,
    cuts: MixtureCuts,
    work: Mixture,
) -> int:
    """Vertices of one event, in ``work``; returns their number."""
    n = 0
    for t in range(n_tracks):
        work.z[t] = state[t, 4]
        if makes_vertex(
            covariance[t, 14], state[t, 1], covariance[t, 5], n_hits[t], chi2s[t], cuts
        ):
            work.chosen[n] = t
            n += 1
    sort_by(work.z, work.chosen, work.other, n)
    for i in range(n):
        work.z[i] = state[work.chosen[i], 4]
        work.sigma[i] = inflated(covariance[work.chosen[i], 14], cuts)

    n_vertices = _maximise(n, _find_seeds(n, cuts, work), cuts, work)
    assign(n, n_vertices, cuts, work, 0, 1)
    n_vertices = _drop_small(n, n_vertices, cuts.min_tracks, work)
    _fit_vertices(n, n_vertices, work)

    take_all_tracks(n_tracks, state, covariance, cuts, work, 0, 1)
    assign(n_tracks, n_vertices, cuts, work, 0, 1)
    rank_by_sum_pt2(
        *(state, work.vertex, n_tracks, n_vertices, work.share, work.order, work.other, work.rank)
    )
    return n_vertices


@shared
def makes_vertex(
    var_zip: float, tip: float, var_tip: float, n_hits: int, chi2: float, cuts: MixtureCuts
) -> bool:
    """Whether a track is long and precise, fits well and comes from the beam spot."""
    precise = var_zip < cuts.max_error * cuts.max_error
    prompt = tip * tip <= cuts.max_tip_pull * cuts.max_tip_pull * var_tip
    return precise and prompt and n_hits >= cuts.min_hits and chi2 < cuts.max_chi2


@shared
def inflated(var_zip: float, cuts: MixtureCuts) -> float:
    """The error of a track's zip that is used, cm."""
    return cuts.inflation * math.sqrt(var_zip)


@shared
def take_all_tracks(
    n_tracks: int,
    state: Array,
    covariance: Array,
    cuts: MixtureCuts,
    work: Mixture,
    first: int,
    step: int,
) -> None:
    """Positions and errors of every track, also of those that make no vertex."""
    for t in range(first, n_tracks, step):
        work.z[t] = state[t, 4]
        work.sigma[t] = inflated(covariance[t, 14], cuts)


@shared
def error_of_mean(weight: float) -> float:
    return 1.0 / math.sqrt(weight)


@kernel
def _find_seeds(n: int, cuts: MixtureCuts, work: Mixture) -> int:
    """Maxima of the density of tracks, each a parabola about its z, in ``position``."""
    if n == 0:
        return 0
    z, density = work.z, work.grid
    start, n_points = seed_grid(z[0], z[n - 1], cuts)
    for k in range(n_points):
        density[k] = 0.0
    for i in range(n):
        width = seed_width(work.sigma[i], cuts)
        low, high = seed_points(z[i], width, start, n_points, cuts)
        for k in range(low, high):
            density[k] += seed_density(start + k * cuts.step - z[i], width, cuts)
    found = 0
    for k in range(1, n_points - 1):
        if is_maximum(density, k):
            work.position[found] = start + k * cuts.step
            found += 1
    return found


@shared
def seed_grid(lowest: float, highest: float, cuts: MixtureCuts) -> tuple[float, int]:
    """The first of the points where the density is looked at, and their number."""
    margin = cuts.seed_reach * cuts.inflation * cuts.max_error
    start = lowest - margin
    return start, int((highest + margin - start) / cuts.step) + 3


@shared
def seed_width(sigma: float, cuts: MixtureCuts) -> float:
    """Error of a track with which it makes seeds, cm."""
    return max(sigma, cuts.min_seed_error)


@shared
def seed_points(
    z: float, width: float, start: float, n_points: int, cuts: MixtureCuts
) -> tuple[int, int]:
    """The first point that a track reaches and the one past the last."""
    reach = cuts.seed_reach * width
    low = max(1, int((z - reach - start) / cuts.step) + 1)
    high = min(n_points - 1, int((z + reach - start) / cuts.step) + 1)
    return low, high


@shared
def seed_density(dz: float, width: float, cuts: MixtureCuts) -> float:
    """Density of a track at a distance that it reaches, 1/cm."""
    pull = dz / (cuts.seed_reach * width)
    return (1.0 - pull * pull) / width


@shared
def is_maximum(density: Array, k: int) -> bool:
    return density[k] > density[k - 1] and density[k] >= density[k + 1]


@kernel
def _maximise(n: int, m: int, cuts: MixtureCuts, work: Mixture) -> int:
    """Let ``m`` seeds compete; those that survive, by rising position, and their number."""
    begin_competition(n, m, cuts, work, 0, 1)
    for i in range(n):
        work.density[i] = cuts.noise
    for v in range(m):
        put_back(v, cuts, work, 0, 1)
    for _ in range(cuts.max_iterations):
        done = True
        for v in range(m):
            if must_move(v, work):
                take_out(v, cuts, work, 0, 1)
                unsettled = move(v, n, cuts, work)
                put_back(v, cuts, work, 0, 1)
                if unsettled:
                    wake_around(v, m, cuts, work, 0, 1)
                    done = False
        if done:
            break
    alive = 0
    for v in range(m):
        if work.share[v] > 0.0:
            work.order[alive] = v
            alive += 1
    position, share = work.position, work.share
    sort_by(position, work.order, work.other, alive)
    for k in range(alive):
        work.mean[k], work.weight[k] = position[work.order[k]], share[work.order[k]]
    for k in range(alive):
        position[k], share[k] = work.mean[k], work.weight[k]
    return alive


@shared
def _window(cuts: MixtureCuts) -> float:
    """How far a vertex's tracks are from it, at most, cm."""
    return cuts.reach * cuts.inflation * cuts.max_error


@shared
def begin_competition(
    n: int, m: int, cuts: MixtureCuts, work: Mixture, first: int, step: int
) -> None:
    """Each of ``m`` seeds explains as many of the ``n`` tracks."""
    for v in range(first, m, step):
        work.share[v], work.waiting[v] = n / m, True
        work.low[v] = lower_bound(work.z, n, work.position[v] - _window(cuts))
        work.high[v] = lower_bound(work.z, n, work.position[v] + _window(cuts))


@shared
def likelihood_by(v: int, i: int, cuts: MixtureCuts, work: Mixture) -> float:
    """Likelihood of the ``i``-th track by vertex ``v``, times sqrt(2 pi), tracks/cm."""
    return work.share[v] * likelihood(work.z[i], work.sigma[i], work.position[v], cuts.reach)


@shared
def must_move(v: int, work: Mixture) -> bool:
    """Whether vertex ``v`` is alive and something around it has changed."""
    return work.share[v] > 0.0 and work.waiting[v]


@shared
def take_out(v: int, cuts: MixtureCuts, work: Mixture, first: int, step: int) -> None:
    """How far the tracks around belong to vertex ``v``; then it is no part of their density."""
    for i in range(work.low[v] + first, work.high[v], step):
        here = likelihood_by(v, i, cuts, work)
        belongs = weight = 0.0
        if here > 0.0:
            belongs = here / work.density[i]
            weight = belongs / (work.sigma[i] * work.sigma[i])
            work.density[i] -= here
        work.belongs[i], work.weight_of[i] = belongs, weight


@shared
def move(v: int, n: int, cuts: MixtureCuts, work: Mixture) -> bool:
    """Move vertex ``v`` to the mean of its tracks; whether those around must settle anew."""
    z = work.z
    work.waiting[v] = False
    tracks = weight = mean = 0.0
    for i in range(work.low[v], work.high[v]):
        tracks += work.belongs[i]
        weight += work.weight_of[i]
        mean += work.weight_of[i] * z[i]
    before = work.share[v]
    work.share[v] = tracks - cuts.penalty
    if work.share[v] <= 0.0:
        return True
    mean /= weight
    shift = abs(mean - work.position[v]) * math.sqrt(weight)
    work.position[v] = mean
    work.low[v] = _bound_near(z, n, mean - _window(cuts), work.low[v])
    work.high[v] = _bound_near(z, n, mean + _window(cuts), work.high[v])
    return max(shift, abs(work.share[v] - before)) > cuts.tolerance


@shared
def _bound_near(z: Array, n: int, value: float, bound: int) -> int:
    """The lower bound of ``value``, looked for from another value's on, which is near."""
    while bound > 0 and z[bound - 1] >= value:
        bound -= 1
    while bound < n and z[bound] < value:
        bound += 1
    return bound


@shared
def put_back(v: int, cuts: MixtureCuts, work: Mixture, first: int, step: int) -> None:
    """Make vertex ``v`` a part of the density around it, unless it has died."""
    if work.share[v] > 0.0:
        for i in range(work.low[v] + first, work.high[v], step):
            work.density[i] += likelihood_by(v, i, cuts, work)


@shared
def wake_around(v: int, m: int, cuts: MixtureCuts, work: Mixture, first: int, step: int) -> None:
    """Let the vertices around ``v`` move once more."""
    for u in range(first, m, step):
        work.waiting[u] |= abs(work.position[u] - work.position[v]) < _window(cuts)


@shared
def assign(
    n: int, n_vertices: int, cuts: MixtureCuts, work: Mixture, first: int, step: int
) -> None:
    """The likeliest vertex of each of ``n`` tracks; -1 if it is noise."""
    for i in range(first, n, step):
        z, reach = work.z[i], cuts.reach * work.sigma[i]
        work.vertex[i] = NOISE
        best = cuts.noise
        low = lower_bound(work.position, n_vertices, z - reach)
        high = lower_bound(work.position, n_vertices, z + reach)
        for v in range(low, high):
            here = likelihood_by(v, i, cuts, work)
            if here > best:
                best = here
                work.vertex[i] = v


@kernel
def _drop_small(n: int, n_vertices: int, min_tracks: int, work: Mixture) -> int:
    """Leave out vertices of few tracks and renumber the rest; their number."""
    tracks, number = work.ndof, work.rank
    for v in range(n_vertices):
        tracks[v], number[v] = 0, NOISE
    for i in range(n):
        if work.vertex[i] >= 0:
            tracks[work.vertex[i]] += 1
    kept = 0
    for v in range(n_vertices):
        if tracks[v] >= min_tracks:
            work.position[kept], work.share[kept] = work.position[v], work.share[v]
            number[v] = kept
            kept += 1
    for i in range(n):
        work.vertex[i] = final_number(work.vertex[i], number)
    return kept


@kernel
def _fit_vertices(n: int, n_vertices: int, work: Mixture) -> None:
    """Weighted mean of the tracks of each vertex, and their chi2."""
    for v in range(n_vertices):
        begin_fit(v, work)
    for i in range(n):
        if work.vertex[i] >= 0:
            add_to_mean(work.vertex[i], i, work)
    for v in range(n_vertices):
        work.mean[v] /= work.weight[v]
    for i in range(n):
        if work.vertex[i] >= 0:
            add_to_chi2(work.vertex[i], i, work)


@shared
def begin_fit(v: int, work: Mixture) -> None:
    """Of a vertex with no track yet."""
    work.mean[v], work.weight[v], work.chi2[v], work.ndof[v] = 0.0, 0.0, 0.0, -1


@shared
def add_to_mean(v: int, i: int, work: Mixture) -> None:
    """Add the ``i``-th track to the sums of its vertex ``v``."""
    weight = 1.0 / (work.sigma[i] * work.sigma[i])
    work.weight[v] += weight
    work.mean[v] += weight * work.z[i]


@shared
def add_to_chi2(v: int, i: int, work: Mixture) -> None:
    pull = (work.z[i] - work.mean[v]) / work.sigma[i]
    work.chi2[v] += pull * pull
    work.ndof[v] += 1
