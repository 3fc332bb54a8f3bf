"""Tracks to vertices: a mixture of normal distributions along z.

Each vertex is a position and a number of tracks; each track is drawn from one of the
vertices, within the error of its zip, or from a uniform background. Likelihood is
maximised vertex by vertex with a minimum message length: a vertex that explains fewer
tracks than it costs dies. So the number of vertices is found too.

Method: M. Figueiredo and A. K. Jain, IEEE Trans. PAMI 24 (2002) 381; seeds are the
maxima of the tracks' density.

Loops over independent items begin at ``first`` and go on by ``step``. On a CPU these are 0 and 1;
on a GPU the threads of a block share the items.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared, u64
from trackserve.device.sort import lower_bound, sort_by, sort_spread
from trackserve.edm import VAR_TIP, VAR_ZIP
from trackserve.edm.columns import Array

from .config import MixtureCuts
from .tracks import FittedTracks
from .vertices import NOISE, Ranking, final_number, rank_by_sum_pt2


class Mixture(NamedTuple):
    """Memory for one event.

    Attributes:
        chosen: int32[tracks], tracks that make vertices, by rising z.
        z, sigma: float64[tracks], position and error of the chosen tracks, cm; then of all tracks.
        vertex: int32[tracks], vertex of the chosen tracks, -1 if in none; then of all tracks.
        density: float64[tracks], likelihood of each by all vertices and the noise.
        belongs: float64[tracks], share of each that belongs to the vertex that moves; on a GPU.
        weight_of: float64[tracks], weight of each in the mean of that vertex, 1/cm^2; on a GPU.
        grid: float64[points], density of tracks at each point, 1/cm.
        position, share: float64[points], position of each vertex, cm, and the number of tracks
            that it explains.
        low, high: int32[points], first track near each vertex, and the track after the last.
        mean, weight, chi2: float64[points], mean of the tracks of each vertex, cm, sum of their
            weights, 1/cm^2, and their chi2.
        ndof: int32[points], degrees of freedom of each vertex.
        waiting: bool[points], whether each vertex must move again.
        order, rank: memory of :class:`.Ranking`, int32[points].
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


@kernel
def make_mixture(n_tracks: int, n_points: int) -> Mixture:
    """Return memory for ``n_tracks`` tracks and ``n_points`` points."""
    return Mixture(
        chosen=np.empty(n_tracks, np.int32),
        z=np.empty(n_tracks),
        sigma=np.empty(n_tracks),
        vertex=np.empty(n_tracks, np.int32),
        density=np.empty(n_tracks),
        belongs=np.empty(0),
        weight_of=np.empty(0),
        grid=np.empty(n_points),
        position=np.empty(n_points),
        share=np.empty(n_points),
        low=np.empty(n_points, np.int32),
        high=np.empty(n_points, np.int32),
        mean=np.empty(n_points),
        weight=np.empty(n_points),
        chi2=np.empty(n_points),
        ndof=np.empty(n_points, np.int32),
        waiting=np.empty(n_points, np.bool_),
        order=np.empty(n_points, np.int32),
        rank=np.empty(n_points, np.int32),
        other=np.empty(max(n_tracks, n_points), np.int32),
    )


@shared
def grid_points(span: float, cuts: MixtureCuts) -> int:
    """Return the largest number of points of the density of tracks within ``span`` cm.

    There are fewer seeds than points.
    """
    margin = cuts.seed_reach * cuts.inflation * cuts.max_error
    return int((span + 2.0 * margin) / cuts.step) + 4


@kernel
def fit_mixture(tracks: FittedTracks, cuts: MixtureCuts, vertex: Array) -> tuple[Array, ...]:
    """Find the vertices of an event.

    Tracks of few hits or large errors, and those that fit badly or miss the beam spot, make no
    vertices, but may be in one.

    Args:
        tracks: its tracks.
        cuts: constants.
        vertex: int16[n]; it gets the vertex of each track, -1 if in none.

    Returns:
        columns of :class:`trackserve.edm.Vertices`, by falling sum of pT^2.
    """
    n, state = len(tracks.n_hits), tracks.state
    lowest = highest = 0.0
    for t in range(n):
        lowest, highest = min(lowest, float(state[t, 4])), max(highest, float(state[t, 4]))
    work = make_mixture(n, grid_points(highest - lowest, cuts))
    n_vertices = _find_mixture(tracks, cuts, work)
    z, error, chi2, sum_pt2 = np.empty((4, n_vertices), np.float32)
    ndof = np.empty(n_vertices, np.int32)
    for k in range(n_vertices):
        v = work.order[k]
        z[k], error[k] = work.mean[v], error_of_mean(work.weight[v])
        chi2[k], ndof[k], sum_pt2[k] = work.chi2[v], work.ndof[v], -work.share[v]
    for t in range(n):
        vertex[t] = final_number(work.vertex[t], work.rank)
    return z, error, chi2, ndof, sum_pt2


@kernel
def _find_mixture(tracks: FittedTracks, cuts: MixtureCuts, work: Mixture) -> int:
    """Find the vertices of one event, in ``work``, and return their number."""
    n_tracks, state = len(tracks.n_hits), tracks.state
    n = 0
    for t in range(n_tracks):
        work.z[t] = state[t, 4]
        work.chosen[n] = t
        n += int(makes_vertex(t, tracks, cuts))
    sort_spread(work.z, work.chosen[:n], work.other[:n], -cuts.max_zip, cuts.max_zip)
    for i in range(n):
        work.z[i] = state[work.chosen[i], 4]
        work.sigma[i] = inflated(tracks.covariance[work.chosen[i], VAR_ZIP], cuts)

    n_vertices = _maximise(n, _find_seeds(n, cuts, work), cuts, work)
    n_vertices = _drop_small(n, n_vertices, cuts.min_tracks, work)
    _fit_vertices(n, n_vertices, work)
    _assign_rest(n, n_vertices, tracks, cuts, work)
    ranking = Ranking(work.share, work.order, work.rank, work.other)
    rank_by_sum_pt2(tracks, work.vertex, n_vertices, ranking)
    return n_vertices


@shared
def makes_vertex(t: int, tracks: FittedTracks, cuts: MixtureCuts) -> bool:
    """Whether track ``t`` is long and precise, fits well and comes from the beam spot."""
    tip, var_tip = tracks.state[t, 1], tracks.covariance[t, VAR_TIP]
    precise = tracks.covariance[t, VAR_ZIP] < cuts.max_error * cuts.max_error
    prompt = tip * tip <= cuts.max_tip_pull * cuts.max_tip_pull * var_tip
    near = abs(tracks.state[t, 4]) < cuts.max_zip
    long = tracks.n_hits[t] >= cuts.min_hits
    return precise & prompt & near & long & (tracks.chi2[t] < cuts.max_chi2)


@shared
def inflated(var_zip: float, cuts: MixtureCuts) -> float:
    """Return the error of a track's zip, made larger for its tails, cm."""
    return cuts.inflation * math.sqrt(var_zip)


@shared
def take_track(t: int, tracks: FittedTracks, cuts: MixtureCuts, work: Mixture) -> None:
    """Fill position and error of track ``t``, which may be one that makes no vertex."""
    work.z[t] = tracks.state[t, 4]
    work.sigma[t] = inflated(tracks.covariance[t, VAR_ZIP], cuts)


@shared
def error_of_mean(weight: float) -> float:
    """Return the error of a vertex, cm; ``weight`` is the sum of its tracks' weights, 1/cm^2."""
    return 1.0 / math.sqrt(weight)


@kernel
def _find_seeds(n: int, cuts: MixtureCuts, work: Mixture) -> int:
    """Fill ``position`` with the maxima of the density of ``n`` tracks; return their number.

    Each track is a parabola about its z.
    """
    if n == 0:
        return 0
    z, density = work.z, work.grid
    grid = seed_grid(z[0], z[n - 1], cuts)
    start, n_points = grid
    for k in range(n_points):
        density[k] = 0.0
    for i in range(n):
        width = seed_width(work.sigma[i], cuts)
        low, high = seed_points(z[i], width, grid, cuts)
        for k in range(u64(low), u64(high)):
            density[k] += seed_density(start + k * cuts.step - z[i], width, cuts)
    found = 0
    for k in range(1, n_points - 1):
        if is_maximum(density, k):
            work.position[found] = start + k * cuts.step
            found += 1
    return found


class SeedGrid(NamedTuple):
    """Points at which the density is computed: the first one, cm, and their number."""

    start: float
    n_points: int


@shared
def seed_grid(lowest: float, highest: float, cuts: MixtureCuts) -> SeedGrid:
    """Return the grid for tracks between ``lowest`` and ``highest``, cm."""
    margin = cuts.seed_reach * cuts.inflation * cuts.max_error
    start = lowest - margin
    return SeedGrid(start, int((highest + margin - start) / cuts.step) + 3)


@shared
def seed_width(sigma: float, cuts: MixtureCuts) -> float:
    """Return the error with which a track makes seeds, cm."""
    return max(sigma, cuts.min_seed_error)


@shared
def seed_points(z: float, width: float, grid: SeedGrid, cuts: MixtureCuts) -> tuple[int, int]:
    """Return the first point that a track at ``z`` reaches, and the point after the last."""
    start, n_points = grid
    reach = cuts.seed_reach * width
    low = max(1, int((z - reach - start) / cuts.step) + 1)
    high = min(n_points - 1, int((z + reach - start) / cuts.step) + 1)
    return low, high


@shared
def seed_density(dz: float, width: float, cuts: MixtureCuts) -> float:
    """Return the density of a track at a distance of ``dz`` cm, which it reaches, 1/cm."""
    pull = dz / (cuts.seed_reach * width)
    return (1.0 - pull * pull) / width


@shared
def is_maximum(density: Array, k: int) -> bool:
    """Whether the density at point ``k`` is higher than at its neighbours."""
    return density[k] > density[k - 1] and density[k] >= density[k + 1]


_KEPT = 64
"""Number of tracks near a vertex up to which their likelihoods are kept."""


class Near(NamedTuple):
    """The tracks near each vertex, from the time when it was put back.

    Attributes:
        n: int32[vertices], number of tracks near each vertex.
        track: int32[vertices, kept], these tracks, if they are not more than are kept.
        likelihood: float64[vertices, kept], likelihood of each of them by the vertex.
        all_tracks, all_likelihoods: memory for those of one vertex.
    """

    n: Array
    track: Array
    likelihood: Array
    all_tracks: Array
    all_likelihoods: Array


@shared
def _find_near(v: int, cuts: MixtureCuts, work: Mixture, tracks: Array, likelihood: Array) -> int:
    """Find the tracks near vertex ``v`` and their likelihood by it; return their number."""
    position = work.position[v]
    near = u64(0)
    for i in range(u64(work.low[v]), u64(work.high[v])):
        # a little more than the reach, which rounds
        tracks[near] = i
        near += u64(abs(work.z[i] - position) < 1.001 * cuts.reach * work.sigma[i])
    found = u64(0)
    for k in range(near):
        i = tracks[k]
        here = likelihood_by(v, u64(i), cuts, work)
        tracks[found], likelihood[found] = i, here
        found += u64(here > 0.0)
    return found


@shared
def _take_out(v: int, cuts: MixtureCuts, work: Mixture, near: Near) -> Sums:
    """Take vertex ``v`` out of the density around it, and return the sums over its tracks."""
    n, track, likelihood = near.n[v], near.track[v], near.likelihood[v]
    if n > _KEPT:
        track, likelihood = near.all_tracks, near.all_likelihoods
        _find_near(v, cuts, work, track, likelihood)
    tracks = weight = mean = 0.0
    for k in range(u64(n)):
        i = u64(track[k])
        belongs, weight_here = share_of(likelihood[k], i, work)
        work.density[i] -= likelihood[k]
        tracks += belongs
        weight += weight_here
        mean += weight_here * work.z[i]
    return Sums(tracks, weight, mean)


@shared
def _put_back(v: int, cuts: MixtureCuts, work: Mixture, near: Near) -> None:
    """Add vertex ``v`` to the density around it, if it is alive, and keep what is near."""
    if work.share[v] > 0.0:
        tracks, likelihood = near.all_tracks, near.all_likelihoods
        n = _find_near(v, cuts, work, tracks, likelihood)
        near.n[v] = n
        for k in range(u64(n)):
            work.density[u64(tracks[k])] += likelihood[k]
        for k in range(u64(n if n <= _KEPT else 0)):
            near.track[v, k], near.likelihood[v, k] = tracks[k], likelihood[k]


@shared
def _claim(k: int, v: int, cuts: MixtureCuts, work: Mixture, near: Near) -> None:
    """Assign those tracks to vertex ``v``, as number ``k``, that no earlier one makes likelier."""
    n, track, likelihood = near.n[v], near.track[v], near.likelihood[v]
    if n > _KEPT:
        track, likelihood = near.all_tracks, near.all_likelihoods
        _find_near(v, cuts, work, track, likelihood)
    for j in range(u64(n)):
        i = u64(track[j])
        if likelihood[j] > work.density[i]:
            work.density[i], work.vertex[i] = likelihood[j], k


@kernel
def _maximise(n: int, m: int, cuts: MixtureCuts, work: Mixture) -> int:
    """Let ``m`` seeds compete, and find the likeliest survivor of each of ``n`` tracks.

    Returns:
        the number of survivors, which are ordered by position.
    """
    begin_competition(n, m, cuts, work, 0, 1)
    for i in range(n):
        work.density[i] = cuts.noise
    near = Near(
        n=np.empty(m, np.int32),
        track=np.empty((m, _KEPT), np.int32),
        likelihood=np.empty((m, _KEPT)),
        all_tracks=np.empty(n + 1, np.int32),  # one more may be written that does not count
        all_likelihoods=np.empty(n + 1),
    )
    for v in range(m):
        _put_back(v, cuts, work, near)
    for _ in range(cuts.max_iterations):
        done = True
        for v in range(m):
            if must_move(v, work):
                unsettled = settle(v, n, _take_out(v, cuts, work, near), cuts, work)
                _put_back(v, cuts, work, near)
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
    for i in range(n):
        work.density[i], work.vertex[i] = cuts.noise, NOISE
    for k in range(alive):
        _claim(k, work.order[k], cuts, work, near)
    for k in range(alive):
        work.mean[k], work.weight[k] = position[work.order[k]], share[work.order[k]]
    for k in range(alive):
        position[k], share[k] = work.mean[k], work.weight[k]
    return alive


@shared
def _window(cuts: MixtureCuts) -> float:
    """Return the largest distance of a track from its vertex, cm."""
    return cuts.reach * cuts.inflation * cuts.max_error


@shared
def begin_competition(
    n: int, m: int, cuts: MixtureCuts, work: Mixture, first: int, step: int
) -> None:
    """Give each of ``m`` seeds the same share of the ``n`` tracks."""
    for v in range(first, m, step):
        work.share[v], work.waiting[v] = n / m, True
        work.low[v] = lower_bound(work.z, n, work.position[v] - _window(cuts))
        work.high[v] = lower_bound(work.z, n, work.position[v] + _window(cuts))


@shared
def likelihood_by(v: int, i: int, cuts: MixtureCuts, work: Mixture) -> float:
    """Return the likelihood of the ``i``-th track by vertex ``v``, times sqrt(2 pi), tracks/cm."""
    pull = (work.z[i] - work.position[v]) / work.sigma[i]
    if abs(pull) >= cuts.reach:
        return 0.0
    return work.share[v] * (math.exp(-0.5 * pull * pull) / work.sigma[i])


@shared
def must_move(v: int, work: Mixture) -> bool:
    """Whether vertex ``v`` is alive and something around it has changed."""
    return work.share[v] > 0.0 and work.waiting[v]


class Sums(NamedTuple):
    """Sums over the tracks of a vertex.

    Attributes:
        tracks: of the shares that belong to it.
        weight: of the weights, 1/cm^2.
        mean: of weight times z, 1/cm.
    """

    tracks: float
    weight: float
    mean: float


@shared
def share_of(here: float, i: int, work: Mixture) -> tuple[float, float]:
    """Return the share of the ``i``-th track that belongs to a vertex, and its weight, 1/cm^2.

    Args:
        here: its likelihood by the vertex.
        i: number of the track.
        work: memory, with the likelihood of the track by all vertices.
    """
    belongs = here / work.density[i]
    return belongs, belongs / (work.sigma[i] * work.sigma[i])


@shared
def settle(v: int, n: int, sums: Sums, cuts: MixtureCuts, work: Mixture) -> bool:
    """Move vertex ``v`` to the mean of its tracks, of ``n`` in all.

    Returns:
        whether the vertices around must move too.
    """
    work.waiting[v] = False
    before = work.share[v]
    work.share[v] = sums.tracks - cuts.penalty
    if work.share[v] <= 0.0:
        return True
    mean = sums.mean / sums.weight
    shift = abs(mean - work.position[v]) * math.sqrt(sums.weight)
    work.position[v] = mean
    work.low[v] = _bound_near(work.z, n, mean - _window(cuts), work.low[v])
    work.high[v] = _bound_near(work.z, n, mean + _window(cuts), work.high[v])
    return max(shift, abs(work.share[v] - before)) > cuts.tolerance


@shared
def _bound_near(z: Array, n: int, value: float, bound: int) -> int:
    """Return the lower bound of ``value``, searched from ``bound``, that of a value nearby."""
    while bound > 0 and z[bound - 1] >= value:
        bound -= 1
    while bound < n and z[bound] < value:
        bound += 1
    return bound


@shared
def wake_around(v: int, m: int, cuts: MixtureCuts, work: Mixture, first: int, step: int) -> None:
    """Let those of ``m`` vertices that are near ``v`` move once more."""
    for u in range(first, m, step):
        work.waiting[u] |= abs(work.position[u] - work.position[v]) < _window(cuts)


@shared
def assign(i: int, n_vertices: int, cuts: MixtureCuts, work: Mixture) -> None:
    """Find the likeliest vertex of the ``i``-th track; -1 if the noise is likelier."""
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
def _assign_rest(
    n: int, n_vertices: int, tracks: FittedTracks, cuts: MixtureCuts, work: Mixture
) -> None:
    """Make ``vertex`` that of all tracks: of those that are in none yet the likeliest one.

    The others, of the ``n`` that make vertices, keep theirs: it is the likeliest still.
    """
    known = work.other
    for t in range(len(tracks.n_hits)):
        known[t] = NOISE
    for i in range(n):
        known[work.chosen[i]] = work.vertex[i]
    for t in range(len(tracks.n_hits)):
        work.vertex[t] = known[t]
        if known[t] == NOISE:
            take_track(t, tracks, cuts, work)
            assign(t, n_vertices, cuts, work)


@kernel
def _drop_small(n: int, n_vertices: int, min_tracks: int, work: Mixture) -> int:
    """Leave out vertices of few tracks, renumber the rest, and return their number."""
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
    """Find the weighted mean of the tracks of each vertex, and their chi2."""
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
    """Set the sums of vertex ``v`` to those of no track."""
    work.mean[v], work.weight[v], work.chi2[v], work.ndof[v] = 0.0, 0.0, 0.0, -1


@shared
def add_to_mean(v: int, i: int, work: Mixture) -> None:
    """Add the ``i``-th track to the sums of its vertex ``v``."""
    weight = 1.0 / (work.sigma[i] * work.sigma[i])
    work.weight[v] += weight
    work.mean[v] += weight * work.z[i]


@shared
def add_to_chi2(v: int, i: int, work: Mixture) -> None:
    """Add the ``i``-th track to the chi2 of its vertex ``v``."""
    pull = (work.z[i] - work.mean[v]) / work.sigma[i]
    work.chi2[v] += pull * pull
    work.ndof[v] += 1
