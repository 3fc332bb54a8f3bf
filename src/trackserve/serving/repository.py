"""The model repository that Triton loads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..edm import RawEvent
from ..io import read_conditions, write_conditions
from . import wire
from .limits import Limits

BACKEND = "trackserve_patatrack"
"""Name of the backend; Triton looks for a folder of this name."""

PROBE = "probe.json"
"""In a model's folder: a tiny request, as the body of an HTTP inference."""

_CONDITIONS = "1/conditions"
"""In the folder of the model's version, which Triton wants and copies may drop when empty."""

_LOADER = """\
from trackserve.serving.backend import patatrack
from trackserve.serving.backend.triton import served

TritonPythonModel = served(patatrack)
"""


def write_repository(
    directory: str | Path,
    conditions: str | Path,
    *,
    config: str = "default",
    instances: int = 1,
    limits: Limits | None = None,
    device: str = "cpu",
) -> None:
    """Write the models and the backend that a Triton server needs.

    The tree holds a copy of the conditions and no absolute path: it can be moved, or
    mounted into a container. Files of an earlier tree in ``directory`` are replaced.

    Args:
        directory: where to write ``models/`` and ``backends/``; made where needed.
        conditions: directory of the five conditions files.
        config: name of the pipeline's configuration.
        instances: backend processes of the model; one of them uses all cores.
        limits: how much each takes on at once.
        device: where the pipeline runs; "cpu".

    Raises:
        ConditionsError: the conditions are missing or malformed.
    """
    model = Path(directory) / "models" / wire.MODEL
    backend = Path(directory) / "backends" / BACKEND
    write_conditions(model / _CONDITIONS, read_conditions(conditions))
    parameters = {"conditions": _CONDITIONS, "config": config, "device": device}
    parameters |= (limits or Limits()).as_parameters()
    (model / "config.pbtxt").write_text(_config(instances, parameters))
    (model / PROBE).write_text(_probe())
    backend.mkdir(parents=True, exist_ok=True)
    (backend / "model.py").write_text(_LOADER)


def _config(instances: int, parameters: dict[str, str]) -> str:
    lines = [
        f'name: "{wire.MODEL}"',
        f'backend: "{BACKEND}"',
        "max_batch_size: 0",
        f"instance_group [ {{ count: {instances} }} ]",
    ]
    lines += [
        f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'
        for name, value in parameters.items()
    ]
    return "\n".join(lines) + "\n"


def _probe() -> str:
    """An event without FEDs, of which only the counts are asked for."""
    tensors = wire.encode_event(RawEvent(np.zeros(4, np.uint8)))
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.triton_type,
            "shape": list(tensors[spec.name].shape),
            "data": tensors[spec.name].tolist(),
        }
        for spec in wire.INPUTS
    ]
    return json.dumps({"inputs": inputs, "outputs": [{"name": "counts"}]}, indent=1) + "\n"
