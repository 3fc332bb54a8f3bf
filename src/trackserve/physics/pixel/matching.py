"""Matching of hits, tracks and vertices to simulated particles and collisions.

The rule for tracks is the usual one of CMS: a track matches a particle if at least
:data:`HIT_SHARE` of its hits are that particle's.
"""

from __future__ import annotations

import numpy as np

from trackserve.edm import Hits, Tracks, TrueHits, Vertices
from trackserve.edm.columns import Array

HIT_WINDOW = 0.05
"""cm. A hit matches no true hit that is farther away than this."""
HIT_SHARE = 0.75
"""Share of a track's hits that must stem from one particle."""
VERTEX_WINDOW = 0.05
"""cm along the beam. A vertex matches no collision that is farther away than this."""


def match_hits(hits: Hits, truth: TrueHits) -> Array:
    """The true hit nearest to each hit on the same module, within :data:`HIT_WINDOW`.

    Returns:
        int64[hits]: row in ``truth``; -1 if there is none.
    """
    if len(truth) == 0:
        return np.full(len(hits), -1)
    by_module = np.argsort(truth.module, kind="stable")
    modules = truth.module[by_module]
    first = np.searchsorted(modules, hits.module)
    count = np.searchsorted(modules, hits.module, side="right") - first
    hit = np.repeat(np.arange(len(hits)), count)
    start = np.cumsum(count) - count
    candidate = by_module[np.arange(len(hit)) + np.repeat(first - start, count)]
    distance2 = (hits.x_local[hit] - truth.x_local[candidate]) ** 2
    distance2 += (hits.y_local[hit] - truth.y_local[candidate]) ** 2
    near = distance2 < HIT_WINDOW**2
    hit, candidate, distance2 = hit[near], candidate[near], distance2[near]
    nearest_last = np.argsort(-distance2, kind="stable")
    matched = np.full(len(hits), -1)
    matched[hit[nearest_last]] = candidate[nearest_last]
    return matched


def match_tracks(tracks: Tracks, hit_particle: Array) -> Array:
    """The particle that has at least :data:`HIT_SHARE` of the hits of each track.

    Args:
        tracks: with ``hits`` as rows of ``hit_particle``.
        hit_particle: int[hits], particle of each hit; -1 for none.

    Returns:
        int64[tracks]: particle; -1 for a fake.
    """
    if len(tracks) == 0 or len(hit_particle) == 0:
        return np.full(len(tracks), -1)
    particle = np.where(tracks.hits >= 0, hit_particle[tracks.hits], -1)
    same = (particle[:, :, None] == particle[:, None, :]) & (particle >= 0)[:, :, None]
    shared = same.sum(axis=2)
    best = shared.argmax(axis=1)
    row = np.arange(len(tracks))
    enough = shared[row, best] >= HIT_SHARE * tracks.n_hits
    return np.where(enough, particle[row, best], -1)


def duplicates(track_particle: Array) -> Array:
    """Whether an earlier track matches the same particle, bool[tracks].

    A fake is no duplicate.

    Args:
        track_particle: int64[tracks], as :func:`match_tracks` returns it.
    """
    duplicate = np.ones(len(track_particle), bool)
    duplicate[np.unique(track_particle, return_index=True)[1]] = False
    return duplicate & (track_particle >= 0)


def match_vertices(vertices: Vertices, z: Array) -> Array:
    """The vertex that each collision gets.

    Each vertex goes to the collision nearest to it along the beam, within
    :data:`VERTEX_WINDOW`. A collision keeps the nearest vertex that goes to it.

    Args:
        vertices: of one event.
        z: float64[collisions], relative to the beam spot, cm.

    Returns:
        int64[collisions]: row in ``vertices``; -1 if there is none.
    """
    matched = np.full(len(z), -1)
    if len(vertices) == 0 or len(matched) == 0:
        return matched
    distance = np.abs(vertices.z[:, None] - z)
    collision = distance.argmin(axis=1)
    nearest = distance[np.arange(len(vertices)), collision]
    for vertex in np.argsort(-nearest, kind="stable"):
        if nearest[vertex] < VERTEX_WINDOW:
            matched[collision[vertex]] = vertex
    return matched
