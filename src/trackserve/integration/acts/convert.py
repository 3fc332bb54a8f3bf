"""Containers of ACTS to our nouns, and back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from trackserve.edm import (
    FittedTracks,
    Measurements,
    PointsEvent,
    Ragged,
    SpacePoints,
    TrackCandidates,
)
from trackserve.edm.columns import Array

from .bindings import acts, examples

_N = 5
"""Parameters of a track without its time, which nothing measures here."""
_TRIANGLE = np.triu_indices(_N)
_PROBES = 16
"""Space points whose measurements are looked at."""


def to_event(points: Any, number: int = 0) -> PointsEvent:
    """An event of ours, from an ``acts.SpacePointContainer``; rows keep their order."""
    return PointsEvent(SpacePoints(np.stack([points.x, points.y, points.z], axis=1)), number)


def measurements_of(points: Any, rows: Ragged) -> Ragged:
    """The measurements of each list of space points.

    Where all measurements have made a space point each, in their order, a point has the number of
    its measurement. That is looked at on some points, the last one among them, since to ask every
    point takes longer than the tracker.

    Args:
        points: an ``acts.SpacePointContainer``.
        rows: rows of its points.
    """
    n = len(points)
    probes = np.unique(np.linspace(0, n - 1, min(_PROBES, n)).astype(int)).tolist()
    if all(_measurements(points, row) == [row] for row in probes):
        return rows
    lists = [
        [number for row in some.tolist() for number in _measurements(points, row)] for some in rows
    ]
    return Ragged.of([np.array(some, np.int32) for some in lists], np.int32)


def _measurements(points: Any, row: int) -> list[int]:
    """Numbers of the measurements of a space point; a pair of strips has two."""
    link = examples.IndexSourceLink.fromSourceLink
    return [link(one).index() for one in points[row].sourceLinks]


def to_proto_tracks(measurements: Ragged) -> Any:
    """A ``ProtoTrackContainer``: a proto track for each list of measurements."""
    flat, ends = measurements.values.tolist(), measurements.offsets.tolist()
    container = examples.ProtoTrackContainer()
    for begin, end in pairwise(ends):
        container.append(examples.ProtoTrack(flat[begin:end]))
    return container


def to_candidates(proto_tracks: Iterable[Iterable[int]]) -> TrackCandidates:
    """Candidates of ours, from a ``ProtoTrackContainer``; they have the score 1."""
    lists = [np.array(list(track), np.int32) for track in proto_tracks]
    return TrackCandidates(Ragged.of(lists, np.int32), np.ones(len(lists), np.float32))


def to_measurements(measurements: Measurements) -> Any:
    """A ``MeasurementContainer`` with our measurements, in their order."""
    container = examples.MeasurementContainer()
    container.reserve(len(measurements))
    identifiers = {
        value: acts.GeometryIdentifier(value) for value in np.unique(measurements.surface).tolist()
    }
    axes = [0, 1]
    rows = (measurements.surface, measurements.local, measurements.variance)
    for surface, local, variance in zip(*(column.tolist() for column in rows), strict=True):
        container.emplaceMeasurement(identifiers[surface], axes, local, variance)
    return container


def to_tracks(tracks: Any) -> FittedTracks:
    """Fitted tracks of ours, from a ``ConstTrackContainer`` at the perigee of the z axis.

    The points of a track are its measurements that were fitted, by their index. A track that ACTS
    did not bring to the axis has no parameters there, and is left out.
    """
    covariance = np.array(tracks.covariance).reshape(-1, _N + 1, _N + 1)[:, *_TRIANGLE]
    good = covariance[:, 0] > 0
    parameters = np.array(tracks.parameters).reshape(-1, _N + 1)[good, :_N]
    d0, z0, phi, theta, q_over_p = parameters.astype(np.float32).T.copy()
    return FittedTracks(
        d0,
        z0,
        phi,
        theta,
        q_over_p,
        covariance[good].astype(np.float32),
        np.array(tracks.chi2, np.float32)[good],
        np.array(tracks.ndf, np.int32)[good],
        np.array(tracks.nHoles, np.int32)[good],
        np.array(tracks.nOutliers, np.int32)[good],
        Ragged.of([_measured(tracks[row]) for row in np.flatnonzero(good).tolist()], np.int32),
    )


def _measured(track: Any) -> Array:
    """Indices of the measurements of a track that were fitted, from the inside out."""
    link = examples.IndexSourceLink.fromSourceLink
    found = [
        link(state.uncalibratedSourceLink).index()
        for state in track.trackStatesReversed
        if state.typeFlags.isMeasurement
    ]
    return np.array(found[::-1], np.int32)
