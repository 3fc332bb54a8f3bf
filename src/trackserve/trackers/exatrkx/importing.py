"""Import of published networks as a model.

The layers of a network are read off the names of its weights (:mod:`.network_files`). Activations
have no weights. So a file that can be run (TorchScript, ONNX) is run beside each possible
activation; the one that gives the same outputs is taken. For other files they are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from trackserve.edm.columns import Array
from trackserve.errors import ModelError

from .acorn_file import is_acorn, read_acorn
from .architecture import (
    Activation,
    AttentionGnn,
    Cuts,
    Embedding,
    Features,
    Filter,
)
from .model import Description, Model, check_weights, shapes_of
from .modules import EmbeddingNetwork, FilterNetwork, load_weights, make_gnn
from .network_files import Layer, NetworkFile, first_line, read_network
from .published import ACTIVATIONS, INPUTS, Candidate, renamed, swapped

_TOLERANCE = 2e-4
"""Largest difference of an output of a network from that of its file."""
_ATTENTION = {
    "input_network.": "encoder",
    "edge_network.network.": "edge",
    "node_network.network.": "node",
}
"""Published names of the perceptrons of the attention network, and ours."""


class Published(NamedTuple):
    """The files of three published networks, and their properties that are in no file.

    Attributes:
        embedding, filter, gnn: paths of TorchScript files or state dicts (.pt, .ckpt), of ONNX
            files (.onnx), or of the arrays of state dicts (.npz).
        activations: activations of embedding and filter; they count only for files that cannot
            be run.
        steps: number of steps of the graph network, if its file does not tell.
    """

    embedding: str | Path
    filter: str | Path
    gnn: str | Path
    activations: tuple[Activation, Activation] = ("tanh", "relu")
    steps: int = 8


def import_model(
    published: Published, *, name: str, detector: str, features: Features, cuts: Cuts
) -> Model:
    """Return a model of three published networks.

    Embedding and filter are perceptrons on (r, phi, z) of one point, and of both points of an
    edge. The graph network is the attention network, or acorn's interaction network. With acorn's
    the filter is acorn's too: its edges go from the inner to the outer point.

    Args:
        published: the files.
        name: name of the model.
        detector: name of its detector.
        features: scales of its features.
        cuts: radius and cuts; they are in no file.

    Raises:
        ModelError: a file is missing or is not such a network; or a file can be run, and takes
            other inputs or gives other outputs.
        MissingExtraError: a file is ONNX, and the package onnx is not installed.
    """
    embedding_file, filter_file, gnn_file = map(read_network, published[:3])
    outward = is_acorn(gnn_file)
    trial = _Trial.random(outward)
    embedding = _chosen(
        embedding_file, _embeddings(embedding_file, published.activations[0]), trial.embedding()
    )
    filter_ = _chosen(
        filter_file, _filters(filter_file, published.activations[1], outward), trial.filter()
    )
    gnns = (
        read_acorn(gnn_file, published.steps, features)
        if outward
        else [_attention(gnn_file, published.steps)]
    )
    gnn = _chosen(gnn_file, gnns, trial.gnn())
    description = Description(
        name=name,
        detector=detector,
        order="outward" if outward else "given",
        features=features,
        embedding=embedding.spec,
        filter=filter_.spec,
        gnn=gnn.spec,
        cuts=cuts,
    )
    return Model(description, {**embedding.weights, **filter_.weights, **gnn.weights}, name)


def _embeddings(file: NetworkFile, given: Activation) -> list[Candidate]:
    layers = _only_perceptron(file)
    *widths, dimensions = _widths(layers)
    norm = layers[0].norm is not None
    weights = renamed(layers, "embedding.mlp.", True, file.path)
    return [
        Candidate(Embedding(INPUTS, tuple(widths), dimensions, activation, norm), weights)
        for activation in _possible(file, given)
    ]


def _filters(file: NetworkFile, given: Activation, outward: bool) -> list[Candidate]:
    layers = _only_perceptron(file)
    widths = tuple(_widths(layers)[:-1])
    norm = layers[0].norm is not None
    layers = swapped(layers) if outward else layers
    weights = renamed(layers, "filter.mlp.", True, file.path)
    return [
        Candidate(Filter(INPUTS, widths, (), activation, norm), weights)
        for activation in _possible(file, given)
    ]


def _attention(file: NetworkFile, steps: int) -> Candidate:
    found = file.perceptrons
    if set(found) != set(_ATTENTION):
        raise ModelError(
            "not the attention network, nor acorn's",
            file=file.path,
            found=sorted(found),
            bound=[*_ATTENTION],
        )
    weights: dict[str, Array] = {}
    for published, ours in _ATTENTION.items():
        has_last = ours != "encoder"
        weights |= renamed(found[published], f"gnn.{ours}.", has_last, file.path)
    encoder = found["input_network."]
    hidden = len(encoder[-1].linear[1])
    return Candidate(AttentionGnn("attention", INPUTS, hidden, len(encoder), steps), weights)


def _only_perceptron(file: NetworkFile) -> list[Layer]:
    if len(file.perceptrons) != 1:
        found = sorted(file.perceptrons)
        raise ModelError("not one sequence of layers", file=file.path, found=found)
    return next(iter(file.perceptrons.values()))


def _widths(layers: Sequence[Layer]) -> list[int]:
    return [len(layer.linear[1]) for layer in layers]


def _possible(file: NetworkFile, given: Activation) -> tuple[Activation, ...]:
    return (given,) if file.run is None else ACTIVATIONS


class _Call(NamedTuple):
    """How a network is called.

    Attributes:
        prefix: beginning of the names of its weights.
        module: makes our module of its architecture.
        ours: arguments of our module.
        theirs: arguments of the published one, in each form in which it may take them.
        signature: these forms, for the error.
    """

    prefix: str
    module: Callable[[Any], nn.Module]
    ours: tuple[Tensor, ...]
    theirs: tuple[tuple[Tensor, ...], ...]
    signature: str


class _Trial(NamedTuple):
    """Random points and edges, with which two networks are compared.

    Attributes:
        points: float32[n, 3].
        edges: int64[2, m], as the published networks take them.
        ours: int64[2, m], the same edges as ours take them.
    """

    points: Tensor
    edges: Tensor
    ours: Tensor

    @classmethod
    def random(cls, outward: bool) -> _Trial:
        """Make one; ``outward``: whether published edges go from the inner to the outer point."""
        random = torch.Generator().manual_seed(0)
        points = 2 * torch.rand(64, len(INPUTS), generator=random) - 1
        edges = torch.randint(len(points), (2, 256), generator=random)
        return cls(points, edges, edges.flip(0) if outward else edges)

    def embedding(self) -> _Call:
        points = (self.points,)
        return _Call("embedding", EmbeddingNetwork, points, (points,), "forward(points[n, 3])")

    def filter(self) -> _Call:
        pairs = torch.cat([self.points[self.edges[0]], self.points[self.edges[1]]], 1)
        return _Call(
            "filter",
            FilterNetwork,
            self._on_edges(),
            ((self.points, self.edges), (pairs,)),
            "forward(points[n, 3], edges[2, m]) or forward(pairs[m, 6])",
        )

    def gnn(self) -> _Call:
        signature = "forward(points[n, 3], edges[2, m])"
        return _Call("gnn", make_gnn, self._on_edges(), ((self.points, self.edges),), signature)

    def _on_edges(self) -> tuple[Tensor, ...]:
        return (self.points, *self.ours, torch.empty(self.ours.shape[1], 0))


def _chosen(file: NetworkFile, candidates: Sequence[Candidate], call: _Call) -> Candidate:
    """Return the candidate that gives the answers of a file; the first if it cannot be run.

    Raises:
        ModelError: none does, or the weights do not fit.
    """
    least = float("inf")
    for candidate in candidates:
        check_weights(shapes_of(call.prefix, candidate.spec), candidate.weights, file.path)
        if file.run is None:
            return candidate
        module = call.module(candidate.spec)
        load_weights(module, candidate.weights, f"{call.prefix}.")
        with torch.no_grad():
            least = min(least, _difference(file, module(*call.ours), call))
        if least < _TOLERANCE:
            return candidate
    raise ModelError(
        "the network gives other answers than its file",
        file=file.path,
        found=least,
        bound=_TOLERANCE,
    )


def _difference(file: NetworkFile, answer: Tensor, call: _Call) -> float:
    """Return the largest difference of ``answer`` from that of a file.

    Raises:
        ModelError: the network is not called as a published one.
    """
    assert file.run is not None
    reasons = []
    for arguments in call.theirs:
        try:
            difference = file.run(*arguments).reshape(answer.shape) - answer
            return float(difference.abs().max())
        except Exception as error:  # what a network does may fail in any way
            reasons.append(first_line(error))
    raise ModelError(
        "the network is not called as a published one; its weights alone (a state dict) can "
        "be imported",
        file=file.path,
        found=reasons[0],
        bound=call.signature,
    )
