"""The three networks of a model: compiled loops on a CPU, PyTorch on any other device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trackserve.device.compile import fused_kernel
from trackserve.edm.columns import Array
from trackserve.errors import InputError, MissingExtraError
from trackserve.install import install_command

from .acorn import pack_acorn, run_acorn
from .activation import sigmoid
from .architecture import AcornGnn, AttentionGnn, perceptrons_of
from .attention import pack_attention, run_attention
from .interaction import pack_interaction, run_interaction
from .model import Model
from .packing import pack, pack_edge
from .perceptrons import NetworkGraph, run_edges, run_rows

if TYPE_CHECKING:
    from .cuda import CudaExatrkx

PRECISIONS = ("fp32", "fp16", "bf16")
"""Precisions of the matrix products of filter and graph network. The last two need a device of
PyTorch."""


class Networks(Protocol):
    """The three networks of a model, on arrays of numpy."""

    def embed(self, nodes: Array) -> Array:
        """Return coordinates float32[n, dimensions] of the node inputs float32[n, i]."""
        ...

    def filter(self, graph: NetworkGraph) -> Array:
        """Return the logits of the edges of ``graph`` from the filter, float32[m]."""
        ...

    def gnn(self, graph: NetworkGraph) -> Array:
        """Return the logits of the edges of ``graph`` from the graph network, float32[m]."""
        ...


def make_networks(model: Model, device: str, precision: str) -> Networks:
    """Return the networks of ``model`` on ``device``: "cpu", or any device of PyTorch.

    Raises:
        InputError: the device or the precision does not exist.
        MissingExtraError: the device needs PyTorch, which is not installed.
    """
    _check_precision(precision)
    if device == "cpu":
        if precision != "fp32":
            reason = "the compiled loops are fp32; PyTorch's CPU is the device cpu:0"
            raise InputError("no such precision", found=precision, device=device, reason=reason)
        return CpuNetworks(model)
    try:
        from .torch_networks import TorchNetworks
    except ImportError:
        raise _no_pytorch(device) from None
    return TorchNetworks(model, device, precision)


def on_cuda(device: str) -> bool:
    """Return whether :func:`make_cuda` takes ``device``."""
    return device.partition(":")[0] == "cuda"


def make_cuda(model: Model, device: str, precision: str) -> CudaExatrkx:
    """Return the whole pipeline on the CUDA device "cuda" or "cuda:N".

    Raises:
        InputError: the device or the precision does not exist.
        MissingExtraError: PyTorch or numba-cuda is not installed.
    """
    _check_precision(precision)
    try:
        from .torch_networks import find_device
    except ImportError:
        raise _no_pytorch(device) from None
    where = find_device(device)
    from .cuda import CudaExatrkx

    return CudaExatrkx(model, where, precision=precision)


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError("no such precision", found=precision, bound=list(PRECISIONS))


def _no_pytorch(device: str) -> MissingExtraError:
    return MissingExtraError(
        f"for the device {device}, PyTorch is needed: {install_command('train')}"
    )


class CpuNetworks:
    """The networks as compiled loops over tiles: the bits of a row depend on that row only."""

    def __init__(self, model: Model) -> None:
        description, weights = model.description, model.weights
        gnn = description.gnn
        self._dimensions = description.embedding.dimensions
        embedding, filter_ = (
            perceptrons_of(spec)["mlp"] for spec in (description.embedding, description.filter)
        )
        self._embedding = pack(embedding, weights, "embedding.mlp.")
        self._filter = pack_edge(filter_, weights, "filter.mlp.", len(description.filter.inputs))
        self.gnn: Callable[[NetworkGraph], Array]
        if isinstance(gnn, AttentionGnn):
            attention = pack_attention(gnn, weights, "gnn.")
            self.gnn = lambda graph: run_attention(attention, graph)
        elif isinstance(gnn, AcornGnn):
            acorn = pack_acorn(gnn, weights, "gnn.")
            self.gnn = lambda graph: run_acorn(acorn, graph)
        else:
            interaction = pack_interaction(gnn, weights, "gnn.")
            self.gnn = lambda graph: run_interaction(interaction, graph)

    def embed(self, nodes: Array) -> Array:
        coordinates = np.empty((len(nodes), self._dimensions), np.float32)
        run_rows(self._embedding, nodes, coordinates)
        return coordinates

    def filter(self, graph: NetworkGraph) -> Array:
        logits = np.empty((len(graph.source), 1), np.float32)
        run_edges(self._filter, graph, logits)
        return logits[:, 0]


def scores_of(logits: Array) -> Array:
    """Return 1 / (1 + e^-logit), float32."""
    return _scores_of(np.ascontiguousarray(logits))


@fused_kernel
def _scores_of(logits: Array) -> Array:
    scores = np.empty_like(logits)
    for i in range(len(logits)):
        scores[i] = sigmoid(logits[i])
    return scores
