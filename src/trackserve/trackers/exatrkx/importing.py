"""Import of published networks as a model, from TorchScript files, state dicts or .npz files.

The names of the weights tell the layers of the networks: ``network.0.weight`` is a linear layer,
``network.1.weight`` is its LayerNorm, and so on. Activations have no weights. So a TorchScript file
is run beside each possible activation; the one that gives the same outputs is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from trackserve.edm.columns import Array
from trackserve.errors import ModelError

from .architecture import (
    Activation,
    AttentionGnn,
    Cuts,
    Embedding,
    Features,
    Filter,
)
from .model import Description, Model
from .modules import modules_of

_ACTIVATIONS: tuple[Activation, ...] = ("tanh", "relu", "silu")
_INPUTS = ("r", "phi", "z")
_TOLERANCE = 2e-4
"""Largest difference of an output of a network from that of its TorchScript file."""
_ATTENTION = {
    "input_network.": "encoder",
    "edge_network.network.": "edge",
    "node_network.network.": "node",
}
"""Published names of the perceptrons of the attention network, and ours."""


class _Layer(NamedTuple):
    linear: tuple[Array, Array]
    norm: tuple[Array, Array] | None


class Published(NamedTuple):
    """The files of three published networks, and their properties that are in no file.

    Attributes:
        embedding, filter, gnn: paths of TorchScript files (.pt), of state dicts (.pt), or of the
            arrays of state dicts (.npz).
        activations: activations of embedding and filter; they count only for files that cannot
            be run.
        steps: number of steps of the graph network.
    """

    embedding: str | Path
    filter: str | Path
    gnn: str | Path
    activations: tuple[Activation, Activation] = ("tanh", "relu")
    steps: int = 8


class _Source(NamedTuple):
    """A file: its path, its layers by perceptron, and the network if it can be run."""

    path: str
    perceptrons: dict[str, list[_Layer]]
    script: Any


def import_model(
    published: Published, *, name: str, detector: str, features: Features, cuts: Cuts
) -> Model:
    """Return a model of three published modules.

    Embedding and filter are perceptrons on (r, phi, z) of one point, and of both points of an
    edge. The graph network is the attention network.

    Args:
        published: the files.
        name: name of the model.
        detector: name of its detector.
        features: scales of its features; they are in no file.
        cuts: radius and cuts; they are in no file.

    Raises:
        ModelError: a file is missing or is not such a network; or a file can be run, and takes
            other inputs or gives other outputs.
    """
    paths = (published.embedding, published.filter, published.gnn)
    sources = [_read(Path(path)) for path in paths]
    weights: dict[str, Array] = {}
    widths = []
    for source, prefix in zip(sources[:2], ("embedding", "filter"), strict=True):
        layers = _only_perceptron(source)
        weights |= _rename(layers, f"{prefix}.mlp.", True, source.path)
        widths.append(tuple(len(layer.linear[1]) for layer in layers))
    attention, attention_weights = _attention(sources[2], published.steps)
    weights |= attention_weights
    norms = [_only_perceptron(source)[0].norm is not None for source in sources[:2]]
    tried = []
    for first in _possible(sources[0], published.activations[0]):
        for second in _possible(sources[1], published.activations[1]):
            description = Description(
                name=name,
                detector=detector,
                order="given",
                features=features,
                embedding=Embedding(_INPUTS, widths[0][:-1], widths[0][-1], first, norms[0]),
                filter=Filter(_INPUTS, widths[1][:-1], (), second, norms[1]),
                gnn=attention,
                cuts=cuts,
            )
            model = Model(description, weights, name)
            differences = _differences(model, sources)
            if max(differences) < _TOLERANCE:
                return model
            tried.append(differences)
    least = [min(column) for column in zip(*tried, strict=True)]
    worst = int(np.argmax(least))
    raise ModelError(
        "the network gives other answers than its TorchScript file",
        file=sources[worst].path,
        found=least[worst],
        bound=_TOLERANCE,
    )


def _read(path: Path) -> _Source:
    if not path.exists():
        raise ModelError("file is missing", file=str(path))
    script = None
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                weights = {name: value.astype(np.float32) for name, value in arrays.items()}
        else:
            weights, script = _read_torch(path)
    except Exception as error:  # what a file holds may fail in any way
        raise ModelError(
            "not a file of weights", file=str(path), found=_first_line(error)
        ) from None
    return _Source(str(path), _find_perceptrons(weights, str(path)), script)


def _read_torch(path: Path) -> tuple[dict[str, Array], Any]:
    script = None
    try:
        script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        state = script.state_dict()
    except RuntimeError:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
    return {name: value.float().numpy() for name, value in state.items()}, script


def _find_perceptrons(weights: Mapping[str, Array], path: str) -> dict[str, list[_Layer]]:
    """Return the layers of each perceptron, in order, by the prefix of their names."""
    modules: dict[str, dict[int, dict[str, Array]]] = {}
    for name, value in weights.items():
        match = re.fullmatch(r"(.*?)(\d+)\.(weight|bias)", name)
        if match is None:
            raise ModelError("not a weight of a sequence of layers", file=path, weight=name)
        prefix, number, part = match.groups()
        modules.setdefault(prefix, {}).setdefault(int(number), {})[part] = value
    return {prefix: _layers(found, prefix, path) for prefix, found in modules.items()}


def _layers(modules: Mapping[int, dict[str, Array]], prefix: str, path: str) -> list[_Layer]:
    layers: list[_Layer] = []
    for number, module in sorted(modules.items()):
        dimensions = [module[name].ndim for name in ("weight", "bias") if name in module]
        if dimensions not in ([2, 1], [1, 1]):
            raise ModelError("not a linear layer or LayerNorm", file=path, at=f"{prefix}{number}")
        pair = module["weight"], module["bias"]
        if pair[0].ndim == 2:
            layers.append(_Layer(pair, None))
        elif layers and layers[-1].norm is None:
            layers[-1] = layers[-1]._replace(norm=pair)
        else:
            raise ModelError("LayerNorm without a linear layer", file=path, at=f"{prefix}{number}")
    return layers


def _only_perceptron(source: _Source) -> list[_Layer]:
    if len(source.perceptrons) != 1:
        found = sorted(source.perceptrons)
        raise ModelError("not one sequence of layers", file=source.path, found=found)
    return next(iter(source.perceptrons.values()))


def _attention(source: _Source, steps: int) -> tuple[AttentionGnn, dict[str, Array]]:
    found = source.perceptrons
    if set(found) != set(_ATTENTION):
        raise ModelError(
            "not the attention network", file=source.path, found=sorted(found), bound=[*_ATTENTION]
        )
    weights: dict[str, Array] = {}
    for published, ours in _ATTENTION.items():
        has_last = ours != "encoder"
        weights |= _rename(found[published], f"gnn.{ours}.", has_last, source.path)
    encoder = found["input_network."]
    hidden = len(encoder[-1].linear[1])
    return AttentionGnn("attention", _INPUTS, hidden, len(encoder), steps), weights


def _rename(layers: Sequence[_Layer], prefix: str, has_last: bool, path: str) -> dict[str, Array]:
    """Return the weights by our names; with ``has_last`` the last layer is only linear."""
    hidden = layers[:-1] if has_last else layers
    if has_last and layers[-1].norm is not None:
        raise ModelError("the last layer has a LayerNorm", file=path, at=prefix)
    weights: dict[str, Array] = {}
    for i, layer in enumerate(hidden):
        weights |= _pair(f"{prefix}layers.{i}", layer.linear)
        if layer.norm is not None:
            weights |= _pair(f"{prefix}norms.{i}", layer.norm)
    if has_last:
        weights |= _pair(f"{prefix}last", layers[-1].linear)
    return weights


def _pair(name: str, pair: tuple[Array, Array]) -> dict[str, Array]:
    return {f"{name}.weight": pair[0], f"{name}.bias": pair[1]}


def _possible(source: _Source, given: Activation) -> Sequence[Activation]:
    return (given,) if source.script is None else _ACTIVATIONS


def _differences(model: Model, sources: Sequence[_Source]) -> list[float]:
    """Return the largest difference of each network from its TorchScript file, on random points.

    It is 0 for a network that cannot be run.
    """
    random = torch.Generator().manual_seed(0)
    points = 2 * torch.rand(64, len(_INPUTS), generator=random) - 1
    edges = torch.randint(len(points), (2, 256), generator=random)
    none = torch.empty(edges.shape[1], 0)
    modules = modules_of(model)
    with torch.no_grad():
        ours = (
            modules.embedding(points),
            modules.filter(points, *edges, none),
            modules.gnn(points, *edges, none),
        )
        inputs = ((points,), (points, edges), (points, edges))
        return [
            0.0 if source.script is None else _difference(source, answer, arguments)
            for source, answer, arguments in zip(sources, ours, inputs, strict=True)
        ]


def _difference(
    source: _Source, answer: torch.Tensor, arguments: tuple[torch.Tensor, ...]
) -> float:
    """Return the largest difference of ``answer`` from that of a TorchScript file.

    Raises:
        ModelError: the network is not called as a published one.
    """
    try:
        difference = source.script(*arguments).reshape(answer.shape) - answer
        return float(difference.abs().max())
    except Exception as error:  # what a network does may fail in any way
        names = "points[n, 3]" if len(arguments) == 1 else "points[n, 3], edges[2, m]"
        raise ModelError(
            "the network is not called as a published one; its weights alone (a state dict) can "
            "be imported",
            file=source.path,
            found=_first_line(error),
            bound=f"forward({names})",
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
