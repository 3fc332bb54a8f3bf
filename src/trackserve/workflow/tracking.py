"""Tracking as a module of a job, in three ways: here, on an attached device, and served."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from trackserve.client import Client, Recipe, keep_freed_memory
from trackserve.trackers.base import Pipeline, Tracker
from trackserve.wire.identity import UNCHECKED

from .job import EVENT
from .module import ExternalModule, Module

_SENDERS = 4
"""Events that wait for an attached device at the same time."""


class Way(NamedTuple):
    """The place where tracking runs.

    Attributes:
        device: device of this machine.
        url: address of the server, or of several as a client takes them; None: this machine.
        served: name of the model on the server; None: the tracker's name.
        identity: identity that the model must have; None: that of the options.
        fallback: whether this machine reconstructs while no server can.
    """

    device: str = "cpu"
    url: str | None = None
    served: str | None = None
    identity: str | None = None
    fallback: bool = False


def tracking(
    name: str, tracker: Tracker[Any, Any], options: Mapping[str, str], events: Any, way: Way
) -> Module:
    """A module whose product, of its own name, is a tracker's result of the event.

    Args:
        name: name of the module.
        tracker: the tracker.
        options: values by name of option.
        events: what will be reconstructed, as the tracker opens it.
        way: where it runs.

    Raises:
        TrackserveError: the pipeline cannot be built, or the url is malformed.
    """
    if way.url is not None:
        return Served(name, tracker, options, events, way)
    pipeline = tracker.build(options, device=way.device, events=events)
    return (Here if way.device == "cpu" else Attached)(name, pipeline)


class _ByPipeline(Module):
    """Tracking by a pipeline of this process."""

    inputs = (EVENT,)

    def __init__(self, name: str, pipeline: Pipeline[Any, Any]) -> None:
        self.name = name
        self.outputs = (name,)
        self.identity = str(pipeline.identity)
        self._pipeline = pipeline

    def begin(self) -> None:
        self._pipeline.warm_up()


class Here(_ByPipeline):
    """Tracking by a thread of the job."""

    def produce(self, event: Any) -> Any:
        return self._pipeline.reconstruct(event)


class Attached(_ByPipeline, ExternalModule):
    """Tracking on a device of this machine, for which other threads than the job's wait."""

    def begin(self) -> None:
        super().begin()
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix=self.name)

    def end(self) -> None:
        if hasattr(self, "_senders"):
            self._senders.shutdown(wait=False, cancel_futures=True)

    def acquire(self, event: Any) -> Future[Any]:
        return self._senders.submit(self._pipeline.reconstruct, event)

    def produce(self, answer: Any, event: Any) -> Any:
        return answer


class Served(ExternalModule):
    """Tracking by a server, or by many."""

    inputs = (EVENT,)

    def __init__(
        self,
        name: str,
        tracker: Tracker[Any, Any],
        options: Mapping[str, str],
        events: Any,
        way: Way,
    ) -> None:
        self.name = name
        self.outputs = (name,)
        self._model = way.served or tracker.name
        own = None if way.identity is not None else tracker.identity(options, events=events)
        self.identity = way.identity or str(own or "")
        recipe = Recipe(tracker, options, events)
        self._fallback = {self._model: recipe} if way.fallback else None
        self._url = way.url or ""
        self._client: Client | None = None

    def begin(self) -> None:
        """Connect.

        Raises:
            IdentityMismatch: the model has another identity.
            ServerError: the server does not answer.
        """
        keep_freed_memory()
        self._client = Client(self._url, fallback=self._fallback)
        if self.identity != UNCHECKED:
            self.identity = self._client.identify(self._model, self.identity or None)

    def end(self) -> None:
        if self._client is not None:
            self._client.close()

    def acquire(self, event: Any) -> Future[Any]:
        assert self._client is not None
        return self._client.submit(self._model, event, identity=self.identity)

    def produce(self, answer: Any, event: Any) -> Any:
        return answer
