"""The interface of a transport: it carries named tensors to a model, and the outputs back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from trackserve.errors import (
    AccessDenied,
    Cancelled,
    DeadlineExceeded,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
    TrackserveError,
    decode,
)
from trackserve.wire.bundle import BUNDLE
from trackserve.wire.tensors import Pieces, Tensors

CONNECT_TIMEOUT = 5.0
"""Seconds. A client that is closed waits for its attempts to connect."""


def time_left(deadline: float) -> float:
    """Seconds until ``deadline``, by :func:`time.monotonic`.

    Raises:
        TimeoutError: there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def socket_timeout(deadline: float) -> float | None:
    """:func:`time_left` as a socket takes it: None if there is no deadline."""
    left = time_left(deadline)
    return None if left == math.inf else left


class Request(NamedTuple):
    """A request to Triton.

    Attributes:
        model: name of the model.
        inputs: its input tensors. That of a bundle may be :class:`Pieces`.
        outputs: names of the outputs to return.
        parameters: parameters of the request, by name.
        id: its id, which the logs of servers and of a front have.
    """

    model: str
    inputs: dict[str, Any]
    outputs: list[str]
    parameters: Mapping[str, str] = MappingProxyType({})
    id: str = ""

    def whole(self) -> Request:
        """The request with its bundle as one array, if it is in pieces."""
        bundle = self.inputs.get(BUNDLE.name)
        if not isinstance(bundle, Pieces):
            return self
        return self._replace(inputs={BUNDLE.name: bundle.join()})


class ModelConfig(NamedTuple):
    """The configuration of a model on the server.

    Attributes:
        parameters: its parameters, by name; none if the server knows no parameters.
        outputs: names of its outputs.
        inputs: names of its inputs.
    """

    parameters: dict[str, str]
    outputs: list[str]
    inputs: Sequence[str] = ()


class Via(NamedTuple):
    """The way of a request to its answer, where it could be answered by one of many.

    Attributes:
        server: url of the server; empty: this process, or none.
        tries: number of servers that had the request.
        is_fallback: whether this process answered because no server could.
        identity: text of the identity of the model there; empty if it is not known.
    """

    server: str
    tries: int
    is_fallback: bool = False
    identity: str = ""


class Call(Future[Tensors]):
    """A request in flight; if it is cancelled, the server gives it up too."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0.0
        """Time of the reply, by :func:`time.perf_counter`."""
        self.via: Via | None = None
        """The way of the request; None: there is only one server."""
        self._give_up: Callable[[], object] | None = None

    def on_cancel(self, give_up: Callable[[], object]) -> None:
        """Set what tells the server that the call was cancelled; nothing does after its end."""
        self._give_up = give_up
        if self.cancelled():
            give_up()
        if self.done():
            self._give_up = None

    def cancel(self) -> bool:
        """Give the request up; return whether it had not ended."""
        cancelled = super().cancel()
        give_up = self._give_up
        if cancelled and give_up is not None:
            give_up()
        return cancelled

    def settle(self, reply: Tensors | TrackserveError) -> None:
        """End the call with its output tensors or its error; a cancelled call stays cancelled."""
        self.arrived = time.perf_counter()
        self._give_up = None  # it may refer to the call, whose answer would stay in memory
        if not self.set_running_or_notify_cancel():
            return
        if isinstance(reply, TrackserveError):
            self.set_exception(reply)
        else:
            self.set_result(reply)


class Transport(Protocol):
    """A connection to one server, for any number of threads.

    Every failure is a :class:`TrackserveError`. :meth:`call` raises it; the :class:`Call` that
    :meth:`submit` returns has it. :meth:`close` ends all calls; after it every call fails with
    :class:`Cancelled`. A timeout of infinity is no deadline.
    """

    @property
    def name(self) -> str:
        """Name of the transport: ``"grpc"``, ``"http"`` or ``"shm"``."""

    def call(self, request: Request, timeout: float) -> Tensors:
        """The output tensors for ``request``, within ``timeout`` seconds."""

    def submit(self, request: Request, timeout: float) -> Call:
        """Start a request; does not block."""

    def config(self, model: str, timeout: float) -> ModelConfig:
        """The configuration of ``model``, within ``timeout`` seconds."""

    def models(self, timeout: float) -> list[str]:
        """Names of the models that are loaded, within ``timeout`` seconds."""

    def ready(self, timeout: float) -> bool:
        """Whether the server answers and has loaded its models."""

    def close(self) -> None:
        """End all calls, and close the connection and all that it has on the server."""


LOST_REGION = "Unable to find shared memory region"
"""Text of Triton's error where it does not know a region."""
_KINDS: dict[str, type[TrackserveError]] = {
    "CANCELLED": Cancelled,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INVALID_ARGUMENT": InputError,
    "UNAUTHENTICATED": AccessDenied,
    "PERMISSION_DENIED": AccessDenied,
    "NOT_FOUND": ServerUnavailable,  # the model is not loaded any more
    "UNAVAILABLE": ServerUnavailable,
}
_KINDS_BY_TEXT: dict[str, type[TrackserveError]] = {
    "Exceeds maximum queue size": ServerBusy,
    "' is not found": InputError,  # there has never been such a model
    "is not healthy": ServerUnavailable,  # the backend died, and will be loaded again
    LOST_REGION: ServerError,  # the server was started anew; the request may go without it
    "This protocol is restricted": AccessDenied,  # gRPC says UNAVAILABLE
}


def failure(text: str, *, status: str, url: str) -> TrackserveError:
    """The error for a text and status of Triton or gRPC; if the text has one of ours, that one."""
    kinds = [kind for part, kind in _KINDS_BY_TEXT.items() if part in text]
    kind = kinds[0] if kinds else _KINDS.get(status, ServerError)
    return decode(text) or kind(text, url=url, status=status)


def closed(url: str) -> Cancelled:
    """The error of a call to a closed client."""
    return Cancelled("the client is closed", url=url)
