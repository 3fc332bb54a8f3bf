"""Our trackers in ACTS: algorithms of its Sequencer, containers to nouns and back, fits."""

from .convert import (
    measurements_of,
    to_candidates,
    to_event,
    to_measurements,
    to_proto_tracks,
    to_tracks,
)
from .finder import Times, TrackFinder
from .fitter import TrackFitter
from .in_flight import events_in_flight
from .steps import TrackCollector

__all__ = [
    "Times",
    "TrackCollector",
    "TrackFinder",
    "TrackFitter",
    "events_in_flight",
    "measurements_of",
    "to_candidates",
    "to_event",
    "to_measurements",
    "to_proto_tracks",
    "to_tracks",
]
