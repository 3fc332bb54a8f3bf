"""Tracks to vertices: a mixture of normal distributions along z.

Each vertex is a position and a number of tracks; each track is drawn from one of the
vertices, within the error of its zip, or from a uniform background. Likelihood is
maximised vertex by vertex with a minimum message length: a vertex that explains fewer
tracks than it costs dies, so that their number need not be known.

Method: M. Figueiredo and A. K. Jain, IEEE Trans. PAMI 24 (2002) 381; seeds are the
maxima of the tracks' density.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..device import kernel, lower_bound, shared, sort_by
from ..edm import Tracks, Vertices
from ..edm.columns import Array
from .config import MixtureCuts
from .vertices import rank_by_sum_pt2

_NOISE = -1


class Mixture(NamedTuple):
    """Memory for one event.

    Attributes:
        chosen: int32[tracks], those that make vertices, by rising z.
        z, sigma: float64[tracks], cm, of the chosen ones, in that order; then of all.
        vertex: int32[tracks], likewise.
        density, here: float64[tracks], scratch memory.
        grid: float64[points], density of tracks, see :func:`grid_points`.
        position, share: float64[points], of each vertex, and the tracks that it explains.
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
    here: Array
    grid: Array
    position: Array
    share: Array
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
        *(np.empty(n), np.empty(n), np.empty(m), np.empty(m), np.empty(m)),
        *(np.empty(m), np.empty(m), np.empty(m), np.empty(m, np.int32)),
        *(np.empty(m, np.bool_), np.empty(m, np.int32), np.empty(m, np.int32)),
        np.empty(max(n, m), np.int32),
    )
    n_vertices = find_mixture(n, state, covariance, chi2s, n_hits, cuts, work)
    z, error, chi2, sum_pt2 = np.empty((4, n_vertices), np.float32)
    ndof = np.empty(n_vertices, np.int32)
    vertex = np.empty(n, np.int16)
    write_vertices(n, n_vertices, work, z, error, chi2, ndof, sum_pt2, vertex)
    return (z, error, chi2, ndof, sum_pt2), vertex


@shared
def find_mixture(
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
        precise = covariance[t, 14] < cuts.max_error * cuts.max_error
        tip, var_tip = state[t, 1], covariance[t, 5]
        prompt = tip * tip <= cuts.max_tip_pull * cuts.max_tip_pull * var_tip
        work.z[t] = state[t, 4]
        if precise and prompt and n_hits[t] >= cuts.min_hits and chi2s[t] < cuts.max_chi2:
            work.chosen[n] = t
            n += 1
    sort_by(work.z, work.chosen, work.other, n)
    for i in range(n):
        work.z[i] = state[work.chosen[i], 4]
        work.sigma[i] = cuts.inflation * math.sqrt(covariance[work.chosen[i], 14])

    n_vertices = _maximise(n, _find_seeds(n, cuts, work), cuts, work)
    _assign(n, n_vertices, cuts, work)
    n_vertices = _drop_small(n, n_vertices, cuts.min_tracks, work)
    _fit_vertices(n, n_vertices, work)

    # every track, also those that make no vertex
    for t in range(n_tracks):
        work.z[t] = state[t, 4]
        work.sigma[t] = cuts.inflation * math.sqrt(covariance[t, 14])
    _assign(n_tracks, n_vertices, cuts, work)
    rank_by_sum_pt2(
        *(state, work.vertex, n_tracks, n_vertices, work.share, work.order, work.other, work.rank)
    )
    return n_vertices


@shared
def write_vertices(
    n_tracks: int,
    n_vertices: int,
    work: Mixture,
    z: Array,
    error: Array,
    chi2: Array,
    ndof: Array,
    sum_pt2: Array,
    vertex: Array,
) -> None:
    """Fill columns of :class:`trackserve.edm.Vertices`, and the vertex of each track."""
    for k in range(n_vertices):
        v = work.order[k]
        z[k], error[k] = work.mean[v], 1.0 / math.sqrt(work.weight[v])
        chi2[k], ndof[k], sum_pt2[k] = work.chi2[v], work.ndof[v], -work.share[v]
    for t in range(n_tracks):
        vertex[t] = work.rank[work.vertex[t]] if work.vertex[t] >= 0 else _NOISE


@shared
def _find_seeds(n: int, cuts: MixtureCuts, work: Mixture) -> int:
    """Maxima of the density of tracks, each a parabola about its z, in ``position``."""
    if n == 0:
        return 0
    z, sigma, density = work.z, work.sigma, work.grid
    margin = cuts.seed_reach * cuts.inflation * cuts.max_error
    start = z[0] - margin
    n_points = int((z[n - 1] + margin - start) / cuts.step) + 3
    for k in range(n_points):
        density[k] = 0.0
    for i in range(n):
        width = max(sigma[i], cuts.min_seed_error)
        reach = cuts.seed_reach * width
        first = max(1, int((z[i] - reach - start) / cuts.step) + 1)
        last = min(n_points - 1, int((z[i] + reach - start) / cuts.step) + 1)
        for k in range(first, last):
            pull = (start + k * cuts.step - z[i]) / reach
            density[k] += (1.0 - pull * pull) / width
    found = 0
    for k in range(1, n_points - 1):
        if density[k] > density[k - 1] and density[k] >= density[k + 1]:
            work.position[found] = start + k * cuts.step
            found += 1
    return found


@shared
def _maximise(n: int, m: int, cuts: MixtureCuts, work: Mixture) -> int:
    """Let ``m`` seeds compete; those that survive, by rising position, and their number."""
    z, sigma, density, here = work.z, work.sigma, work.density, work.here
    position, share, waiting = work.position, work.share, work.waiting
    window = cuts.reach * cuts.inflation * cuts.max_error
    for v in range(m):
        share[v], waiting[v] = n / m, True
    for i in range(n):
        density[i] = cuts.noise
    for v in range(m):
        for i in _nearby(z, n, position[v], window):
            density[i] += share[v] * likelihood(z[i], sigma[i], position[v], cuts.reach)
    for _ in range(cuts.max_iterations):
        done = True
        for v in range(m):
            if share[v] <= 0.0 or not waiting[v]:
                continue
            waiting[v] = False
            tracks = weight = mean = 0.0
            for i in _nearby(z, n, position[v], window):
                here[i] = share[v] * likelihood(z[i], sigma[i], position[v], cuts.reach)
                belongs = here[i] / density[i]
                density[i] -= here[i]
                tracks += belongs
                belongs /= sigma[i] * sigma[i]
                weight += belongs
                mean += belongs * z[i]
            before = share[v]
            share[v] = tracks - cuts.penalty
            moved = math.inf
            if share[v] > 0.0:
                mean /= weight
                moved = max(abs(mean - position[v]) * math.sqrt(weight), abs(share[v] - before))
                position[v] = mean
                for i in _nearby(z, n, mean, window):
                    density[i] += share[v] * likelihood(z[i], sigma[i], mean, cuts.reach)
            if moved > cuts.tolerance:  # those around it must settle anew
                done = False
                for u in range(m):
                    waiting[u] |= abs(position[u] - position[v]) < window
        if done:
            break
    alive = 0
    for v in range(m):
        if share[v] > 0.0:
            work.order[alive] = v
            alive += 1
    sort_by(position, work.order, work.other, alive)
    for k in range(alive):
        work.mean[k], work.weight[k] = position[work.order[k]], share[work.order[k]]
    for k in range(alive):
        position[k], share[k] = work.mean[k], work.weight[k]
    return alive


@shared
def _nearby(z: Array, n: int, position: float, window: float) -> range:
    """Those of the first ``n`` of ``z``, which rise, within ``window`` of ``position``."""
    return range(lower_bound(z, n, position - window), lower_bound(z, n, position + window))


@shared
def _assign(n: int, n_vertices: int, cuts: MixtureCuts, work: Mixture) -> None:
    """The likeliest vertex of each of ``n`` tracks; -1 if it is noise."""
    for i in range(n):
        z, sigma = work.z[i], work.sigma[i]
        work.vertex[i] = _NOISE
        best = cuts.noise
        for v in _nearby(work.position, n_vertices, z, cuts.reach * sigma):
            density = work.share[v] * likelihood(z, sigma, work.position[v], cuts.reach)
            if density > best:
                best = density
                work.vertex[i] = v


@shared
def _drop_small(n: int, n_vertices: int, min_tracks: int, work: Mixture) -> int:
    """Leave out vertices of few tracks and renumber the rest; their number."""
    tracks, number = work.ndof, work.rank
    for v in range(n_vertices):
        tracks[v], number[v] = 0, _NOISE
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
        if work.vertex[i] >= 0:
            work.vertex[i] = number[work.vertex[i]]
    return kept


@shared
def _fit_vertices(n: int, n_vertices: int, work: Mixture) -> None:
    """Weighted mean of the tracks of each vertex, and their chi2."""
    mean, weight, chi2, ndof = work.mean, work.weight, work.chi2, work.ndof
    for v in range(n_vertices):
        mean[v], weight[v], chi2[v], ndof[v] = 0.0, 0.0, 0.0, -1
    for i in range(n):
        v = work.vertex[i]
        if v >= 0:
            w = 1.0 / (work.sigma[i] * work.sigma[i])
            weight[v] += w
            mean[v] += w * work.z[i]
    for v in range(n_vertices):
        mean[v] /= weight[v]
    for i in range(n):
        v = work.vertex[i]
        if v >= 0:
            pull = (work.z[i] - mean[v]) / work.sigma[i]
            chi2[v] += pull * pull
            ndof[v] += 1
