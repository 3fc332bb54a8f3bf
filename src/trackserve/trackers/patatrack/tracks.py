"""Fitted ntuplets to tracks."""

from __future__ import annotations

import numpy as np

from trackserve.device.compile import kernel
from trackserve.edm import MAX_HITS, Tracks
from trackserve.edm.columns import Array

from .doublets import OrderedHits
from .fit import Fitted
from .ntuplets import Ntuplets


def make_tracks(
    ntuplets: Ntuplets, ordered: OrderedHits, fitted: Fitted, quality: Array, lowest: int
) -> Tracks:
    """The ntuplets of quality ``lowest`` and better, in no vertex yet."""
    return Tracks(*_make_tracks(ntuplets, ordered.order, fitted, quality, lowest))


@kernel
def _make_tracks(
    ntuplets: Ntuplets, order: Array, fitted: Fitted, quality: Array, lowest: int
) -> tuple[Array, ...]:
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
