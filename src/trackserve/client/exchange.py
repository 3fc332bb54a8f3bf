"""The way of one event to the server and back, for both clients."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from trackserve.edm import EventLimits
from trackserve.edm.result import Origin
from trackserve.errors import (
    DeadlineExceeded,
    EventError,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
)
from trackserve.trackers.deadline import deadline_exceeded
from trackserve.wire import version
from trackserve.wire.access import Access
from trackserve.wire.bundle import (
    BUNDLE,
    AnswerBundle,
    join_events,
    split_answers,
)
from trackserve.wire.codec import IDENTITY, TIMING, Codec
from trackserve.wire.identity import (
    IDENTITY_PARAMETER,
    UNCHECKED,
    Identity,
    check_identity,
    is_same,
)
from trackserve.wire.limits import STOPPED_BY, encode_limits
from trackserve.wire.request_id import request_ids
from trackserve.wire.tensors import Tensors, decode_timing
from trackserve.wire.timeout import checked_timeout
from trackserve.wire.version import WIRE_PARAMETER

from .counters import Counters
from .pool import Pool
from .served import ServedModel
from .transport import Request, Transport, Via

_log = logging.getLogger("trackserve.client")

_FIRST_DELAY = 0.01
_LONGEST_DELAY = 1.0

_GRACE = 0.05
"""Seconds after an event's own deadline in which the server may say that it is over."""

DEFAULT_TIMEOUT = 30.0
"""Seconds."""


class Timings(NamedTuple):
    """The parts of the time of one event, seconds; the four parts add up to ``total``."""

    event: int
    total: float
    """From the event to its result, in the user's hands."""
    client: float
    """Encoding, decoding, delays before retries; in a stream also the wait to be handed out."""
    network: float
    """The way to the server and back, with Triton's own part and copies."""
    queue: float
    """The wait for a worker of the server."""
    compute: float
    """The work of that worker on the event."""


OnTimings = Callable[[Timings], object]


@dataclass
class Settings:
    """The settings of a client: the arguments of :class:`trackserve.client.Client`."""

    url: str
    timeout: float
    retry: bool
    on_timings: OnTimings | None
    access: Access = field(default_factory=Access)
    """What the client shows to servers."""
    counters: Counters = field(default_factory=Counters)
    """Sums of what the client did."""
    answered: bool = False
    """Whether the server has answered this client before."""
    compute: dict[str, float] = field(default_factory=dict)
    """Mean seconds of the latest events on the server, by model."""
    served: dict[str, ServedModel] = field(default_factory=dict)
    """The models that the client has asked for, by name."""
    identities: dict[str, str] = field(default_factory=dict)
    """Text of the first identity that each model had, by model; that of a tag by both."""
    agreed: set[tuple[str, str | None]] = field(default_factory=set)
    """Models and expected identities for which many servers have been asked."""
    request_ids: Iterator[str] = field(default_factory=request_ids)
    """Ids for requests."""
    process: int = field(default_factory=os.getpid)
    """Process that made the client."""

    def check_process(self) -> None:
        """Refuse the use of a client that another process made.

        Connections and threads do not survive a fork: events would get each other's answers.

        Raises:
            InputError: this is another process.
        """
        if os.getpid() != self.process:
            raise InputError(
                "a client cannot be used after a fork: make a new one in each process",
                url=self.url,
                found=os.getpid(),
                bound=self.process,
            )


class Task(NamedTuple):
    """The work that a client asks for.

    Attributes:
        model: name of the model on the server.
        codec: codec of its tracker.
        keep: intermediates to return as well.
        identity: text of the identity that the model must have, or its hash; :data:`UNCHECKED`:
            any; None: that of the client's first answer.
        has_timing: whether the model says its times.
        has_bundles: whether a request may have several events.
        limits: limits on the work on each event; None: the defaults of the tracker.
    """

    model: str
    codec: Codec[Any, Any]
    keep: Collection[str] = ()
    identity: str | None = None
    has_timing: bool = True
    has_bundles: bool = True
    limits: EventLimits | None = None


class Patience:
    """The deadline of one event, and the delays before the server is asked again.

    Args:
        settings: settings of the client.
        timeout: seconds from now; None: the client's timeout; infinity: there is no deadline.

    Attributes:
        begin, deadline: now, and the deadline, by :func:`time.perf_counter`.

    Raises:
        InputError: the timeout is negative, NaN or no number.
    """

    def __init__(self, settings: Settings, timeout: float | None) -> None:
        self.begin = time.perf_counter()
        self._settings = settings
        self._timeout = settings.timeout if timeout is None else checked_timeout(timeout)
        self.deadline = self.begin + self._timeout
        self._delay = _FIRST_DELAY

    def left(self, **fields: Any) -> float:
        """Seconds until the deadline.

        Raises:
            DeadlineExceeded: the deadline is over; the error has ``fields``.
        """
        left = self.deadline - time.perf_counter()
        if left <= 0:
            raise DeadlineExceeded(f"no result after {self._timeout:g} s", **fields)
        return left

    def retry_after(self, error: ServerError) -> float:
        """Seconds to wait before the next try.

        A busy server is asked again until the deadline. So is a server that has answered before
        and is gone now, because it may be starting again.

        Raises:
            ServerError: there is no next try; it is ``error``.
        """
        come_back = isinstance(error, ServerUnavailable) and self._settings.answered
        if not self._settings.retry or not (isinstance(error, ServerBusy) or come_back):
            raise error
        delay = self._delay * random.uniform(0.5, 1.5)
        if time.perf_counter() + delay > self.deadline:
            raise error
        self._delay = min(2 * self._delay, _LONGEST_DELAY)
        return delay


class Terms(NamedTuple):
    """What a caller wants of a model.

    Attributes:
        keep: intermediates to return as well.
        identity: as of :class:`Task`, or an :class:`~trackserve.wire.identity.Identity`.
        limits: limits on the work on each event; None: the defaults of the tracker.
    """

    keep: Collection[str] = ()
    identity: Identity | str | None = None
    limits: EventLimits | None = None


def make_task(model: ServedModel, terms: Terms, url: str) -> Task:
    """The work to do with a model.

    Args:
        model: the model.
        terms: what the caller wants.
        url: url of the server, for errors.

    Raises:
        InputError: the identity is of another type, the model does not say its own, or the limits
            are those of another tracker.
    """
    identity = terms.identity
    if isinstance(identity, Identity):
        identity = str(identity)
    is_text = isinstance(identity, str) and identity and identity.isprintable()
    if identity is not None and not is_text:
        bound = f"None, an identity, its text or {UNCHECKED!r}"
        raise InputError("this is no identity", found=repr(identity), bound=bound)
    if identity != UNCHECKED and not model.has_identity:
        reason = f"the model does not say its identity: it is used only with {UNCHECKED!r}"
        raise InputError(reason, model=model.name, url=url)
    codec = model.tracker.codec
    return Task(
        model.name,
        codec,
        terms.keep,
        identity,
        model.has_timing,
        model.has_bundles,
        codec.limits.of(terms.limits),
    )


class Asking:
    """What the requests of a task have in common.

    Args:
        settings: settings of the client.
        task: the work to do on each event.
        timed: whether to ask the server for its times, even if ``settings`` do not need them.

    Attributes:
        timed: whether the server is asked for its times.
        limits: limits on the work on each event.
        is_checked: whether the identity of the model matters.
        expected: the identity that it must have; empty: it is not known yet.

    Raises:
        InputError: a part is unknown.
    """

    def __init__(self, settings: Settings, task: Task, timed: bool = False) -> None:
        self.settings = settings
        self.task = task
        self.timed = task.has_timing and (timed or settings.on_timings is not None)
        self.limits = task.codec.limits.of(task.limits)
        self.is_checked = task.identity != UNCHECKED
        self._limits = encode_limits(self.limits)
        self._names = task.codec.output_names(task.keep)
        if self.timed:
            self._names.append(TIMING.name)
        if self.limits.beyond == "partial":
            self._names.append(STOPPED_BY.name)
        self._learn(settings.identities.get(task.model, ""))

    def request(self, event: Any, tag: str) -> Request:
        """The request for an event, whose conditions have a ``tag`` if it is not empty.

        Raises:
            MalformedEvent: the event is of another kind or malformed.
        """
        task = self.task
        known = self.settings.identities.get(task.model, "")
        if known != self._known:
            self._learn(known)
        names = self._names_of_tags if tag and self.is_checked else self._wanted
        inputs = task.codec.encode_event(event)
        inputs.update(self._limits)
        return Request(task.model, inputs, names, self._parameters, next(self.settings.request_ids))

    def _learn(self, known: str) -> None:
        """Take note of the identity that the model has; empty: nobody knows it yet."""
        self._known = known
        self.expected = self.task.identity or known
        self._parameters = {WIRE_PARAMETER: version.WIRE}
        self._names_of_tags = [*self._names, IDENTITY.name]
        self._wanted = self._names
        if self.is_checked:
            if self.expected:
                self._parameters[IDENTITY_PARAMETER] = self.expected
            if not known or not is_same(known, self.expected):
                self._wanted = self._names_of_tags


class Exchange:
    """The requests of one event, with their deadline, retries and times.

    Args:
        asking: the work to do on the event.
        event: event to reconstruct.
        patience: deadline of the event.

    Attributes:
        codec: codec of its tracker.
        queue, compute, round_trip: seconds that it waited in the server, that the work on it took,
            and from sending to arrival.

    Raises:
        MalformedEvent: the event is of another kind or malformed.
    """

    def __init__(self, asking: Asking, event: Any, patience: Patience) -> None:
        self._asking = asking
        self._settings = asking.settings
        self._limits = asking.limits
        self.codec = asking.task.codec
        self.patience = patience
        self._sent = 0.0
        self._tries = 0
        self._via: Via | None = None
        self.queue = self.compute = self.round_trip = 0.0
        self._tag = str(getattr(event, "conditions", ""))
        self.request = asking.request(event, self._tag)
        self._expected = asking.expected
        self._event = int(event.event)

    def answer(self, transport: Transport) -> Any:
        """The result from the server, which is asked until the deadline.

        Raises:
            InputError, EventError, ServerError: there is none.
        """
        while True:
            try:
                if not isinstance(transport, Pool):
                    return self.result(transport.call(self.request, self.send()))
                call = transport.submit(self.request, self.send())
                try:
                    tensors = call.result()
                finally:
                    self.note(call.via)
                return self.result(tensors, call.arrived)
            except EventError as error:
                raise self.failed(error) from None
            except ServerError as error:
                time.sleep(self.retry_after(error))

    def note(self, via: Via | None) -> None:
        """Note the way that a request has taken, where there are many servers."""
        if via is not None:
            self._via = via
            self._tries += via.tries - 1

    def send(self) -> float:
        """Note that the request is sent now; return the seconds that it may take.

        Raises:
            EventDeadlineExceeded: the event's own deadline is over.
            DeadlineExceeded: no time is left.
        """
        self.begin_try()
        return time_for([self])

    def begin_try(self) -> None:
        """Note that the request is sent now, alone or with others.

        Raises:
            EventDeadlineExceeded: the event's own deadline is over.
        """
        self._sent = time.perf_counter()
        self._tries += 1
        if not self.has_deadline:
            return
        left = self.left
        if left <= 0:
            raise deadline_exceeded(self._event, self._limits.deadline)
        self.request.inputs.update(encode_limits(replace(self._limits, deadline=left)))

    @property
    def has_deadline(self) -> bool:
        """Whether the event has a deadline of its own."""
        return self._limits.deadline < math.inf

    @property
    def patience_left(self) -> float:
        """Seconds until the timeout of the event.

        Raises:
            DeadlineExceeded: no time is left.
        """
        return self.patience.left(event=self._event)

    @property
    def left(self) -> float:
        """Seconds until the event's own deadline."""
        return self.patience.begin + self._limits.deadline - time.perf_counter()

    def retry_after(self, error: ServerError) -> float:
        """Seconds to wait before the next try; see :meth:`Patience.retry_after`.

        Raises:
            EventDeadlineExceeded: the event's own deadline is over, or will be by then.
            ServerError: there is no next try; it is ``error``.
        """
        error.fields.setdefault("request", self.request.id)
        if isinstance(error, DeadlineExceeded) and self.left <= 0:
            raise self.failed(deadline_exceeded(self._event, self._limits.deadline)) from error
        delay = self.patience.retry_after(error)
        if delay >= self.left:
            raise self.failed(deadline_exceeded(self._event, self._limits.deadline)) from error
        return delay

    def result(self, tensors: Tensors, arrived: float | None = None) -> Any:
        """The result in a reply that arrived at ``arrived`` (by default now).

        Raises:
            IdentityMismatch: the model has another identity than the expected one.
            ServerError: the reply is malformed.
        """
        arrived = arrived or time.perf_counter()
        self.round_trip = arrived - self._sent
        self._settings.answered = True
        asking = self._asking
        try:
            result = self.codec.decode_result(tensors, self._event, asking.task.keep)
            if asking.timed:
                self.queue, self.compute = decode_timing(tensors, TIMING)
        except InputError as error:
            raise ServerError(error.message, url=self._settings.url, **error.fields) from error
        identity = self._identity_of(result) if asking.is_checked else result.identity
        return result.sign(identity, self._origin("ok", arrived))

    def failed(self, error: EventError) -> EventError:
        """The error that an event has come to, with its origin."""
        error.origin = self._origin(type(error).__name__, time.perf_counter())
        return error

    def _origin(self, outcome: str, arrived: float) -> Origin:
        """Count the answer; return its origin."""
        seconds = arrived - self.patience.begin
        via, request = self._via, self.request
        server = self._settings.url if via is None else via.server
        is_fallback = via is not None and via.is_fallback
        counters = self._settings.counters
        counters.add_answer(server, request.model, outcome, self._tries, seconds)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s: event %d is %s from %s after %.4f s, tries: %d",
                *(request.id, self._event, outcome, server or "here", seconds, self._tries),
            )
        return Origin(server, self._tries, seconds, is_fallback, request.id)

    def _identity_of(self, result: Any) -> str:
        """The identity of the result, which it has or the server has checked."""
        model = self.request.model
        if not result.identity and IDENTITY.name not in self.request.outputs:
            known = self._settings.identities.get(model, "")
            there = self._via.identity if self._via else ""
            return there if there and is_same(there, self._expected or known) else known
        where = {"model": model, "url": self._settings.url}
        if not result.identity:
            raise ServerError("the answer has no identity", **where)
        if self._tag:  # the server has compared that of the model, and each tag has one of its own
            mine = f"{model} {self._tag}"
            first = self._settings.identities.setdefault(mine, result.identity)
            check_identity(first, result.identity, tag=self._tag, **where)
            return str(result.identity)
        first = self._settings.identities.setdefault(model, result.identity)
        check_identity(self._expected or first, result.identity, **where)
        return str(result.identity)

    def handed_out(self) -> None:
        """Note that the user has the result now, and report its times."""
        if self._settings.on_timings is None:
            return
        total = time.perf_counter() - self.patience.begin
        network = self.round_trip - self.queue - self.compute
        client = total - self.round_trip
        self._settings.on_timings(
            Timings(self._event, total, client, network, self.queue, self.compute)
        )


def time_for(exchanges: Sequence[Exchange]) -> float:
    """Seconds that a request for several exchanges may take.

    It ends at the first timeout, but not before the last of the events' own deadlines: the other
    events are answered too.

    Raises:
        DeadlineExceeded: no time is left.
    """
    left = min(exchanges, key=_DEADLINE).patience_left
    if exchanges[0].has_deadline:
        left = min(left, max([exchange.left for exchange in exchanges]) + _GRACE)
    return left


_DEADLINE = attrgetter("patience.deadline")


def bundled(exchanges: Sequence[Exchange]) -> Request:
    """One request for several exchanges, which have the same task.

    The first ones may be older: then they ask for the identity, and the others know it. So do those
    that name the tag of their conditions.
    """
    first, last = exchanges[0].request, exchanges[-1].request
    if len(exchanges) == 1:
        return first
    requests = [exchange.request for exchange in exchanges]
    outputs = list(dict.fromkeys(chain.from_iterable(map(_OUTPUTS, requests))))
    ids = [request.id for request in requests]
    bundle = join_events([request.inputs for request in requests], outputs, ids)
    return Request(first.model, {BUNDLE.name: bundle}, [BUNDLE.name], last.parameters, first.id)


_OUTPUTS = attrgetter("outputs")


def unbundled(exchanges: Sequence[Exchange], tensors: Tensors) -> AnswerBundle:
    """The answer to each exchange in the reply to their request.

    Raises:
        ServerError: the reply is malformed.
    """
    if len(exchanges) == 1:
        return AnswerBundle([tensors], 1)
    try:
        return split_answers(tensors, exchanges[0].codec.outputs, len(exchanges))
    except InputError as error:
        raise ServerError(error.message, **error.fields) from error
