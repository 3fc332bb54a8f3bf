"""Where the networks run: compiled loops on a CPU, PyTorch on any other device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trackserve.device.compile import fused_kernel
from trackserve.edm.columns import Array
from trackserve.errors import InputError, MissingExtraError

from .architecture import AttentionGnn, perceptrons
from .attention import pack_attention, run_attention
from .interaction import pack_interaction, run_interaction
from .model import Model
from .tiles import (
    pack,
    pack_edge,
    run_edges,
    run_rows,
    sigmoid,
)

if TYPE_CHECKING:
    from .cuda import CudaExatrkx

PRECISIONS = ("fp32", "fp16", "bf16")
"""What filter and graph network may be computed in: with one of the last two only the matrix
products, and only on PyTorch's devices."""


class Engine(Protocol):
    """The three networks of a model; all arrays are float32, ``source`` and ``target`` int32."""

    def embed(self, nodes: Array) -> Array:
        """Coordinates [n, dimensions] from node inputs [n, i]."""
        ...

    def filter(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        """Logits [m] of edges from the inputs of nodes [n, i] and of edges [m, k]."""
        ...

    def gnn(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        """The same of the graph network."""
        ...


def make_engine(model: Model, device: str, precision: str) -> Engine:
    """The networks of ``model`` on ``device``: "cpu", or any that PyTorch has.

    Raises:
        InputError: there is no such device or precision.
        MissingExtraError: PyTorch is needed and is not installed.
    """
    _check_precision(precision)
    if device == "cpu":
        if precision != "fp32":
            reason = "the compiled loops are fp32; PyTorch's CPU is the device cpu:0"
            raise InputError("no such precision", found=precision, device=device, reason=reason)
        return CpuEngine(model)
    try:
        from .torch_engine import TorchEngine
    except ImportError:
        raise _no_pytorch(device) from None
    return TorchEngine(model, device, precision)


def on_cuda(device: str) -> bool:
    """Whether ``device`` is one that :func:`make_cuda` takes."""
    return device.partition(":")[0] == "cuda"


def make_cuda(model: Model, device: str, precision: str, max_edges: int) -> CudaExatrkx:
    """All stages on the CUDA device "cuda" or "cuda:N".

    Raises:
        InputError: there is no such device or precision.
        MissingExtraError: PyTorch or numba-cuda is not installed.
    """
    _check_precision(precision)
    try:
        from .torch_engine import find_device
    except ImportError:
        raise _no_pytorch(device) from None
    where = find_device(device)
    from .cuda import CudaExatrkx

    return CudaExatrkx(model, where, precision, max_edges)


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError("no such precision", found=precision, bound=list(PRECISIONS))


def _no_pytorch(device: str) -> MissingExtraError:
    return MissingExtraError(
        f"for the device {device}, PyTorch is needed: pip install 'trackserve[train]'"
    )


class CpuEngine:
    """The networks as compiled loops over tiles: a row's bits depend on nothing but the row."""

    def __init__(self, model: Model) -> None:
        description, weights = model.description, model.weights
        gnn = description.gnn
        self._dimensions = description.embedding.dimensions
        embedding, filter_ = perceptrons(description.embedding), perceptrons(description.filter)
        n_filter = len(description.filter.inputs)
        self._embedding = pack(embedding["mlp"], weights, "embedding.mlp.")
        self._filter = pack_edge(filter_["mlp"], weights, "filter.mlp.", n_filter)
        self._gnn: Callable[[Array, Array, Array, Array], Array]
        if isinstance(gnn, AttentionGnn):
            attention = pack_attention(gnn, weights, "gnn.")
            self._gnn = lambda n, s, t, e: run_attention(attention, n, s, t)
        else:
            interaction = pack_interaction(gnn, weights, "gnn.")
            self._gnn = lambda n, s, t, e: run_interaction(interaction, n, s, t, e)

    def embed(self, nodes: Array) -> Array:
        coordinates = np.empty((len(nodes), self._dimensions), np.float32)
        run_rows(self._embedding, nodes, coordinates)
        return coordinates

    def filter(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        logits = np.empty((len(source), 1), np.float32)
        run_edges(self._filter, nodes, source, target, edges, logits)
        return logits[:, 0]

    def gnn(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        return self._gnn(nodes, source, target, edges)


def scores_of(logits: Array) -> Array:
    """1 / (1 + e^-logit), float32."""
    return _scores_of(np.ascontiguousarray(logits))


@fused_kernel
def _scores_of(logits: Array) -> Array:
    scores = np.empty_like(logits)
    for i in range(len(logits)):
        scores[i] = sigmoid(logits[i])
    return scores
