"""Published networks on disk: TorchScript, state dicts, checkpoints, ONNX, and arrays (.npz).

The names of the weights tell the layers: ``network.0.weight`` is a linear layer,
``network.1.weight`` is its LayerNorm, and so on. A LayerNorm may have no weights; a file that can
be run tells of it, and so do the settings of a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from trackserve.edm.columns import Array
from trackserve.errors import MissingExtraError, ModelError

Run = Callable[..., torch.Tensor]
"""A network: tensors in, a tensor out."""

_PLAIN = (
    *(nn.Sequential, nn.Linear, nn.LayerNorm, nn.Dropout, nn.Identity),
    *(nn.Tanh, nn.ReLU, nn.SiLU),
)
"""Modules that a file may hold as a whole."""


class Layer(NamedTuple):
    """A linear layer and its LayerNorm: pairs of weight and bias."""

    linear: tuple[Array, Array]
    norm: tuple[Array, Array] | None


class NetworkFile(NamedTuple):
    """A network that was read.

    Attributes:
        path: the file.
        perceptrons: the layers of each perceptron, in order, by the prefix of their names.
        run: the network itself; None if the file has weights alone.
        settings: with which acorn trained it; empty if the file does not tell.
    """

    path: str
    perceptrons: dict[str, list[Layer]]
    run: Run | None
    settings: Mapping[str, Any]


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        weights: float32 arrays by name.
        run, settings: as of :class:`NetworkFile`.
        normed: names of the linear layers that a LayerNorm without weights follows; None if the
            file does not tell.
    """

    weights: dict[str, Array]
    run: Run | None = None
    settings: Mapping[str, Any] = {}
    normed: Collection[str] | None = None


def read_network(path: str | Path) -> NetworkFile:
    """Read a file: ``.npz``, ``.onnx``, or what PyTorch writes.

    Raises:
        ModelError: it is missing, or holds no weights of sequences of layers.
        MissingExtraError: it is an ONNX file, and the package onnx is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError("file is missing", file=str(path))
    readers = {".npz": _read_arrays, ".onnx": _read_onnx}
    try:
        content = readers.get(path.suffix, _read_torch)(path)
    except MissingExtraError:
        raise
    except Exception as error:  # what a file holds may fail in any way
        raise ModelError("not a file of weights", file=str(path), found=first_line(error)) from None
    found = dict(_perceptrons(content, str(path)))
    return NetworkFile(str(path), found, content.run, content.settings)


def first_line(error: Exception) -> str:
    """The first line of the text of an error, or its class."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _read_arrays(path: Path) -> Content:
    with np.load(path) as arrays:
        return Content({name: value.astype(np.float32) for name, value in arrays.items()})


def _read_onnx(path: Path) -> Content:
    from .onnx_file import read_onnx

    return Content(*read_onnx(path))


def _read_torch(path: Path) -> Content:
    settings: Mapping[str, Any] = {}
    try:
        found: Any = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError:
        with torch.serialization.safe_globals([*_PLAIN]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, nn.Module):
        found.eval()
        return Content(_arrays(found.state_dict()), found, settings, _followed_by_norm(found))
    settings = dict(found.get("hyper_parameters", {}))
    state = found.get("state_dict", found)
    return Content(_arrays(state), None, settings)


def _arrays(state: Mapping[str, torch.Tensor]) -> dict[str, Array]:
    return {name: value.float().numpy() for name, value in state.items()}


def _followed_by_norm(network: nn.Module) -> set[str]:
    """Names of the linear layers of a network that a LayerNorm without weights follows."""
    followed, linear = set(), ""
    for name, module in network.named_modules():
        kind = getattr(module, "original_name", type(module).__name__)
        if kind == "Linear":
            linear = name
        elif kind == "LayerNorm" and not list(module.parameters()):
            followed.add(linear)
    return followed


def _perceptrons(content: Content, path: str) -> Iterator[tuple[str, list[Layer]]]:
    modules: dict[str, dict[int, dict[str, Array]]] = {}
    for name, value in content.weights.items():
        match = re.fullmatch(r"(.*?)(\d+)\.(weight|bias)", name)
        if match is None:
            raise ModelError("not a weight of a sequence of layers", file=path, weight=name)
        prefix, number, part = match.groups()
        modules.setdefault(prefix, {}).setdefault(int(number), {})[part] = value
    for prefix, found in modules.items():
        yield prefix, _layers(found, prefix, path, content)


def _layers(
    modules: Mapping[int, dict[str, Array]], prefix: str, path: str, content: Content
) -> list[Layer]:
    layers: list[Layer] = []
    linear = []
    for number, module in sorted(modules.items()):
        dimensions = [module[name].ndim for name in ("weight", "bias") if name in module]
        if dimensions not in ([2, 1], [1, 1]):
            raise ModelError("not a linear layer or LayerNorm", file=path, at=f"{prefix}{number}")
        pair = module["weight"], module["bias"]
        if pair[0].ndim == 2:
            layers.append(Layer(pair, None))
            linear.append(number)
        elif layers and layers[-1].norm is None:
            layers[-1] = layers[-1]._replace(norm=pair)
        else:
            raise ModelError("LayerNorm without a linear layer", file=path, at=f"{prefix}{number}")
    followed = _bare_norms(layers, linear, prefix, path, content)
    return [
        layer._replace(norm=_unit_norm(layer)) if number in followed else layer
        for number, layer in zip(linear, layers, strict=True)
    ]


def _unit_norm(layer: Layer) -> tuple[Array, Array]:
    ones = np.ones_like(layer.linear[1])
    return ones, np.zeros_like(ones)


def _bare_norms(
    layers: Sequence[Layer], linear: Sequence[int], prefix: str, path: str, content: Content
) -> set[int]:
    """Numbers of the linear layers that a LayerNorm without weights follows.

    Raises:
        ModelError: there may be some, and the file does not tell.
    """
    if content.normed is not None:
        return {number for number in linear if f"{prefix}{number}" in content.normed}
    # an activation alone has one number, and behind the last layer no weight tells how many follow
    spare = {
        number
        for number, layer, after in zip(linear, layers, linear[1:], strict=False)
        if layer.norm is None and after - number > 2
    }
    if "layernorm" in content.settings:
        return _norms_of_acorn(layers, linear, spare, prefix, content.settings)
    if spare:
        raise ModelError(
            "modules without weights lie between layers, such as a LayerNorm without them; a file "
            "that can be run (TorchScript, ONNX) tells what they are",
            file=path,
            at=f"{prefix}{min(spare)}",
        )
    return set()


def _norms_of_acorn(
    layers: Sequence[Layer],
    linear: Sequence[int],
    spare: set[int],
    prefix: str,
    settings: Mapping[str, Any],
) -> set[int]:
    if not settings["layernorm"]:
        return set()
    ends = settings.get("output_activation") and not prefix.startswith("edge_output_transform")
    last = {linear[-1]} if ends and layers[-1].norm is None else set()
    return spare | last
