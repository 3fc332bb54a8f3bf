"""A served model: what every way to Triton shares.

It owns the workers, the counters and the identity of a model. It takes bundles apart, refuses
requests that expect another identity, and drains.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import trackserve
from trackserve.edm.columns import Array
from trackserve.errors import (
    Cancelled,
    EventDeadlineExceeded,
    EventError,
    IdentityMismatch,
    InputError,
    LimitExceeded,
    MalformedEvent,
    ServerBusy,
    TagError,
    TrackserveError,
    WireMismatch,
)
from trackserve.trackers.registry import tracker_of
from trackserve.wire.bundle import BUNDLE, split_events
from trackserve.wire.codec import IDENTITY
from trackserve.wire.identity import check_identity
from trackserve.wire.tensors import TensorSpec
from trackserve.wire.version import WIRE_PARAMETER, check_wire

from .. import drain
from ..limits import Limits
from ..restarts import restarts
from .event_log import open_event_log
from .gather import Gather
from .metrics import METRICS, RESTARTS, Counters, Reporter, Series
from .runtime import ASK_AFTER, Answer, EncodedEvent, Job, Queue, RunBatch, Runtime
from .tracker import decode

_REPORT_PERIOD = 1.0
_DRAIN_POLL = 0.05
_CODES = {
    EventError: "INVALID_ARG",
    IdentityMismatch: "INVALID_ARG",
    WireMismatch: "INVALID_ARG",
    InputError: "INVALID_ARG",
    MalformedEvent: "INVALID_ARG",
    LimitExceeded: "INVALID_ARG",
    TagError: "INVALID_ARG",
    EventDeadlineExceeded: "CANCELLED",
    ServerBusy: "UNAVAILABLE",
    Cancelled: "CANCELLED",
}


class Reply(NamedTuple):
    """The way of an answer to the client of a request.

    Attributes:
        send: function that sends the answer; it is called once.
        unwanted: function that returns whether nobody waits for the answer.
    """

    send: Callable[[Answer], None]
    unwanted: Callable[[], bool]


class Expected(NamedTuple):
    """What a client expects of a model.

    Attributes:
        identity: its identity, as text or hash; None: any.
        wire: the version of the wire; None: the first one.
    """

    identity: str | None
    wire: str | None


class ServedModel:
    """The workers of a model and all that belongs to them.

    Args:
        name: name of the model.
        parameters: parameters in its configuration.
        queue: its queue.
        counters: sums for the metrics.
        families: families of metrics by name, as those of Triton's Python backend.
        ask_after: see :class:`.runtime.Runtime`.

    Raises:
        WireMismatch: another version of this package wrote the model's repository.
    """

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, str],
        queue: Queue,
        counters: Counters,
        families: Mapping[str, Any],
        ask_after: float = ASK_AFTER,
    ) -> None:
        check_wire(parameters.get(WIRE_PARAMETER), model=name)
        self.codec = tracker_of(parameters).codec
        self.log = open_event_log(name)
        """The log of events; None: there is none."""
        logged = None if self.log is None else self.log.answered
        self.runtime = Runtime(queue, counters, ask_after, logged)
        self._tracker = tracker_of(parameters)
        self._limits = Limits.from_parameters(parameters)
        self._name = name
        self._identity = ""
        self._counters = counters
        self._families = families
        self._metrics: dict[Series, Any] = {}
        self._begin()
        self._reporter = Reporter(counters, self._report, _REPORT_PERIOD)
        self._finished = threading.Event()
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def add_workers(self, new_run: Callable[[], RunBatch]) -> None:
        """Add the workers of one instance; each runs the tracker's example once.

        This compiles all code that is not in Numba's cache, so that no request waits.

        Args:
            new_run: makes the function that one worker runs.

        Raises:
            TrackserveError: the example cannot be reconstructed.
        """
        event = self.codec.encode_event(self._tracker.example())
        example = EncodedEvent(event, [spec.name for spec in self.codec.outputs])

        def warm_run() -> RunBatch:
            run = new_run()
            for answer in run([example]):
                if isinstance(answer, TrackserveError):
                    raise answer
                self._identity = answer.tensors[IDENTITY.name].tobytes().decode()
            return run

        self.runtime.add_workers(warm_run, self._limits.workers)
        self._counters.add(
            (Series("trackserve_identity", self._identity), 1),
            (Series("trackserve_build_info", trackserve.__version__), 1),
        )

    def take_bundle(
        self,
        tensors: Mapping[str, Array],
        expected: Expected,
        reply: Callable[[], Reply],
        request: str = "",
    ) -> TrackserveError | None:
        """Make a job of each event of a bundle; an event that finds no place is refused alone.

        Args:
            tensors: tensors of the request.
            expected: what the client expects.
            reply: makes the way of the answer; called if there will be an answer.
            request: id of the request, for events without an id of their own.

        Returns:
            the error if the whole request is refused; then nothing is sent.
        """
        try:
            events, wanted, ids = split_events(tensors, self.codec.inputs, self.codec.outputs)
        except InputError as error:
            return error
        if not events:
            return InputError("a bundle has no events", tensor=BUNDLE.name)
        mismatch = self.mismatch(expected, len(events))
        if mismatch is not None:
            return mismatch
        send, unwanted = reply()
        gather = Gather(len(events), self.runtime.at_a_time, send)
        outputs = tuple(wanted)
        decoded = [decode(self.codec, event) for event in events]
        for place, event in enumerate(events):
            refusal = self.runtime.reserve()
            mine = ids[place] if ids else request
            if refusal is None:
                encoded = EncodedEvent(event, outputs, decoded=decoded[place], is_gathered=True)
                self.runtime.submit(Job(encoded, partial(gather.put, place), unwanted, mine))
            else:
                self.note_refusal(mine, refusal)
                gather.put(place, refusal)
        return None

    def note_refusal(self, request: str, error: TrackserveError) -> None:
        """Log a request of this id that no worker gets."""
        if self.log is not None:
            self.log.refused(request, error)

    def mismatch(self, expected: Expected, n_events: int) -> IdentityMismatch | WireMismatch | None:
        """The error of ``n_events`` events that expect another identity or version of the wire.

        None if they expect these, or no identity.
        """
        try:
            check_wire(expected.wire, model=self._name)
            if expected.identity is not None:
                check_identity(expected.identity, self._identity, model=self._name)
        except (IdentityMismatch, WireMismatch) as error:
            outcome = Series("trackserve_requests_total", type(error).__name__)
            self._counters.add((outcome, n_events))
            return error
        return None

    def close(self) -> None:
        """Answer the jobs that are left, and end the threads."""
        self._finished.set()
        self.runtime.close()
        self._reporter.close()

    def _begin(self) -> None:
        """Report what has no label, also where it is 0; before a thread reports all the rest."""
        for name in self._families:
            if not METRICS[name].label:
                self._report(Series(name), restarts() if name == RESTARTS else 0.0)

    def _report(self, series: Series, amount: float) -> None:
        if series not in self._metrics:
            labels = {"model": self._name}
            if label := METRICS[series.metric].label:
                labels[label] = series.label
            self._metrics[series] = self._families[series.metric].Metric(labels=labels)
        self._metrics[series].increment(amount)

    def _drain(self) -> None:
        """Wait for the order to stop; then refuse new events and wait for all others."""
        with drain.worker() as ordered:
            while not self._finished.wait(_DRAIN_POLL):
                if ordered():
                    self.runtime.refuse_new()
                    if self.runtime.held == 0:
                        return


def parameters_of(config: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a model's configuration."""
    entries = config.get("parameters", {})
    return {name: entry["string_value"] for name, entry in entries.items()}


def declared_tensors(parameters: Mapping[str, str]) -> tuple[list[Any], list[Any]]:
    """The inputs and outputs of a model, as its configuration declares them."""
    codec = tracker_of(parameters).codec
    inputs = [_declare(spec) | {"optional": spec.optional} for spec in (*codec.inputs, BUNDLE)]
    return inputs, [_declare(spec) for spec in (*codec.outputs, BUNDLE)]


def code_of(error: TrackserveError) -> str:
    """Name of Triton's code for an error."""
    return _CODES.get(type(error), "INTERNAL")


def _declare(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{spec.triton_type}", "dims": list(spec.shape)}
