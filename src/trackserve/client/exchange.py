"""The way of one event to the server and back, for both clients."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trackserve.errors import (
    DeadlineExceeded,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
)
from trackserve.trackers.registry import tracker_of
from trackserve.wire.address import parse_url
from trackserve.wire.bundle import (
    BUNDLE,
    AnswerBundle,
    join_events,
    split_answers,
)
from trackserve.wire.codec import TIMING, Codec
from trackserve.wire.tensors import Tensors, decode_timing
from trackserve.wire.timeout import checked_timeout

from .grpc import GrpcTransport
from .http import HttpTransport
from .shared_memory import SharedMemoryTransport
from .transport import Request, Transport

_FIRST_DELAY = 0.01
_LONGEST_DELAY = 1.0

DEFAULT_TIMEOUT = 30.0
"""Seconds."""
TRANSPORTS = ("auto", "grpc", "http", "shm")


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
    answered: bool = False
    """Whether the server has answered this client before."""
    compute: dict[str, float] = field(default_factory=dict)
    """Mean seconds of the latest events on the server, by model."""
    codecs: dict[str, Codec[Any, Any]] = field(default_factory=dict)
    """Codecs of the models that the client has asked for, by model."""
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
    """

    model: str
    codec: Codec[Any, Any]
    keep: Collection[str]


class Patience:
    """The deadline of one event, and the delays before the server is asked again.

    Args:
        settings: settings of the client.
        timeout: seconds from now; None: the client's timeout; infinity: there is no deadline.

    Raises:
        InputError: the timeout is negative, NaN or no number.
    """

    def __init__(self, settings: Settings, timeout: float | None) -> None:
        self.begin = time.perf_counter()
        self._settings = settings
        self._timeout = settings.timeout if timeout is None else checked_timeout(timeout)
        self._deadline = self.begin + self._timeout
        self._delay = _FIRST_DELAY

    def left(self, **fields: Any) -> float:
        """Seconds until the deadline.

        Raises:
            DeadlineExceeded: the deadline is over; the error has ``fields``.
        """
        left = self._deadline - time.perf_counter()
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
        if time.perf_counter() + delay > self._deadline:
            raise error
        self._delay = min(2 * self._delay, _LONGEST_DELAY)
        return delay


def find_codec(
    settings: Settings, transport: Transport, model: str, patience: Patience
) -> Codec[Any, Any]:
    """The codec of ``model``, a model on the server; the server is asked once.

    Raises:
        InputError: there is no such model, or its tracker is not installed here.
        ServerError: the server does not answer.
    """
    if not isinstance(model, str) or not model.isprintable():
        raise InputError("the name of a model is a printable text", found=repr(model)[:80])
    while model not in settings.codecs:
        try:
            parameters = transport.parameters(model, patience.left(model=model))
        except ServerError as error:
            time.sleep(patience.retry_after(error))
            continue
        tracker = tracker_of(parameters, model=model, url=settings.url)
        settings.codecs[model] = tracker.codec
    return settings.codecs[model]


class Exchange:
    """The requests of one event, with their deadline, retries and times.

    Args:
        settings: settings of the client.
        task: the work to do on the event.
        event: event to reconstruct.
        patience: deadline of the event.
        timed: whether to ask the server for its times, even if ``settings`` do not need them.

    Raises:
        MalformedEvent: the event is of another kind or malformed.
        InputError: a part is unknown.
    """

    def __init__(
        self,
        settings: Settings,
        task: Task,
        event: Any,
        patience: Patience,
        timed: bool = False,
    ) -> None:
        self.codec = task.codec
        self._patience = patience
        self._settings = settings
        self._keep = task.keep
        self._timed = timed or settings.on_timings is not None
        self._sent = 0.0
        self.queue = 0.0
        self.round_trip = 0.0
        self.compute = 0.0
        names = task.codec.output_names(task.keep)
        if self._timed:
            names.append(TIMING.name)
        self.request = Request(task.model, task.codec.encode_event(event), names)
        self._event = int(event.event)

    def send(self) -> float:
        """Note that the request is sent now; return the seconds that it may take.

        Raises:
            DeadlineExceeded: no time is left.
        """
        self._sent = time.perf_counter()
        return self._patience.left(event=self._event)

    def retry_after(self, error: ServerError) -> float:
        """Seconds to wait before the next try; see :meth:`Patience.retry_after`."""
        return self._patience.retry_after(error)

    def result(self, tensors: Tensors, arrived: float | None = None) -> Any:
        """The result in a reply that arrived at ``arrived`` (by default now).

        Raises:
            ServerError: the reply is malformed.
        """
        self.round_trip = (arrived or time.perf_counter()) - self._sent
        self._settings.answered = True
        try:
            result = self.codec.decode_result(tensors, self._event, self._keep)
            if self._timed:
                self.queue, self.compute = decode_timing(tensors, TIMING)
        except InputError as error:
            raise ServerError(error.message, url=self._settings.url, **error.fields) from error
        return result

    def handed_out(self) -> None:
        """Note that the user has the result now, and report its times."""
        if self._settings.on_timings is None:
            return
        total = time.perf_counter() - self._patience.begin
        network = self.round_trip - self.queue - self.compute
        client = total - self.round_trip
        self._settings.on_timings(
            Timings(self._event, total, client, network, self.queue, self.compute)
        )


def bundled(exchanges: Sequence[Exchange]) -> Request:
    """One request for several exchanges, which have the same task."""
    first = exchanges[0].request
    if len(exchanges) == 1:
        return first
    bundle = join_events([exchange.request.inputs for exchange in exchanges], first.outputs)
    return Request(first.model, {BUNDLE.name: bundle}, [BUNDLE.name])


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


def connect(url: str, transport: str) -> Transport:
    """A transport to the server at ``url``.

    Raises:
        InputError: a malformed url, or a transport that does not exist or does not fit it.
    """
    address = parse_url(url)
    if transport not in TRANSPORTS:
        raise InputError("unknown transport", found=transport, bound=list(TRANSPORTS))
    if transport == "auto":
        transport = "shm" if address.scheme == "grpc" and address.is_loopback else address.scheme
    if (transport == "http") != (address.scheme == "http"):
        raise InputError("the transport does not fit the url", found=transport, url=url)
    if transport == "http":
        return HttpTransport(address)
    if transport == "shm":
        return SharedMemoryTransport(address)
    return GrpcTransport(address)
