"""Events as Triton's own gRPC client sends them."""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import InferInput

from trackserve.edm import RawEvent
from trackserve.trackers.patatrack.codec import CODEC


def inputs_of(event: RawEvent) -> list[Any]:
    """The input tensors of one event."""
    arrays = CODEC.encode_event(event)
    inputs = []
    for spec in CODEC.inputs:
        if spec.name not in arrays:  # it is optional
            continue
        tensor = InferInput(spec.name, list(arrays[spec.name].shape), spec.triton_type)
        tensor.set_data_from_numpy(arrays[spec.name])
        inputs.append(tensor)
    return inputs
