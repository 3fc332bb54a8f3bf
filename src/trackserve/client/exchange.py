"""One event's way to the server and back: what both clients share."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from trackserve.errors import (
    DeadlineExceeded,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
)
from trackserve.wire import Event, Result, codec_of
from trackserve.wire.address import parse_url
from trackserve.wire.bundle import (
    BUNDLE,
    Answers,
    join_requests,
    split_answers,
)
from trackserve.wire.tensors import decode_timing

from .grpc import GrpcTransport
from .http import HttpTransport
from .shared_memory import SharedMemoryTransport
from .transport import Request, Tensors, Transport

_FIRST_DELAY = 0.01
_LONGEST_DELAY = 1.0

TRANSPORTS = ("auto", "grpc", "http", "shm")


class Timings(NamedTuple):
    """Where the time of one event went, seconds; the four parts add up to ``total``."""

    event: int
    total: float
    """From the event to its result, in the user's hands."""
    client: float
    """Encoding and decoding, delays before retries; in a stream also waiting to be handed out."""
    network: float
    """The way there and back, Triton's own part and copies included."""
    queue: float
    """Waiting for a worker in the server."""
    compute: float
    """Work of that worker on the event."""


OnTimings = Callable[[Timings], object]


@dataclass
class Settings:
    """How a client behaves; the arguments of :class:`trackserve.client.Client`."""

    url: str
    timeout: float
    retry: bool
    on_timings: OnTimings | None
    answered: bool = False
    """Whether the server has answered this client before."""
    compute: dict[str, float] = field(default_factory=dict)
    """Seconds that the server lately took for an event, by model."""


class Exchange:
    """One event's requests, deadline, retries and times.

    Args:
        settings: the client's.
        model: name of the model on the server.
        event: what to reconstruct; its type tells the kind of model.
        keep: parts to return as well.
        timeout: seconds from now; None takes the client's.
        timed: ask the server for its times, whoever wants them.

    Raises:
        InputError: no model takes such an event, it is malformed, or unknown part.
    """

    def __init__(
        self,
        settings: Settings,
        model: str,
        event: Event,
        keep: Collection[str],
        timeout: float | None,
        timed: bool = False,
    ) -> None:
        self._begin = time.perf_counter()
        self.codec = codec_of(event)
        self._settings = settings
        self._event = event.event
        self._keep = keep
        self._timed = timed or settings.on_timings is not None
        self._timeout = settings.timeout if timeout is None else timeout
        self._deadline = self._begin + self._timeout
        self._delay = _FIRST_DELAY
        self._sent = 0.0
        self.queue = 0.0
        self.round_trip = 0.0
        self.compute = 0.0
        names = self.codec.output_names(keep)
        if self._timed:
            names.append(self.codec.TIMING.name)
        self.request = Request(model, self.codec.encode_event(event), names)

    def send(self) -> float:
        """Note that the request goes out now; seconds that it may take.

        Raises:
            DeadlineExceeded: none are left.
        """
        self._sent = time.perf_counter()
        left = self._deadline - self._sent
        if left <= 0:
            raise DeadlineExceeded(f"no result after {self._timeout:g} s", event=self._event)
        return left

    def retry_after(self, error: ServerError) -> float:
        """Seconds to wait before the next try; raises ``error`` if there is to be none.

        A busy server is asked again until the deadline; so is one that has answered before
        and is gone now, since it may be starting again.
        """
        come_back = isinstance(error, ServerUnavailable) and self._settings.answered
        if not self._settings.retry or not (isinstance(error, ServerBusy) or come_back):
            raise error
        delay = self._delay * random.uniform(0.5, 1.5)
        if time.perf_counter() + delay > self._deadline:
            raise error
        self._delay = min(2 * self._delay, _LONGEST_DELAY)
        return delay

    def result(self, tensors: Tensors, arrived: float | None = None) -> Result:
        """The result in the reply that came at ``arrived`` (by default now).

        Raises:
            ServerError: the reply is malformed.
        """
        self.round_trip = (arrived or time.perf_counter()) - self._sent
        self._settings.answered = True
        try:
            result: Result = self.codec.decode_result(tensors, self._event, self._keep)
            if self._timed:
                self.queue, self.compute = decode_timing(tensors, self.codec.TIMING)
        except InputError as error:
            raise ServerError(error.message, url=self._settings.url, **error.fields) from error
        return result

    def handed_out(self) -> None:
        """Note that the user has the result now: tell the times."""
        if self._settings.on_timings is None:
            return
        total = time.perf_counter() - self._begin
        network = self.round_trip - self.queue - self.compute
        client = total - self.round_trip
        self._settings.on_timings(
            Timings(self._event, total, client, network, self.queue, self.compute)
        )


def bundled(exchanges: Sequence[Exchange]) -> Request:
    """One request of several exchanges with the same model and outputs."""
    first = exchanges[0].request
    if len(exchanges) == 1:
        return first
    bundle = join_requests([exchange.request.inputs for exchange in exchanges], first.outputs)
    return Request(first.model, {BUNDLE.name: bundle}, [BUNDLE.name])


def unbundled(exchanges: Sequence[Exchange], tensors: Tensors) -> Answers:
    """What the reply to that request holds for each.

    Raises:
        ServerError: the reply is malformed.
    """
    if len(exchanges) == 1:
        return Answers([tensors], 1)
    try:
        return split_answers(tensors, exchanges[0].codec.OUTPUTS, len(exchanges))
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
