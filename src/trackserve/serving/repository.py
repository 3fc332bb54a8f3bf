"""The model repository that Triton loads.

The tree holds copies of conditions and models and no absolute path: it can be moved, or
mounted into a container. :func:`write_model` adds one model to it, and the backend that runs it;
what is there of the same name is replaced, other models stay.

A model's ``config.pbtxt`` has the parameter ``tracker``, the tracker's name. A client reads it
from the server and so knows how to speak to the model, whatever the model is called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackserve.errors import InputError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import DEVICE, TRACKER
from trackserve.wire.tensors import TensorSpec

from .limits import Limits, default_limits

PROBE = "probe.json"
"""In a model's folder: a tiny request, as the body of an HTTP inference."""

_VERSION = "1"
"""Folder of a model's version, which Triton wants; copies may drop it when empty."""

_BACKEND = "trackserve"
_LOADER = """
import os
import sys

# the Python that Triton embeds does not read it
sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

from trackserve.serving.backend.triton import TritonPythonModel as TritonPythonModel
"""


def write_model(
    directory: str | Path,
    tracker: str,
    options: Mapping[str, str | Path] | None = None,
    *,
    name: str | None = None,
    device: str = "cpu",
    instances: int = 1,
    limits: Limits | None = None,
) -> None:
    """Add a model to a repository.

    Args:
        directory: where to write ``models/`` and ``backends/``; made where needed.
        tracker: name of the tracker.
        options: the tracker's options, as for its ``build``.
        name: name of the model; by default the tracker's.
        device: where the pipeline runs.
        instances: backend processes of the model; with another device than "cpu" on each GPU that
            Triton sees. One of them uses all cores, or its GPU.
        limits: how much each takes on at once; by default those that suit the device.

    Raises:
        InputError: there is no such tracker or option, or the name is not one that a folder and
            a url can have.
        TrackserveError: what the options name is missing or malformed.
    """
    found = find_tracker(tracker)
    name = name or tracker
    _check_name(name)
    model = Path(directory) / "models" / name
    given = {option: str(value) for option, value in (options or {}).items()}
    stored = found.store(model / _VERSION, given)
    parameters = {TRACKER: tracker, DEVICE: device, **stored}
    parameters |= (limits or default_limits(device)).as_parameters()
    kind = "KIND_CPU" if device == "cpu" else "KIND_AUTO"
    config = [
        f'name: "{name}"',
        f'backend: "{_BACKEND}"',
        "max_batch_size: 0",
        f"instance_group [ {{ count: {instances} kind: {kind} }} ]",
    ]
    config += [
        f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'
        for key, value in parameters.items()
    ]
    (model / _VERSION).mkdir(parents=True, exist_ok=True)
    _write(model / "config.pbtxt", "\n".join(config))
    _write(model / PROBE, _probe(found))
    _write(Path(directory) / "backends" / _BACKEND / "model.py", _LOADER)
    if found.published and name == tracker:
        alias = f"{name}{'cpu' if device == 'cpu' else 'gpu'}"
        _write_alias(Path(directory) / "models" / alias, name, found)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        bound = "letters, digits, _, - and ."
        raise InputError("a model cannot have this name", found=name, bound=bound)


def _write_alias(folder: Path, name: str, tracker: Tracker[Any, Any]) -> None:
    """An ensemble of one step: it costs neither process nor memory."""
    config = [f'name: "{folder.name}"', 'platform: "ensemble"', "max_batch_size: 0"]
    maps = []
    for part, specs in (("input", tracker.codec.inputs), ("output", tracker.codec.outputs)):
        for spec in specs:
            if spec.name in tracker.published:
                config.append(f"{part} [ {{ {_describe(spec)} }} ]")
                maps.append(f'{part}_map {{ key: "{spec.name}" value: "{spec.name}" }}')
    step = f'model_name: "{name}" model_version: -1 {" ".join(maps)}'
    config.append(f"ensemble_scheduling {{ step [ {{ {step} }} ] }}")
    _write(folder / "config.pbtxt", "\n".join(config))
    _write(folder / _VERSION / "alias-of.txt", name)


def _describe(spec: TensorSpec) -> str:
    dims = ", ".join(map(str, spec.shape))
    return f'name: "{spec.name}" data_type: TYPE_{spec.triton_type} dims: [ {dims} ]'


def _probe(tracker: Tracker[Any, Any]) -> str:
    """The tracker's example, with the first output alone."""
    example = tracker.codec.encode_event(tracker.example())
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.triton_type,
            "shape": list(example[spec.name].shape),
            "data": example[spec.name].reshape(-1).tolist(),
        }
        for spec in tracker.codec.inputs
        if spec.name in example
    ]
    outputs = [{"name": tracker.codec.outputs[0].name}]
    return json.dumps({"inputs": inputs, "outputs": outputs}, indent=1)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.strip() + "\n")
