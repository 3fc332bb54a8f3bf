"""The same pipelines in this process, for when no server can answer."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from trackserve.errors import IdentityMismatch, InputError, MissingExtraError, TrackserveError
from trackserve.install import install_command
from trackserve.serving.backend.gather import Gather
from trackserve.serving.backend.metrics import Counters
from trackserve.serving.backend.runtime import (
    Answer,
    EncodedEvent,
    EncodedResult,
    Job,
    JobQueue,
    Runtime,
    cores,
)
from trackserve.serving.backend.tracker import run
from trackserve.serving.limits import Limits
from trackserve.trackers.base import Pipeline, Tracker
from trackserve.trackers.registry import find_tracker
from trackserve.wire.bundle import BUNDLE, split_events
from trackserve.wire.identity import (
    IDENTITY_PARAMETER,
    TRACKER_PARAMETER,
    UNCHECKED,
    Identity,
    check_identity,
)
from trackserve.wire.tensors import Tensors

from .transport import Call, ModelConfig, Request, closed

LOCAL = "local"
"""What a client takes as ``fallback`` for pipelines with the default options."""


class Recipe(NamedTuple):
    """How a pipeline is built.

    Attributes:
        tracker: its tracker.
        options: values by name of option.
        events: events whose directory may have its data, as the tracker opens them.
    """

    tracker: Tracker[Any, Any]
    options: Mapping[str, str]
    events: Any = None

    def check(self) -> Identity:
        """The identity of the pipeline, which can be built here.

        Raises:
            MissingExtraError: a package is missing; the error names the extra that brings it.
            InputError: the data of the pipeline are not here.
        """
        for module in self.tracker.modules:
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise MissingExtraError(
                    f"fallback needs the tracker's packages: {install_command(self.tracker.extra)}",
                    tracker=self.tracker.name,
                    reason=str(error),
                ) from error
        found = self.tracker.identity(self.options, events=self.events)
        if found is None:
            stored = [option.name for option in self.tracker.options if option.stored]
            raise InputError(
                "fallback needs the data of the model, as in fallback={MODEL: {OPTION: DIR}}",
                tracker=self.tracker.name,
                bound=stored,
            )
        return found

    def build(self) -> Pipeline[Any, Any]:
        """The pipeline."""
        return self.tracker.build(self.options, events=self.events)


Fallback = str | Mapping[str, Mapping[str, str] | Recipe]
"""What a client takes as ``fallback``: :data:`LOCAL`, or for each model the options of its
tracker."""


class _Workers(NamedTuple):
    """A pipeline at work."""

    codec: Any
    runtime: Runtime


class Local:
    """A :class:`.transport.Transport` to pipelines in this process, for the models in ``fallback``.

    A pipeline is built when its model is first needed. It works as in a server, on all cores that
    this process may use, behind a bounded queue.

    Raises:
        InputError: ``fallback`` is neither "local" nor a mapping.
    """

    name = "here"

    def __init__(self, fallback: Fallback) -> None:
        if fallback != LOCAL and not isinstance(fallback, Mapping):
            bound = f"{LOCAL!r}, or options by name of model"
            raise InputError("no such fallback", found=repr(fallback)[:80], bound=bound)
        self._given = fallback
        self._lock = threading.Lock()
        self._identities: dict[str, tuple[Recipe, str]] = {}
        self._workers: dict[str, _Workers] = {}
        self._closed = False

    def add(self, model: str, tracker: Tracker[Any, Any]) -> str:
        """Text of the identity of the pipeline for a model; empty if there is none.

        Raises:
            MissingExtraError, InputError: as of :meth:`Recipe.check`.
        """
        with self._lock:
            if model not in self._identities:
                if isinstance(self._given, str):
                    recipe = Recipe(tracker, {})
                elif model in self._given:
                    given = self._given[model]
                    recipe = given if isinstance(given, Recipe) else Recipe(tracker, given)
                else:
                    return ""
                self._identities[model] = recipe, str(recipe.check())
            return self._identities[model][1]

    def fits(self, model: str, expected: str) -> bool:
        """Whether a request for ``model`` that expects this identity, or any, is answered here."""
        if model not in self._identities:
            return False
        try:
            check_identity(expected or self._identities[model][1], self._identities[model][1])
        except IdentityMismatch:
            return False
        return True

    def identity(self, model: str) -> str:
        """Text of the identity of a model that :meth:`add` has added."""
        return self._identities[model][1]

    def call(self, request: Request, timeout: float) -> Tensors:
        return self.submit(request, timeout).result(timeout)

    def submit(self, request: Request, timeout: float) -> Call:
        call = Call()

        def send(answer: Answer) -> None:
            call.settle(answer.tensors if isinstance(answer, EncodedResult) else answer)

        threading.Thread(target=self._start, args=(request, call, send), daemon=True).start()
        return call

    def config(self, model: str, timeout: float = 0.0) -> ModelConfig:
        """The configuration that a server of the same pipeline has."""
        tracker = self._tracker(model)
        codec = tracker.codec
        return ModelConfig(
            {TRACKER_PARAMETER: tracker.name},
            [spec.name for spec in (*codec.outputs, BUNDLE)],
            [spec.name for spec in (*codec.inputs, BUNDLE)],
        )

    def models(self, timeout: float) -> list[str]:
        return sorted(self._identities)

    def ready(self, timeout: float) -> bool:
        return True

    def close(self) -> None:
        with self._lock:
            self._closed = True
            workers = list(self._workers.values())
        for one in workers:
            threading.Thread(target=one.runtime.close, daemon=True).start()

    def _tracker(self, model: str) -> Tracker[Any, Any]:
        if model in self._identities:
            return self._identities[model][0].tracker
        return find_tracker(model)

    def _start(self, request: Request, call: Call, send: Callable[[Answer], None]) -> None:
        """Hand a request to the workers, which may have to be made first."""
        try:
            codec, runtime = self._find(request.model)
            expected = request.parameters.get(IDENTITY_PARAMETER, UNCHECKED)
            if expected != UNCHECKED:
                check_identity(expected, self.identity(request.model), model=request.model)
            events, outputs, put = [request.inputs], list(request.outputs), [send]
            if BUNDLE.name in request.inputs:
                whole = request.whole().inputs
                events, outputs, _ = split_events(whole, codec.inputs, codec.outputs)
                gather = Gather(len(events), runtime.at_a_time, send)
                put = [partial(gather.put, place) for place in range(len(events))]
        except TrackserveError as error:
            send(error)
            return
        except Exception as error:  # or nobody would ever learn of it
            send(TrackserveError(f"the pipeline cannot be built: {error!r}", model=request.model))
            return
        for tensors, give in zip(events, put, strict=True):
            refusal = runtime.reserve()
            if refusal is None:
                runtime.submit(Job(EncodedEvent(tensors, outputs), give, call.cancelled))
            else:
                give(refusal)

    def _find(self, model: str) -> _Workers:
        with self._lock:
            if self._closed:
                raise closed("this process")
            if model not in self._workers:
                recipe = self._identities[model][0]
                pipeline, codec = recipe.build(), recipe.tracker.codec
                runtime = Runtime(JobQueue(Limits()), Counters())
                runtime.add_workers(lambda: partial(run, pipeline, codec), cores())
                self._workers[model] = _Workers(codec, runtime)
            return self._workers[model]
