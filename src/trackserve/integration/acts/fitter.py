"""Candidates of stored events to fitted tracks, one event after the other, without a Sequencer."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserve.edm import FittedTracks, Measurements, TrackCandidates
from trackserve.errors import EventError

from . import chain
from .bindings import LEVEL, examples
from .convert import to_measurements, to_proto_tracks, to_tracks


class TrackFitter:
    """Fits candidates of events of GenericDetector: parameters, Kalman fit, ambiguities.

    Args:
        min_measurements: least measurements of a track.
    """

    def __init__(self, min_measurements: int = chain.MIN_MEASUREMENTS) -> None:
        detector = chain.make_detector()
        self._surfaces = detector.surface
        geometry, field = detector.geometry, chain.make_field()
        self._owner = examples.IAlgorithm("TrackFitter", LEVEL)  # handles do not keep it alive
        self._measurements = self._writer(examples.MeasurementContainer, "measurements")
        self._candidates = self._writer(examples.ProtoTrackContainer, "prototracks")
        self._tracks = examples.ReadDataHandle(self._owner, examples.ConstTrackContainer, "tracks")
        self._tracks.initialize("tracks")
        self._steps = (
            chain.SelectMeasurements(),
            chain.make_space_points(geometry),
            chain.seed_proto_tracks(geometry, field),
            chain.estimate_parameters(geometry, field),
            chain.fit_tracks(geometry, field),
            chain.extrapolate_tracks(geometry, field),
            chain.resolve_ambiguities(min_measurements=min_measurements),
        )

    def _writer(self, kind: Any, name: str) -> Any:
        handle = examples.WriteDataHandle(self._owner, kind, name)
        handle.initialize(name)
        return handle

    def fit(
        self, measurements: Measurements, candidates: TrackCandidates, event: int = 0
    ) -> FittedTracks:
        """Fit the candidates of one event; those that cannot be fitted are left out.

        Args:
            measurements: the measurements of the event's space points.
            candidates: what a tracker found.
            event: number of the event.

        Raises:
            EventError: a sensor is not one of GenericDetector, a candidate has a point that does
                not exist, or ACTS gives up.
        """
        unknown = ~np.isin(measurements.surface, self._surfaces)
        if unknown.any():
            raise EventError(
                "a measurement is on no sensor of GenericDetector",
                event=event,
                found=int(measurements.surface[unknown][0]),
            )
        rows = candidates.points.values
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(measurements):
            raise EventError(
                "a candidate has a point that does not exist",
                event=event,
                found=[int(rows.min()), int(rows.max())],
                bound=f"0..{len(measurements) - 1}",
            )
        store = examples.WhiteBoard(LEVEL)
        context = examples.AlgorithmContext(0, event, store, 0)
        self._measurements(context, to_measurements(measurements))
        self._candidates(context, to_proto_tracks(candidates.points))
        for step in self._steps:
            if step.execute(context) != examples.ProcessCode.SUCCESS:
                raise EventError("ACTS does not fit the event", event=event, stage=step.name())
        return to_tracks(self._tracks(store))
