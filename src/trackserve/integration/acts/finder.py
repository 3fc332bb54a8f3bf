"""A tracker as an algorithm of ACTS' Sequencer: space points in, proto tracks out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from trackserve.client import Client
from trackserve.edm import EventLimits, PointsEvent, TrackCandidates
from trackserve.errors import InputError, TrackserveError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import UNCHECKED

from .bindings import LEVEL, acts, examples
from .convert import measurements_of, to_event, to_proto_tracks


class Times(NamedTuple):
    """Seconds of an event in the algorithm.

    Attributes:
        event: number of the event.
        total: all of it.
        tracker: the tracker itself, or the wait for the server that has it.
    """

    event: int
    total: float
    tracker: float


class TrackFinder(examples.IAlgorithm):  # type: ignore[misc]
    """Finds tracks in each event, here or on a server.

    Any number of threads of the Sequencer may run it. While a tracker computes on a CPU, or a
    server is waited for, other threads go on.

    Args:
        tracker: name of a tracker that takes space points.
        options: values by name of the tracker's options, as text; the others have their defaults.
        url: address of a server, or of several, as :class:`trackserve.Client` takes it; or such a
            client, with settings of its own. None: this process reconstructs.
        served: with ``url``, the server's name of the model; None: the tracker's name.
        identity: with ``url``, the identity that the model must have, or its text or hash;
            "unchecked": any; None: that of the options.
        device: without ``url``, where this process reconstructs: "cpu" or "cuda".
        limits: the most work on an event; None: the tracker's defaults.
        space_points: name of the ``SpacePointContainer`` in the event store.
        proto_tracks: name of the ``ProtoTrackContainer`` that is written there.
        level: what is logged.

    Attributes:
        identity: text of what makes the candidates.
        on_times: called with the :class:`Times` of each event, in the thread that ran it.

    A proto track has the measurements of a candidate from the inside out. An event that cannot be
    reconstructed ends the run: the reason is logged as an error, and the algorithm returns
    ``ABORT``.

    Raises:
        InputError: the tracker takes no space points or finds no candidates, or an argument is
            wrong.
        IdentityMismatch: the server's model is another one.
        TrackserveError: as of the tracker and of the client.
    """

    def __init__(
        self,
        tracker: str = "exatrkx",
        options: Mapping[str, str] | None = None,
        *,
        url: str | Client | None = None,
        served: str | None = None,
        identity: str | None = None,
        device: str = "cpu",
        limits: EventLimits | None = None,
        space_points: str = "spacepoints",
        proto_tracks: str = "prototracks",
        level: Any = LEVEL,
    ) -> None:
        examples.IAlgorithm.__init__(self, "TrackFinder", level)
        self.on_times: Callable[[Times], None] = lambda times: None
        found = find_tracker(tracker)
        _check(found)
        if url is None:
            pipeline = found.build(options or {}, device=device)
            pipeline.warm_up()
            self.identity = str(pipeline.identity)
            self._reconstruct: Reconstruct = partial(pipeline.reconstruct, limits=limits)
        else:
            client = Client(url) if isinstance(url, str) else url
            model = served or tracker
            expected = identity or found.identity(options or {})
            checked = expected != UNCHECKED
            self.identity = client.identify(model, expected) if checked else UNCHECKED
            self._reconstruct = partial(
                client.reconstruct, model, identity=self.identity, limits=limits
            )
        self._input = examples.ReadDataHandle(self, acts.SpacePointContainer, "points")
        self._input.initialize(space_points)
        self._output = examples.WriteDataHandle(self, examples.ProtoTrackContainer, "tracks")
        self._output.initialize(proto_tracks)

    def execute(self, context: Any) -> Any:
        """Reconstruct one event; the Sequencer calls it."""
        start = time.perf_counter()
        points = self._input(context.eventStore)
        event = to_event(points, context.eventNumber)
        begin = time.perf_counter()
        try:
            result = self._reconstruct(event)
        except TrackserveError as error:
            return self._fail(context.eventNumber, error)
        end = time.perf_counter()
        self._output(context, to_proto_tracks(measurements_of(points, result.candidates.points)))
        total = time.perf_counter() - start
        self.on_times(Times(context.eventNumber, total, end - begin))
        return examples.ProcessCode.SUCCESS

    def _fail(self, event: int, error: TrackserveError) -> Any:
        self.logger.error(f"event {event}: {type(error).__name__}: {error}")
        return examples.ProcessCode.ABORT


Reconstruct = Callable[[PointsEvent], Any]
"""Takes an event and returns its result, or raises a TrackserveError."""


def _check(tracker: Tracker[Any, Any]) -> None:
    """Refuse a tracker that does not make candidates from space points.

    Raises:
        InputError: it does not.
    """
    takes_points = isinstance(tracker.example(), PointsEvent)
    if not takes_points or tracker.result.always().get("candidates") is not TrackCandidates:
        reason = "the tracker makes no candidates from space points"
        raise InputError(reason, tracker=tracker.name)
