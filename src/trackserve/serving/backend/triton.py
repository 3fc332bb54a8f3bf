"""The backend of every model, behind Triton's Python backend.

It turns requests into jobs, and answers into responses. Each instance of a model has a process of
its own. Triton loads :class:`TritonPythonModel` there, and ``triton_python_backend_utils`` exists
only there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from trackserve.device.heap import keep_freed_memory
from trackserve.errors import TrackserveError, encode
from trackserve.wire.bundle import BUNDLE
from trackserve.wire.identity import IDENTITY_PARAMETER
from trackserve.wire.ticket import TICKET_PARAMETER
from trackserve.wire.version import WIRE_PARAMETER

from ..limits import Limits
from .dlpack import to_capsule
from .metrics import METRICS, Counters
from .model import Expected, Reply, ServedModel, code_of, declared_tensors, parameters_of
from .orphan import end_with_triton
from .runtime import Answer, EncodedEvent, Job, JobQueue
from .tickets import TicketReader
from .tracker import load

_tickets = TicketReader()


class TritonPythonModel:
    """A served model; the name is Triton's."""

    load = staticmethod(load)
    """Loads the model; see :func:`.tracker.load`."""

    @classmethod
    def auto_complete_config(cls, config: Any) -> Any:
        """Add the tensors to ``config``, so that ``config.pbtxt`` does not list them."""
        inputs, outputs = declared_tensors(parameters_of(config.as_dict()))
        for declared in inputs:
            config.add_input(declared)
        for declared in outputs:
            config.add_output(declared)
        config.set_max_batch_size(0)
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and run its example once in every worker."""
        end_with_triton(os.getppid())
        keep_freed_memory()
        if args["model_instance_kind"] == "GPU":
            _see_only(args["model_instance_device_id"])
        parameters = parameters_of(json.loads(args["model_config"]))
        folder = Path(args["model_repository"]) / args["model_version"]
        queue = JobQueue(Limits.from_parameters(parameters))
        new_run = self.load(folder, parameters)
        self._model = ServedModel(args["model_name"], parameters, queue, Counters(), _families())
        self._model.add_workers(new_run)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Give the events of the requests to the workers; refuse events that find no place.

        Workers send their answers. A refusal is returned instead: this saves a message between
        processes, so that refusing keeps pace with any overload.
        """
        return [self._take(request) for request in requests]

    def _take(self, request: Any) -> Any:
        tensors = {tensor.name(): np.from_dlpack(tensor) for tensor in request.inputs()}
        parameters = json.loads(request.parameters() or "{}")
        expected = Expected(
            _text(parameters, IDENTITY_PARAMETER), _text(parameters, WIRE_PARAMETER)
        )
        reply = partial(_reply, request, _text(parameters, TICKET_PARAMETER))
        if BUNDLE.name in tensors:
            refusal = self._model.take_bundle(tensors, expected, reply, request.request_id())
            return None if refusal is None else self._refuse(request, refusal)
        outputs = [name for name in request.requested_output_names() if name != BUNDLE.name]
        refusal = self._model.mismatch(expected, 1) or self._model.runtime.reserve()
        if refusal is not None:
            return self._refuse(request, refusal)
        job = Job(EncodedEvent(tensors, outputs), *reply(), request=request.request_id())
        self._model.runtime.submit(job)
        return None

    def _refuse(self, request: Any, error: TrackserveError) -> Any:
        """The response to a request that no worker gets."""
        self._model.note_refusal(request.request_id(), error)
        return _response(error)

    def finalize(self) -> None:
        """Answer the jobs that are left, and end the threads."""
        self._model.close()


def _text(parameters: Mapping[str, Any], name: str) -> str | None:
    """The parameter ``name`` of a request, if it has it."""
    return None if name not in parameters else str(parameters[name])


def _reply(request: Any, ticket: str | None) -> Reply:
    sender = request.get_response_sender()
    if ticket is None:
        return Reply(partial(_send, sender), sender.is_cancelled)
    return Reply(partial(_send, sender), lambda: not _tickets.is_wanted(ticket))


def _see_only(device: str) -> None:
    """Make the instance's GPU the only one of this process, before it touches any."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else []
    os.environ["CUDA_VISIBLE_DEVICES"] = names[int(device)] if names else device


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
        code = getattr(pb_utils.TritonError, code_of(answer))
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(encode(answer), code))
    tensors = [
        pb_utils.Tensor.from_dlpack(name, to_capsule(array))
        for name, array in answer.tensors.items()
    ]
    return pb_utils.InferenceResponse(tensors)
