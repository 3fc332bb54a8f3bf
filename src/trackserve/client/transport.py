"""What a transport does: carry named tensors to a model and its answer back."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple, Protocol

from trackserve.edm.columns import Array
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
    TrackserveError,
    decode,
)

Tensors = dict[str, Array]


class Request(NamedTuple):
    """One inference: the model, its input tensors and the outputs to return."""

    model: str
    inputs: Tensors
    outputs: list[str]


class Call(Future[Tensors]):
    """A request in flight; cancelling it gives it up on the server too."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = 0.0
        """When the answer was there, by :func:`time.perf_counter`."""
        self.give_up: Callable[[], object] = lambda: None

    def cancel(self) -> bool:
        cancelled = super().cancel()
        if cancelled:
            self.give_up()
        return cancelled

    def settle(self, answer: Tensors | TrackserveError) -> None:
        """End the call; without effect once it is cancelled."""
        self.arrived = time.perf_counter()
        if not self.set_running_or_notify_cancel():
            return
        if isinstance(answer, TrackserveError):
            self.set_exception(answer)
        else:
            self.set_result(answer)


class Transport(Protocol):
    """A connection to one server, for any number of threads.

    Every failure is one of our errors: ``call`` raises it, the call that ``submit`` returns
    holds it. After ``close``, which ends all calls, it is :class:`Cancelled`.
    """

    @property
    def name(self) -> str:
        """What carries the tensors: ``"grpc"``, ``"http"`` or ``"shm"``."""

    def call(self, request: Request, timeout: float) -> Tensors:
        """The answer to ``request``, within ``timeout`` seconds."""

    def submit(self, request: Request, timeout: float) -> Call:
        """Start a request; does not block."""

    def parameters(self, model: str, timeout: float) -> dict[str, str]:
        """The parameters in the configuration of ``model``, within ``timeout`` seconds."""

    def ready(self, timeout: float) -> bool:
        """Whether the server answers and has loaded its models."""

    def close(self) -> None:
        """End all calls and let go of the connection and what it holds on the server."""


_KINDS: dict[str, type[TrackserveError]] = {
    "CANCELLED": Cancelled,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INVALID_ARGUMENT": InputError,
    "NOT_FOUND": ServerUnavailable,  # the model is not loaded any more
    "UNAVAILABLE": ServerUnavailable,
}
_KINDS_BY_TEXT: dict[str, type[TrackserveError]] = {
    "Exceeds maximum queue size": ServerBusy,
    "' is not found": InputError,  # there has never been such a model
    "is not healthy": ServerUnavailable,  # the backend died, and will be loaded again
}


def failure(text: str, status: str, url: str) -> TrackserveError:
    """The error for a status and text of Triton or gRPC: ours, where the text holds one."""
    kinds = [kind for part, kind in _KINDS_BY_TEXT.items() if part in text]
    kind = kinds[0] if kinds else _KINDS.get(status, ServerError)
    return decode(text) or kind(text, url=url, status=status)


def closed(url: str) -> Cancelled:
    """The error of a call to a closed client."""
    return Cancelled("the client is closed", url=url)
