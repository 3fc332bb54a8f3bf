"""The model repository that Triton loads.

The tree holds copies of conditions and models and no absolute path: it can be moved, or
mounted into a container. Each function here adds one model to it, and the backend that runs
it; what is there of the same name is replaced, other models stay.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

from trackserve.errors import InputError
from trackserve.io import read_conditions, write_conditions
from trackserve.trackers.exatrkx import codec as exatrkx_wire

from .backend import exatrkx as exatrkx_backend
from .backend import patatrack as patatrack_backend
from .limits import Limits, default_limits

PROBE = "probe.json"
"""In a model's folder: a tiny request, as the body of an HTTP inference."""

_VERSION = "1"
"""Folder of a model's version, which Triton wants; copies may drop it when empty."""

_LOADER = """\
from trackserve.serving.backend import {name}
from trackserve.serving.backend.triton import served

TritonPythonModel = served({name})
"""


def write_patatrack(
    directory: str | Path,
    conditions: str | Path,
    *,
    name: str = "patatrack",
    config: str = "default",
    instances: int = 1,
    limits: Limits | None = None,
    device: str = "cpu",
) -> None:
    """Add a Patatrack model.

    Args:
        directory: where to write ``models/`` and ``backends/``; made where needed.
        conditions: directory of the five conditions files.
        name: of the model.
        config: name of the pipeline's configuration.
        instances: backend processes of the model, with another device than "cpu" on each GPU that
            Triton sees; one of them uses all cores, or its GPU.
        limits: how much each takes on at once; by default those that suit the device.
        device: where the pipeline runs, "cpu" or "cuda".

    Raises:
        ConditionsError: the conditions are missing or malformed.
        InputError: the name is not one that a folder and a url can have.
    """
    _check_name(name)
    inside = f"{_VERSION}/conditions"
    write_conditions(Path(directory) / "models" / name / inside, read_conditions(conditions))
    parameters = {"conditions": inside, "config": config, "device": device}
    _write_model(
        directory, name, patatrack_backend, parameters, instances, limits or default_limits(device)
    )


def write_exatrkx(
    directory: str | Path,
    model: str | Path = "default",
    *,
    name: str = "exatrkx",
    instances: int = 1,
    limits: Limits | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> None:
    """Add a learned tracker.

    The one with the name ``exatrkx`` is also there as ``exatrkxcpu`` or, on a GPU,
    ``exatrkxgpu``, the names of the published service: an alias costs neither process nor memory.

    Args:
        directory: as above.
        model: a model folder, or the name of one that ships with the package.
        name: of the model in Triton.
        instances: as above.
        limits: as above.
        device: where the networks run, as PyTorch names it.
        precision: of the networks.

    Raises:
        InputError: there is no such model, or as above.
        ModelError: a file of it is missing or malformed.
        MissingExtraError: the learned tracker is not installed.
    """
    from trackserve.trackers.exatrkx.model import load_model, save_model

    _check_name(name)
    inside = f"{_VERSION}/model"
    save_model(load_model(model), Path(directory) / "models" / name / inside)
    parameters = {"model": inside, "device": device, "precision": precision}
    _write_model(
        directory, name, exatrkx_backend, parameters, instances, limits or default_limits(device)
    )
    if name == "exatrkx":
        _write_alias(directory, "exatrkxcpu" if device == "cpu" else "exatrkxgpu", name)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        bound = "letters, digits, _, - and ."
        raise InputError("a model cannot have this name", found=name, bound=bound)


def _write_model(
    directory: str | Path,
    name: str,
    backend: ModuleType,
    parameters: dict[str, str],
    instances: int,
    limits: Limits,
) -> None:
    kind = backend.__name__.rpartition(".")[2]
    on_cpu = parameters["device"] == "cpu"
    where = "KIND_CPU" if on_cpu else "KIND_AUTO"
    config = [
        f'name: "{name}"',
        f'backend: "trackserve_{kind}"',
        "max_batch_size: 0",
        f"instance_group [ {{ count: {instances} kind: {where} }} ]",
    ]
    config += [
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
        for key, value in (parameters | limits.as_parameters()).items()
    ]
    model = Path(directory) / "models" / name
    _write(model / "config.pbtxt", "\n".join(config))
    _write(model / PROBE, _probe(backend))
    loader = _LOADER.format(name=kind)
    _write(Path(directory) / "backends" / f"trackserve_{kind}" / "model.py", loader)


def _write_alias(directory: str | Path, alias: str, name: str) -> None:
    """An ensemble of one step: published clients send ``FEATURES`` and read ``LABELS``."""
    config = [f'name: "{alias}"', 'platform: "ensemble"', "max_batch_size: 0"]
    maps = []
    for part, spec in (("input", exatrkx_wire.FEATURES), ("output", exatrkx_wire.LABELS)):
        dims = ", ".join(map(str, spec.shape))
        tensor = f'name: "{spec.name}" data_type: TYPE_{spec.triton_type} dims: [ {dims} ]'
        config.append(f"{part} [ {{ {tensor} }} ]")
        maps.append(f'{part}_map {{ key: "{spec.name}" value: "{spec.name}" }}')
    step = f'model_name: "{name}" model_version: -1 {" ".join(maps)}'
    config.append(f"ensemble_scheduling {{ step [ {{ {step} }} ] }}")
    model = Path(directory) / "models" / alias
    _write(model / "config.pbtxt", "\n".join(config))
    _write(model / _VERSION / "alias-of.txt", name)


def _probe(backend: ModuleType) -> str:
    """The backend's example, of which only the first output is asked for."""
    description = backend.describe()
    inputs = [
        {
            "name": spec.name,
            "datatype": spec.triton_type,
            "shape": list(description.example[spec.name].shape),
            "data": description.example[spec.name].reshape(-1).tolist(),
        }
        for spec in description.inputs
        if spec.name in description.example
    ]
    outputs = [{"name": description.outputs[0].name}]
    return json.dumps({"inputs": inputs, "outputs": outputs}, indent=1)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.rstrip() + "\n")
