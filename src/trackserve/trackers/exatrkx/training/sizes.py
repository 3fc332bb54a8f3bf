"""Sizes of the inputs of the networks.

Networks learn fastest from inputs of unit size. So training divides the inputs of the pipeline by
their sizes. At the end, the weights of the first layers are divided instead.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from trackserve.edm.columns import Array

from ..modules import (
    EmbeddingNetwork,
    FilterNetwork,
    InteractionNetwork,
    TorchModules,
)
from .config import MODEL_EDGE_INPUTS, MODEL_NODE_INPUTS

_SIZE_OF_NODE_INPUT = {"r": 0.5, "z": 1.0, "eta": 2.0, "x": 0.5, "y": 0.5}
_SIZE_OF_EDGE_INPUT = {
    "dr": 0.06,
    "dphi": 0.006,
    "dz": 0.25,
    "deta": 0.05,
    "phi_slope": 0.4,
    "z0": 1.0,
    "distance": 0.2,
}
"""Sizes: about the spread over points, and over the edges that the graph network takes. Other
inputs have the size 1."""


def _sizes(names: Sequence[str], size: dict[str, float]) -> Array:
    return np.array([size.get(name, 1.0) for name in names], np.float32)


NODE_SIZES = _sizes(MODEL_NODE_INPUTS, _SIZE_OF_NODE_INPUT)
EDGE_SIZES = _sizes(MODEL_EDGE_INPUTS, _SIZE_OF_EDGE_INPUT)
"""Size of each input, float32[inputs]."""


def fold_sizes(
    embedding: EmbeddingNetwork, filter_: FilterNetwork, gnn: InteractionNetwork
) -> TorchModules:
    """Return copies of trained networks that take the inputs of the pipeline."""
    folded = TorchModules(copy.deepcopy(embedding), copy.deepcopy(filter_), copy.deepcopy(gnn))
    _multiply(folded, 1 / NODE_SIZES, 1 / EDGE_SIZES)
    return folded


def unfold_sizes(modules: TorchModules) -> None:
    """Let the networks of a model take inputs in units of their sizes, as in training."""
    _multiply(modules, NODE_SIZES, EDGE_SIZES)


def _multiply(modules: TorchModules, on_node: Array, on_edge: Array) -> None:
    """Multiply the weights of the first layers by factors of the inputs of nodes and edges."""
    on_edges = np.concatenate([on_node, on_node, on_edge])
    assert isinstance(modules.gnn, InteractionNetwork)
    for mlp, factors in (
        (modules.embedding.mlp, on_node),
        (modules.filter.mlp, on_edges),
        (modules.gnn.node_encoder, on_node),
        (modules.gnn.edge_encoder, on_edges),
    ):
        first = mlp.layers[0]
        assert isinstance(first, nn.Linear)
        with torch.no_grad():
            first.weight *= torch.from_numpy(factors).to(first.weight.device)
