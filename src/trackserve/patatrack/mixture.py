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

import numpy as np

from ..device import kernel, shared
from ..edm import Tracks, Vertices
from ..edm.columns import Array
from .config import MixtureCuts
from .vertices import by_sum_pt2

_NOISE = -1


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
    n_tracks = len(n_hits)
    chosen = np.empty(n_tracks, np.int64)
    n = 0
    for t in range(n_tracks):
        precise = covariance[t, 14] < cuts.max_error * cuts.max_error
        tip, var_tip = state[t, 1], covariance[t, 5]
        prompt = tip * tip <= cuts.max_tip_pull * cuts.max_tip_pull * var_tip
        if precise and prompt and n_hits[t] >= cuts.min_hits and chi2s[t] < cuts.max_chi2:
            chosen[n] = t
            n += 1
    zip_ = np.empty(n)
    for i in range(n):
        zip_[i] = state[chosen[i], 4]
    order = np.argsort(zip_, kind="mergesort")
    z = np.empty(n)
    sigma = np.empty(n)
    for i in range(n):
        z[i] = zip_[order[i]]
        sigma[i] = cuts.inflation * math.sqrt(covariance[chosen[order[i]], 14])

    position, share = _maximise(z, sigma, _find_seeds(z, sigma, cuts), cuts)
    vertex = _assign(z, sigma, position, share, cuts)
    n_vertices = _drop_small(vertex, position, share, cuts.min_tracks)
    position, share = position[:n_vertices], share[:n_vertices]
    weight = np.zeros(n_vertices)
    mean = np.zeros(n_vertices)
    for i in range(n):
        if vertex[i] >= 0:
            w = 1.0 / (sigma[i] * sigma[i])
            weight[vertex[i]] += w
            mean[vertex[i]] += w * z[i]
    chi2 = np.zeros(n_vertices)
    ndof = np.full(n_vertices, -1, np.int32)
    for v in range(n_vertices):
        mean[v] /= weight[v]
    for i in range(n):
        if vertex[i] >= 0:
            pull = (z[i] - mean[vertex[i]]) / sigma[i]
            chi2[vertex[i]] += pull * pull
            ndof[vertex[i]] += 1

    # every track, also those that make no vertex
    all_z = np.empty(n_tracks)
    all_sigma = np.empty(n_tracks)
    for t in range(n_tracks):
        all_z[t] = state[t, 4]
        all_sigma[t] = cuts.inflation * math.sqrt(covariance[t, 14])
    of_track = _assign(all_z, all_sigma, position, share, cuts)
    return by_sum_pt2(state, of_track, mean, 1.0 / np.sqrt(weight), chi2, ndof)


@kernel
def _find_seeds(z: Array, sigma: Array, cuts: MixtureCuts) -> Array:
    """Maxima of the density of tracks (sorted by z), each a parabola about its z."""
    if len(z) == 0:
        return np.empty(0)
    margin = cuts.seed_reach * cuts.inflation * cuts.max_error
    start = z[0] - margin
    n = int((z[-1] + margin - start) / cuts.step) + 3
    density = np.zeros(n)
    for i in range(len(z)):
        width = max(sigma[i], cuts.min_seed_error)
        reach = cuts.seed_reach * width
        first = max(1, int((z[i] - reach - start) / cuts.step) + 1)
        last = min(n - 1, int((z[i] + reach - start) / cuts.step) + 1)
        for k in range(first, last):
            pull = (start + k * cuts.step - z[i]) / reach
            density[k] += (1.0 - pull * pull) / width
    seeds = np.empty(n)
    found = 0
    for k in range(1, n - 1):
        if density[k] > density[k - 1] and density[k] >= density[k + 1]:
            seeds[found] = start + k * cuts.step
            found += 1
    return seeds[:found].copy()


@kernel
def _maximise(z: Array, sigma: Array, seeds: Array, cuts: MixtureCuts) -> tuple[Array, Array]:
    """Positions of the vertices that survive, rising, and the tracks that each explains."""
    n, m = len(z), len(seeds)
    window = cuts.reach * cuts.inflation * cuts.max_error
    position = seeds.copy()
    share = np.full(m, n / max(m, 1))
    density = np.full(n, cuts.noise)
    here = np.empty(n)
    for v in range(m):
        for i in _nearby(z, position[v], window):
            density[i] += share[v] * likelihood(z[i], sigma[i], position[v], cuts.reach)
    waiting = np.ones(m, np.bool_)
    for _ in range(cuts.max_iterations):
        done = True
        for v in range(m):
            if share[v] <= 0.0 or not waiting[v]:
                continue
            waiting[v] = False
            tracks = weight = mean = 0.0
            for i in _nearby(z, position[v], window):
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
                for i in _nearby(z, mean, window):
                    density[i] += share[v] * likelihood(z[i], sigma[i], mean, cuts.reach)
            if moved > cuts.tolerance:  # those around it must settle anew
                done = False
                for u in range(m):
                    waiting[u] |= abs(position[u] - position[v]) < window
        if done:
            break
    order = np.argsort(position)
    alive = order[share[order] > 0.0]
    return position[alive], share[alive]


@kernel
def _nearby(z: Array, position: float, window: float) -> range:
    """Tracks (sorted by z) within ``window`` of ``position``."""
    first, last = np.searchsorted(z, position - window), np.searchsorted(z, position + window)
    return range(first, last)


@kernel
def _assign(z: Array, sigma: Array, position: Array, share: Array, cuts: MixtureCuts) -> Array:
    """The likeliest vertex (sorted by position) of each track; -1 if it is noise."""
    vertex = np.full(len(z), _NOISE, np.int32)
    for i in range(len(z)):
        best = cuts.noise
        for v in _nearby(position, z[i], cuts.reach * sigma[i]):
            density = share[v] * likelihood(z[i], sigma[i], position[v], cuts.reach)
            if density > best:
                best = density
                vertex[i] = v
    return vertex


@kernel
def _drop_small(vertex: Array, position: Array, share: Array, min_tracks: int) -> int:
    """Leave out vertices of few tracks and renumber the rest, in place; their number."""
    tracks = np.zeros(len(position), np.int32)
    for v in vertex:
        if v >= 0:
            tracks[v] += 1
    number = np.full(len(position), _NOISE, np.int32)
    n = 0
    for v in range(len(position)):
        if tracks[v] >= min_tracks:
            position[n], share[n], number[v] = position[v], share[v], n
            n += 1
    for i in range(len(vertex)):
        if vertex[i] >= 0:
            vertex[i] = number[vertex[i]]
    return n
