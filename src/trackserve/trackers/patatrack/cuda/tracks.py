"""Fitted ntuplets to tracks, a thread for each ntuplet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_LAYERS
from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import MAX_HITS, Tracks

from ..fit import Fitted
from ..ntuplets import Ntuplets
from .columns import make_columns
from .doublets import BatchOrderedHits
from .hits import BatchHits
from .resolve import Contest


class BatchTracks(NamedTuple):
    """Tracks of a batch.

    Attributes:
        start: int32[events + 1], first of each event.
        columns: of :class:`trackserve.edm.Tracks`.
    """

    start: Any
    columns: Any


def make_tracks(
    device: Device,
    name: str,
    hits: BatchHits,
    ordered: BatchOrderedHits,
    ntuplets: Ntuplets,
    fitted: Fitted,
    contest: Contest,
    n_events: int,
    n: int,
    lowest: int,
) -> BatchTracks:
    """Those of ``n`` ntuplets that are of quality ``lowest`` and better, in no vertex yet."""
    place = device.array(f"{name}.place", n + 1, np.int32)
    tracks = BatchTracks(
        start=device.array(f"{name}.start", n_events + 1, np.int32),
        columns=make_columns(device, name, Tracks, n),
    )
    device.launch(_mark, n, contest.quality, place, lowest, n)
    device.scan(place, n, place)
    device.launch(_find_events, n_events + 1, contest.start, place, tracks.start, n_events)
    device.launch(
        *(_fill, n, hits.start, ordered.event, ordered.hits.order, ntuplets, fitted),
        *(contest.quality, place, tracks.columns, n),
    )
    return tracks


@cuda_kernel
def _mark(quality: Any, place: Any, lowest: int, n: int) -> None:
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        place[t] = 1 if quality[t] >= lowest else 0


@cuda_kernel
def _find_events(ntuplet: Any, place: Any, start: Any, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        start[e] = place[ntuplet[e]]


@cuda_kernel
def _fill(
    layer_start: Any,
    event: Any,
    order: Any,
    ntuplets: Ntuplets,
    fitted: Fitted,
    quality: Any,
    place: Any,
    columns: Any,
    n: int,
) -> None:
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = place[t]
        if place[t + 1] == i:
            continue
        first_hit = layer_start[event[ntuplets.hits[t, 0]] * N_LAYERS]
        for k in range(5):
            columns.state[i, k] = fitted.state[t, k]
        for k in range(15):
            columns.covariance[i, k] = fitted.covariance[t, k]
        for k in range(MAX_HITS):
            h = ntuplets.hits[t, k]
            columns.hits[i, k] = order[h] - first_hit if h >= 0 else -1
        columns.chi2[i], columns.ndof[i] = fitted.chi2[t], fitted.ndof[t]
        columns.quality[i], columns.n_hits[i] = quality[t], ntuplets.n_hits[t]
        columns.vertex[i] = -1
