"""The model repository that Triton loads.

The folder holds copies of conditions and models, and no absolute path. So it can be moved, or
mounted into a container. :func:`write_model` adds a model and the backend that runs it. A model of
the same name is replaced; other models stay.

The ``config.pbtxt`` of a model has the parameter ``tracker``, the name of the tracker. A client
asks the server for it, and so finds the codec of a model of any name.
"""

from __future__ import annotations

import json
import re
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackserve.errors import InputError, ServerError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import ALIAS_PARAMETER, DEVICE_PARAMETER, TRACKER_PARAMETER
from trackserve.wire.tensors import TensorSpec
from trackserve.wire.version import WIRE, WIRE_PARAMETER

from .backend.event_log import PROBE_ID
from .backend.native import build
from .limits import Limits, default_limits

PROBE = "probe.json"
"""In a model's folder: a tiny request, as the body of an HTTP inference."""

_VERSION = "1"
"""Folder of a model's version. Triton needs it; some copies drop it if it is empty."""

BACKENDS = {"native": "trackserve_native", "python": "trackserve"}
"""Triton's names of our backends: one in its own process, one in a process of Python."""
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
    backend: str = "python",
) -> None:
    """Add a model to a repository.

    Args:
        directory: folder for ``models/`` and ``backends/``; it is made if needed.
        tracker: name of the tracker.
        options: the tracker's options, as for its ``build``.
        name: name of the model; by default the tracker's.
        device: device of the pipeline.
        instances: number of backend processes of the model, or of each GPU if the device is not
            "cpu". One process uses all cores, or its GPU.
        limits: limits on the work of each process; by default good ones for the device.
        backend: "native" runs the model in Triton's own process, "python" in one beside it.

    Raises:
        InputError: there is no such tracker, option or backend, an option has a wrong value, or the
            name is not fit for a folder and a url.
        ServerError: the library of the native backend is not there and cannot be built.
        TrackserveError: data that an option names are missing or malformed.
    """
    found = find_tracker(tracker)
    if backend not in BACKENDS:
        raise InputError("no such backend", found=backend, bound=sorted(BACKENDS))
    name = name or tracker
    _check_name(name)
    model = Path(directory) / "models" / name
    given = {option: str(value) for option, value in (options or {}).items()}
    stored = found.store(model / _VERSION, given)
    parameters = {TRACKER_PARAMETER: tracker, WIRE_PARAMETER: WIRE, DEVICE_PARAMETER: device}
    parameters |= stored
    parameters |= (limits or default_limits(device)).as_parameters()
    kind = "KIND_CPU" if device == "cpu" else "KIND_AUTO"
    config = [
        f'name: "{name}"',
        f'backend: "{BACKENDS[backend]}"',
        "max_batch_size: 0",
        f"instance_group [ {{ count: {instances} kind: {kind} }} ]",
    ]
    config += [_parameter(key, value) for key, value in parameters.items()]
    (model / _VERSION).mkdir(parents=True, exist_ok=True)
    _write(model / "config.pbtxt", "\n".join(config))
    _write(model / PROBE, _probe(found))
    _write_backend(Path(directory) / "backends" / BACKENDS[backend], backend)
    if found.published and name == tracker:
        alias = f"{name}{'cpu' if device == 'cpu' else 'gpu'}"
        _write_alias(Path(directory) / "models" / alias, name, found)


def why_not_native() -> str:
    """The reason why the native backend does not work here; empty if it does."""
    if not sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return "this Python has no shared libpython"
    try:
        build.find_library()
    except build.BuildError as error:
        return str(error)
    return ""


def usable_backends() -> list[str]:
    """Names of the backends that work here, the native one first."""
    return [name for name in BACKENDS if name != "native" or not why_not_native()]


def best_backend(device: str) -> tuple[str, str]:
    """The backend to take on this machine, and the reason if it is not the native one."""
    if device != "cpu":
        return "python", "the native backend has not run on a GPU yet"
    reason = why_not_native()
    return ("python", reason) if reason else ("native", "")


def _write_backend(folder: Path, backend: str) -> None:
    if backend == "python":
        _write(folder / "model.py", _LOADER)
        return
    try:
        library = build.find_library()
    except build.BuildError as error:
        raise ServerError("the native backend cannot be built", reason=str(error)) from None
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(library, folder / build.LIBRARY)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
        bound = "letters, digits, _, - and ."
        raise InputError("a model cannot have this name", found=name, bound=bound)


def _write_alias(folder: Path, name: str, tracker: Tracker[Any, Any]) -> None:
    """Write a second name of a model: an ensemble of one step, without a process of its own."""
    config = [f'name: "{folder.name}"', 'platform: "ensemble"', "max_batch_size: 0"]
    config.append(_parameter(ALIAS_PARAMETER, name))
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


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'


def _describe(spec: TensorSpec) -> str:
    dims = ", ".join(map(str, spec.shape))
    return f'name: "{spec.name}" data_type: TYPE_{spec.triton_type} dims: [ {dims} ]'


def _probe(tracker: Tracker[Any, Any]) -> str:
    """A request with the tracker's example, which asks for the first output only."""
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
    about = {"id": PROBE_ID, "parameters": {WIRE_PARAMETER: WIRE}}
    return json.dumps(about | {"inputs": inputs, "outputs": outputs}, indent=1)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.strip() + "\n")
