"""Fitted ntuplets to tracks, a thread for each ntuplet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_LAYERS
from trackserve.device.cuda import Device, Values, cuda_kernel, device_function
from trackserve.edm import MAX_HITS, Tracks

from ..fit import Fitted
from ..tracks import FittedTracks
from .columns import make_columns
from .doublets import BatchOrderedHits
from .resolve import Contest


class BatchTracks(NamedTuple):
    """Tracks of a batch.

    Attributes:
        n_events: number of events.
        n: largest number of tracks that the batch can have.
        start: int32[n_events + 1], first of each event.
        columns: columns of :class:`trackserve.edm.Tracks`.
    """

    n_events: int
    n: int
    start: Any
    columns: Any


class TrackHits(NamedTuple):
    """Hits of a batch by event, layer and phi.

    Attributes:
        layer_start: int32[events * layers + 1], first of each layer of each event.
        event: int32[n], event of each.
        order: int32[n], row of each in the hits of the batch.
    """

    layer_start: Any
    event: Any
    order: Any


def make_tracks(
    device: Device,
    fitted: Fitted,
    ordered: BatchOrderedHits,
    contest: Contest,
    lowest: int,
    name: str,
) -> BatchTracks:
    """Make tracks of the ntuplets of quality ``lowest`` and better; they are in no vertex yet.

    Args:
        device: the device.
        fitted: the ntuplets.
        ordered: their hits.
        contest: their quality.
        lowest: lowest quality of a track.
        name: name of the memory.
    """
    n_events, n = contest.n_events, contest.n
    place = device.array(f"{name}.place", n + 1, np.int32)
    tracks = BatchTracks(
        n_events=n_events,
        n=n,
        start=device.array(f"{name}.start", n_events + 1, np.int32),
        columns=make_columns(device, name, Tracks, n),
    )
    device.launch(_mark, n, contest.quality, place, lowest, n)
    device.scan(place, n, place)
    starts = Values(place, tracks.start)
    device.launch(_find_events, n_events + 1, contest.start, starts, n_events)
    hits = TrackHits(ordered.hits.layer_start, ordered.event, ordered.hits.order)
    device.launch(_fill, n, fitted, hits, contest.quality, place, tracks)
    return tracks


@cuda_kernel
def _mark(quality: Any, place: Any, lowest: int, n: int) -> None:
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        place[t] = 1 if quality[t] >= lowest else 0


@cuda_kernel
def _find_events(ntuplet: Any, starts: Values, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        starts.target[e] = starts.source[ntuplet[e]]


@cuda_kernel
def _fill(fitted: Fitted, hits: TrackHits, quality: Any, place: Any, tracks: BatchTracks) -> None:
    ntuplets, columns = fitted.ntuplets, tracks.columns
    for t in range(cuda.grid(1), tracks.n, cuda.gridsize(1)):
        i = place[t]
        if place[t + 1] == i:
            continue
        first_hit = hits.layer_start[hits.event[ntuplets.hits[t, 0]] * N_LAYERS]
        for k in range(5):
            columns.state[i, k] = fitted.state[t, k]
        for k in range(15):
            columns.covariance[i, k] = fitted.covariance[t, k]
        for k in range(MAX_HITS):
            h = ntuplets.hits[t, k]
            columns.hits[i, k] = hits.order[h] - first_hit if h >= 0 else -1
        columns.chi2[i], columns.ndof[i] = fitted.chi2[t], fitted.ndof[t]
        columns.quality[i], columns.n_hits[i] = quality[t], ntuplets.n_hits[t]
        columns.vertex[i] = -1


@device_function
def tracks_of_event(tracks: BatchTracks, e: int) -> FittedTracks:
    """Return the columns of event ``e`` that vertices are made of."""
    i, j, columns = tracks.start[e], tracks.start[e + 1], tracks.columns
    return FittedTracks(
        state=columns.state[i:j],
        covariance=columns.covariance[i:j],
        chi2=columns.chi2[i:j],
        n_hits=columns.n_hits[i:j],
    )
