"""Fitted ntuplets to tracks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel
from trackserve.edm import MAX_HITS, Tracks
from trackserve.edm.columns import Array

from .fit import Fitted


class FittedTracks(NamedTuple):
    """Columns of :class:`trackserve.edm.Tracks` that vertices are made of."""

    state: Array
    covariance: Array
    chi2: Array
    n_hits: Array


def fitted_tracks(tracks: Tracks) -> FittedTracks:
    """Return the columns that vertices are made of."""
    return FittedTracks(tracks.state, tracks.covariance, tracks.chi2, tracks.n_hits)


@kernel
def make_tracks(fitted: Fitted, order: Array, quality: Array, lowest: int) -> tuple[Array, ...]:
    """Return columns of :class:`trackserve.edm.Tracks`, which are in no vertex yet.

    Args:
        fitted: the ntuplets.
        order: int32[hits], row of each ordered hit in :class:`trackserve.edm.Hits`.
        quality: uint8[n], of the ntuplets.
        lowest: ntuplets of this quality and better become tracks.
    """
    ntuplets = fitted.ntuplets
    n = 0
    for t in range(len(quality)):
        n += quality[t] >= lowest
    state = np.empty((n, 5), np.float32)
    covariance = np.empty((n, 15), np.float32)
    chi2 = np.empty(n, np.float32)
    ndof = np.empty(n, np.int8)
    grade = np.empty(n, np.uint8)
    n_hits = np.empty(n, np.int8)
    hits = np.empty((n, MAX_HITS), np.int32)
    vertex = np.full(n, -1, np.int16)
    i = 0
    for t in range(len(quality)):
        if quality[t] < lowest:
            continue
        for k in range(5):
            state[i, k] = fitted.state[t, k]
        for k in range(15):
            covariance[i, k] = fitted.covariance[t, k]
        for k in range(MAX_HITS):
            h = ntuplets.hits[t, k]
            hits[i, k] = order[h] if h >= 0 else h
        chi2[i], ndof[i], grade[i] = fitted.chi2[t], fitted.ndof[t], quality[t]
        n_hits[i] = ntuplets.n_hits[t]
        i += 1
    return state, covariance, chi2, ndof, grade, n_hits, hits, vertex
