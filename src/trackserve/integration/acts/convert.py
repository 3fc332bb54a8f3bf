"""Containers of ACTS to our nouns, and back."""

from __future__ import annotations

from collections.abc import Iterable
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


def to_event(points: Any, number: int = 0) -> PointsEvent:
    """An event of ours, from an ``acts.SpacePointContainer``; rows keep their order."""
    return PointsEvent(SpacePoints(np.stack([points.x, points.y, points.z], axis=1)), number)


def to_proto_tracks(rows: Ragged, measurement: Array | None = None) -> Any:
    """A ``ProtoTrackContainer``: a proto track for each list.

    Args:
        rows: rows of the space points of each track.
        measurement: int[points], the measurement of each space point; None: it has its number.
    """
    values = rows.values if measurement is None else measurement[rows.values]
    flat, ends = values.tolist(), rows.offsets.tolist()
    container = examples.ProtoTrackContainer()
    for begin, end in zip(ends, ends[1:], strict=False):
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
    rows = zip(
        measurements.surface.tolist(),
        measurements.local.astype(float).tolist(),
        measurements.variance.astype(float).tolist(),
        strict=True,
    )
    identifiers: dict[int, Any] = {}
    axes = [0, 1]
    for surface, local, (first, second) in rows:
        if surface not in identifiers:
            identifiers[surface] = acts.GeometryIdentifier(surface)
        covariance = [[first, 0.0], [0.0, second]]
        container.emplaceMeasurement(identifiers[surface], axes, local, covariance)
    return container


def to_tracks(tracks: Any) -> FittedTracks:
    """Fitted tracks of ours, from a ``ConstTrackContainer`` at the perigee of the z axis.

    The points of a track are its measurements that were fitted, by their index.
    """
    state = np.array(tracks.parameters)[:, :_N]
    covariance = np.array(tracks.covariance)[:, :_N, :_N]
    return FittedTracks(
        *state.astype(np.float32).T.copy(),
        covariance[:, *_TRIANGLE].astype(np.float32),
        np.array(tracks.chi2, np.float32),
        np.array(tracks.ndf, np.int32),
        np.array(tracks.nHoles, np.int32),
        np.array(tracks.nOutliers, np.int32),
        Ragged.of([_measured(track) for track in tracks], np.int32),
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
