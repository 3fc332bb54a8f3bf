"""The backend of every model, behind Triton's Python backend.

It turns requests into jobs, and answers into responses. Each instance of a model has a process of
its own. Triton loads :class:`TritonPythonModel` there, and ``triton_python_backend_utils`` exists
only there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from trackserve.device.heap import keep_freed_memory
from trackserve.edm.columns import Array
from trackserve.errors import (
    Cancelled,
    EventError,
    IdentityMismatch,
    InputError,
    MalformedEvent,
    ServerBusy,
    TrackserveError,
    encode,
)
from trackserve.trackers.registry import tracker_of
from trackserve.wire.bundle import BUNDLE, split_events
from trackserve.wire.codec import IDENTITY
from trackserve.wire.identity import IDENTITY_PARAMETER, check_identity
from trackserve.wire.tensors import TensorSpec

from .. import drain
from ..limits import Limits
from .dlpack import to_capsule
from .gather import Gather
from .metrics import METRICS, Counters, Reporter, Series
from .runtime import Answer, EncodedEvent, Job, Runtime
from .tracker import load

_REPORT_PERIOD = 1.0
_DRAIN_POLL = 0.05
_CODES = {
    EventError: "INVALID_ARG",
    IdentityMismatch: "INVALID_ARG",
    InputError: "INVALID_ARG",
    MalformedEvent: "INVALID_ARG",
    ServerBusy: "UNAVAILABLE",
    Cancelled: "CANCELLED",
}
"""By name, since Triton fills its module in only after this one is imported."""


class TritonPythonModel:
    """A served model; the name is Triton's."""

    load = staticmethod(load)
    """Loads the model; see :func:`.tracker.load`."""

    @classmethod
    def auto_complete_config(cls, config: Any) -> Any:
        """Add the tensors to ``config``, so that ``config.pbtxt`` does not list them."""
        codec = tracker_of(_parameters(config.as_dict())).codec
        for spec in (*codec.inputs, BUNDLE):
            config.add_input(_declare(spec) | {"optional": spec.optional})
        for spec in (*codec.outputs, BUNDLE):
            config.add_output(_declare(spec))
        config.set_max_batch_size(0)
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and run its example once in every worker.

        This compiles all code that is not in Numba's cache, so that no request waits.
        """
        keep_freed_memory()
        if args["model_instance_kind"] == "GPU":
            _see_only(args["model_instance_device_id"])
        parameters = _parameters(json.loads(args["model_config"]))
        limits = Limits.from_parameters(parameters)
        tracker = tracker_of(parameters)
        self._codec = codec = tracker.codec
        folder = Path(args["model_repository"]) / args["model_version"]
        new_run = self.load(folder, parameters)
        example = EncodedEvent(
            codec.encode_event(tracker.example()), [spec.name for spec in codec.outputs]
        )

        def warm_run() -> Any:
            run = new_run()
            for answer in run([example]):
                if isinstance(answer, TrackserveError):
                    raise answer
                self._identity = answer.tensors[IDENTITY.name].tobytes().decode()
            return run

        self._counters = counters = Counters()
        self._families = _families()
        self._metrics: dict[Series, Any] = {}
        self._name = args["model_name"]
        self._runtime = Runtime(warm_run, limits, counters)
        counters.add((Series("trackserve_identity", self._identity), 1))
        self._reporter = Reporter(counters, self._report, _REPORT_PERIOD)
        self._finished = threading.Event()
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def execute(self, requests: list[Any]) -> list[Any]:
        """Give the events of the requests to the workers; refuse events that find no place.

        Workers send their answers. A refusal is returned instead: this saves a message between
        processes, so that refusing keeps pace with any overload.
        """
        return [self._take(request) for request in requests]

    def _take(self, request: Any) -> Any:
        tensors = {tensor.name(): np.from_dlpack(tensor) for tensor in request.inputs()}
        if BUNDLE.name in tensors:
            return self._take_bundle(request, tensors)
        outputs = [name for name in request.requested_output_names() if name != BUNDLE.name]
        refusal = self._mismatch(request, 1) or self._runtime.reserve()
        if refusal is not None:
            return _response(refusal)
        sender = request.get_response_sender()
        self._runtime.submit(
            Job(EncodedEvent(tensors, outputs), partial(_send, sender), sender.is_cancelled)
        )
        return None

    def _take_bundle(self, request: Any, tensors: dict[str, Array]) -> Any:
        """Make a job of each event; an event that finds no place is refused alone."""
        try:
            events, wanted = split_events(tensors, self._codec.inputs, self._codec.outputs)
        except InputError as error:
            return _response(error)
        if not events:
            return _response(InputError("a bundle has no events", tensor=BUNDLE.name))
        mismatch = self._mismatch(request, len(events))
        if mismatch is not None:
            return _response(mismatch)
        sender = request.get_response_sender()
        gather = Gather(len(events), self._runtime.at_a_time, partial(_send, sender))
        for place, event in enumerate(events):
            answer = partial(gather.put, place)
            refusal = self._runtime.reserve()
            if refusal is None:
                self._runtime.submit(Job(EncodedEvent(event, wanted), answer, sender.is_cancelled))
            else:
                answer(refusal)
        return None

    def _mismatch(self, request: Any, n_events: int) -> IdentityMismatch | None:
        """The error of a request that expects another identity; None if it expects this or none."""
        parameters = request.parameters()
        expected = json.loads(parameters).get(IDENTITY_PARAMETER) if parameters else None
        if expected is None:
            return None
        try:
            check_identity(str(expected), self._identity, model=self._name)
        except IdentityMismatch as error:
            outcome = Series("trackserve_requests_total", type(error).__name__)
            self._counters.add((outcome, n_events))
            return error
        return None

    def finalize(self) -> None:
        """Answer the jobs that are left, and end the threads."""
        self._finished.set()
        self._runtime.close()
        self._reporter.close()

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
                    self._runtime.refuse_new()
                    if self._runtime.held == 0:
                        return


def _see_only(device: str) -> None:
    """Make the instance's GPU the only one of this process, before it touches any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[int(device)] if names else device


def _parameters(config: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a model's configuration."""
    entries = config.get("parameters", {})
    return {name: entry["string_value"] for name, entry in entries.items()}


def _declare(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{spec.triton_type}", "dims": list(spec.shape)}


def _families() -> dict[str, Any]:
    kinds = {True: pb_utils.MetricFamily.GAUGE, False: pb_utils.MetricFamily.COUNTER}
    return {
        name: pb_utils.MetricFamily(name=name, description=metric.help, kind=kinds[metric.gauge])
        for name, metric in METRICS.items()
    }


def _send(sender: Any, answer: Answer) -> None:
    sender.send(_response(answer), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def _response(answer: Answer) -> Any:
    if isinstance(answer, TrackserveError):
        code = getattr(pb_utils.TritonError, _CODES.get(type(answer), "INTERNAL"))
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(encode(answer), code))
    tensors = [
        pb_utils.Tensor.from_dlpack(name, to_capsule(array))
        for name, array in answer.tensors.items()
    ]
    return pb_utils.InferenceResponse(tensors)
