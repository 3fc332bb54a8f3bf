"""One model on one server of many: what is known of it, and what is in flight to it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from trackserve.errors import (
    Cancelled,
    IdentityMismatch,
    InputError,
    ServerBusy,
    ServerUnavailable,
    TrackserveError,
    WireMismatch,
)
from trackserve.wire import version
from trackserve.wire.codec import IDENTITY
from trackserve.wire.identity import is_same
from trackserve.wire.tensors import Tensors, checked
from trackserve.wire.version import WIRE_PARAMETER

from .served import ServedModel, served_model
from .transport import ModelConfig, Request, Transport

if TYPE_CHECKING:
    from .routed import RoutedCall

SMOOTHING = 0.25
"""Weight of the latest time of a request in the mean."""
_FRESH = 5.0
"""Seconds for which the speed of a server is known after it has answered its last request."""
_STALL = 1.0
"""Seconds without an answer after which a server with requests in flight has stalled, at least."""
_STALL_AT_FIRST = 10.0
"""The same before its first answer, when nothing is known of its speed."""
_USUAL_TIMES = 2.0
"""The same in units of the usual time of such a request."""
_SMALLEST = 1 << 16
"""Bytes of a request that costs as much as one without any."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two probes of a server that is set aside; each pause is twice the last one."""
_FOREIGN_PAUSE = 5.0
"""Seconds until a server that has another identity is asked again."""
_ASK_TIMEOUT, _PROBE_TIMEOUT = 3.0, 30.0
"""Seconds for a server to describe a model, and to answer a tiny request, which may queue."""


class State(Enum):
    """What is known of a model on a server."""

    NEW = "not asked yet"
    USABLE = "usable"
    ASIDE = "set aside"
    LACKING = "without the model"


class Connection:
    """A transport to a server, and the number of requests in flight on it."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self.in_flight = 0
        self.retired = False
        self.is_lost = False
        """Whether nothing comes back on it, though its server may be alive."""

    def close_if_idle(self) -> None:
        """Close a retired connection that nobody uses; do not wait."""
        if self.retired and not self.in_flight:
            threading.Thread(target=self.transport.close, daemon=True).start()


class Server:
    """A server among many.

    Args:
        url: its url; empty: it is this process.
        open: makes a new connection to it.
    """

    def __init__(self, url: str, open: Callable[[], Transport]) -> None:
        self.url = url
        self.backlog = 0.0
        """Seconds that the server is expected to need for what is in flight."""
        self.in_flight = 0
        self._open = open
        self.connection = Connection(open())

    def renew(self) -> None:
        """Use a new connection from now on; what is in flight stays on the old one."""
        old = self.connection
        self.connection = Connection(self._open())
        old.retired = True
        old.close_if_idle()

    def retire(self) -> None:
        """Use the server no more; what is in flight may end."""
        self.connection.retired = True
        self.connection.close_if_idle()


class Attempt:
    """A request in flight on a lane.

    Args:
        routed: the call that it is a try of.
        lane: the lane.
        request: the request.
    """

    def __init__(self, routed: RoutedCall, lane: Lane, request: Request) -> None:
        self.routed = routed
        self.lane = lane
        self.connection = lane.server.connection
        self.weight = weight_of(request)
        self.cost = 0.0
        self.ahead = 0.0
        self.sent = 0.0
        self.is_given_up = False
        """Whether the request was sent to another server too, because this one stalled."""


class Lane:
    """A model on a server.

    The pool calls all methods but :meth:`ask` with its lock held.

    Args:
        server: the server.
        model: name of the model.
    """

    def __init__(self, server: Server, model: str) -> None:
        self.server = server
        self.model = model
        self.state = State.NEW
        self.config: ModelConfig | None = None
        self.served: ServedModel | None = None
        self.identity = ""
        self.error: TrackserveError | None = None
        """Why the lane is not usable."""
        self.is_foreign = False
        """Whether it was reported that it has another identity."""
        self.attempts: dict[Attempt, None] = {}
        self.is_asked = False
        """Whether a probe is on its way."""
        self.next_probe = 0.0
        self.was_aside = False
        """Whether it was set aside before."""
        self._pause = _FIRST_PAUSE
        self._heard = 0.0
        self._seconds: float | None = None
        """Seconds of the server's work per byte of a request."""
        self._round_trip: float | None = None
        """Seconds from request to answer per byte."""

    # choice

    def offers(self, request: Request) -> bool:
        """Whether the model has all tensors of a request."""
        config = self.config
        return config is None or (
            all(name in config.inputs for name in request.inputs)
            and all(name in config.outputs for name in request.outputs)
        )

    def fits(self, identity: str) -> bool:
        """Whether the model may answer a request that expects ``identity``; empty: any."""
        return not identity or (bool(self.identity) and is_same(identity, self.identity))

    def speed(self) -> float | None:
        """Seconds of work per byte; None if it is not known, or not any more."""
        is_idle = not self.server.in_flight and time.monotonic() - self._heard > _FRESH
        return None if is_idle else self._seconds

    # what is in flight

    def begin(self, attempt: Attempt, usual: float) -> None:
        """A request is about to be sent.

        Args:
            attempt: the request.
            usual: seconds of work per byte where this server's are not known.
        """
        seconds = self.speed()
        attempt.cost = attempt.weight * (usual if seconds is None else seconds)
        attempt.ahead = self.server.backlog
        attempt.sent = time.monotonic()
        self.attempts[attempt] = None
        self.server.backlog += attempt.cost
        self.server.in_flight += 1
        attempt.connection.in_flight += 1

    def end(self, attempt: Attempt, answered: bool) -> None:
        """A request has ended; ``answered``: with an answer to its event."""
        del self.attempts[attempt]
        server = self.server
        server.in_flight -= 1
        server.backlog = server.backlog - attempt.cost if server.in_flight else 0.0
        attempt.connection.in_flight -= 1
        attempt.connection.close_if_idle()
        if answered:
            self._learn(attempt)

    def _learn(self, attempt: Attempt) -> None:
        """Learn from the time of an answer.

        By Little's law the share of a request in its round trip is its share of the work that was
        in flight when it was sent, whatever the number of the server's workers.
        """
        now = time.monotonic()
        took = now - attempt.sent
        share = took * attempt.cost / (attempt.ahead + attempt.cost)
        self._seconds = _mean(self.speed(), share / attempt.weight)
        self._round_trip = _mean(self._round_trip, took / attempt.weight)
        self._heard = now

    def has_stalled(self, awake: float) -> bool:
        """Whether the server has answered nothing for too long.

        Args:
            awake: time since which this process can have noticed an answer.
        """
        waiting = next((a for a in self.attempts if not a.is_given_up), None)
        if waiting is None or not self.server.url:
            return False
        usual = self._round_trip
        limit = max(_STALL, _STALL_AT_FIRST if usual is None else 0.0)
        if usual is not None:
            limit = max(limit, _USUAL_TIMES * usual * waiting.weight)
        return time.monotonic() - max(waiting.sent, self._heard, awake) > limit

    # health

    def set_aside(self, error: TrackserveError) -> bool:
        """Send no requests until a probe is answered; return whether some were sent before."""
        was_usable = self.state is State.USABLE
        self.was_aside = self.was_aside or was_usable
        self.state = State.LACKING if isinstance(error, InputError) else State.ASIDE
        self.error = error
        self._seconds = None
        if was_usable:
            self._pause = _FIRST_PAUSE
            self.next_probe = time.monotonic()
        else:
            self.next_probe = time.monotonic() + self._pause * random.uniform(0.5, 1.5)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return was_usable

    def use(self, config: ModelConfig, served: ServedModel, identity: str) -> bool:
        """Send requests from now on; return whether none were sent before."""
        was_usable = self.state is State.USABLE
        if identity != self.identity:
            self.is_foreign = False
        self.config, self.served, self.identity = config, served, identity
        self.state, self.error = State.USABLE, None
        self._heard = time.monotonic()
        self._pause = _FIRST_PAUSE
        self.next_probe = float("inf")
        return not was_usable

    def refuse(self) -> bool:
        """The server has another identity; ask again later. Return whether that is news."""
        news, self.is_foreign = not self.is_foreign, True
        self.next_probe = time.monotonic() + _FOREIGN_PAUSE
        return news

    def ask(self, connection: Connection) -> tuple[ModelConfig, ServedModel, str]:
        """Ask the server what the model is, and for the answer to a tiny event.

        Returns:
            configuration, model and text of its identity; empty if it does not say it.

        Raises:
            TrackserveError: the model does not answer.
        """
        config = connection.transport.config(self.model, _ASK_TIMEOUT)
        served = served_model(config, self.model, self.server.url)
        codec = served.tracker.codec
        outputs = codec.output_names()
        if served.has_identity:
            outputs.append(IDENTITY.name)
        event = codec.encode_event(served.tracker.example())
        request = Request(self.model, event, outputs, {WIRE_PARAMETER: version.WIRE})
        with suppress(ServerBusy):  # busy, and so alive
            tensors = connection.transport.call(request, _PROBE_TIMEOUT)
            return config, served, _identity(tensors)
        if served.has_identity and not self.identity:
            raise ServerBusy("the server is busy", url=self.server.url)
        return config, served, self.identity


def _identity(tensors: Tensors) -> str:
    if IDENTITY.name not in tensors:
        return ""
    return checked(tensors, IDENTITY).tobytes().decode(errors="replace")


def _mean(mean: float | None, value: float) -> float:
    return value if mean is None else mean + SMOOTHING * (value - mean)


def weight_of(request: Request) -> int:
    """The size of a request, which its work goes with: bytes of its inputs, at least 64 KiB."""
    size: int = sum(array.nbytes for array in request.inputs.values())
    return max(_SMALLEST, size)


def is_for_another(error: TrackserveError) -> bool:
    """Whether another server may answer a request that has failed with ``error`` on one.

    Its event may be good, and the server may be busy, gone, without the model or of another
    identity or version.
    """
    if isinstance(error, InputError):
        return error.fields.get("status") == "NOT_FOUND"
    return isinstance(error, _ELSEWHERE)


_ELSEWHERE = (ServerBusy, ServerUnavailable, IdentityMismatch, WireMismatch, Cancelled)
