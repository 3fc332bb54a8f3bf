"""Triton's side of the pipeline: request tensors -> events -> ``run`` -> response tensors.

Triton's Python backend loads :class:`TritonPythonModel` in a process of its own, one for
each instance; ``triton_python_backend_utils`` exists only there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from trackserve.edm import INTERMEDIATE, RawEvent
from trackserve.errors import InputError, TrackserveError, encode
from trackserve.patatrack import PatatrackPipeline
from trackserve.serving import wire
from trackserve.serving.backend.dlpack import to_capsule

_NO_FEDS = np.frombuffer(bytes(4), np.uint8)
"""The FED stream of an empty event; read-only as a request's is, which Numba tells apart."""


class TritonPythonModel:
    """One pipeline behind Triton's Python backend."""

    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        """Fill in the tensors, so that ``config.pbtxt`` need not list them."""
        for spec in wire.INPUTS:
            config.add_input(_declare(spec) | {"optional": spec.optional})
        for spec in wire.OUTPUTS:
            config.add_output(_declare(spec))
        config.set_max_batch_size(0)
        return config

    def initialize(self, args: dict[str, str]) -> None:
        """Build the pipeline from the model's parameters, and run it once on an empty event.

        The parameters: ``conditions`` (a directory, relative to the model's) and ``config``.
        The run compiles what is not in Numba's cache, so that no request waits.

        Raises:
            ConditionsError: the conditions cannot be read.
        """
        entries = json.loads(args["model_config"])["parameters"]
        parameters = {name: entry["string_value"] for name, entry in entries.items()}
        self._pipeline = PatatrackPipeline.from_directory(
            Path(args["model_repository"]) / parameters["conditions"],
            config=parameters["config"],
        )
        self._pipeline.run([RawEvent(_NO_FEDS)], keep=INTERMEDIATE)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request with its result or with its own error."""
        names = [list(request.requested_output_names()) for request in requests]
        events = [_event(request) for request in requests]
        keep = set[str]().union(*(wire.kept_parts(wanted) for wanted in names))
        batch = [event for event in events if isinstance(event, RawEvent)]
        results = iter(self._pipeline.run(batch, keep=keep))
        answers = [next(results) if isinstance(event, RawEvent) else event for event in events]
        return [_response(answer, wanted) for answer, wanted in zip(answers, names, strict=True)]

    def finalize(self) -> None:
        """Let go of the pipeline."""
        del self._pipeline


def _declare(spec: wire.TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{spec.triton_type}", "dims": list(spec.shape)}


def _event(request: Any) -> RawEvent | InputError:
    try:
        return wire.decode_event({t.name(): np.from_dlpack(t) for t in request.inputs()})
    except InputError as error:
        return error


def _response(answer: Any, names: list[str]) -> Any:
    if isinstance(answer, TrackserveError):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(encode(answer)))
    tensors = [
        pb_utils.Tensor.from_dlpack(name, to_capsule(array))
        for name, array in wire.encode_result(answer, names).items()
    ]
    return pb_utils.InferenceResponse(tensors)
