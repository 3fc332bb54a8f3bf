"""The three networks on a CUDA device, on the memory of the kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...device.cuda import Device
from ..features import EDGE_INPUTS, NODE_INPUTS, numbers_of
from ..model import Model
from ..torch_engine import FILTER_EDGES, TorchNetworks
from .edges import BatchEdges
from .features import BatchPoints, edge_inputs, node_inputs
from .tensors import tensor

_LEAST_DIMENSIONS = 3
"""Of coordinates: those that an embedding lacks are 0."""


class CudaNetworks:
    """The networks of ``model`` on ``device``, which is ``where`` to PyTorch."""

    def __init__(self, device: Device, model: Model, where: torch.device, precision: str) -> None:
        self._device = device
        self._networks = TorchNetworks(model, where, precision)
        description = model.description
        specs = {"filter": description.filter, "gnn": description.gnn}
        self._dimensions = description.embedding.dimensions
        self._nodes = {
            name: self._numbers(spec.inputs, NODE_INPUTS)
            for name, spec in {"embedding": description.embedding, **specs}.items()
        }
        self._edges = {
            name: self._numbers(spec.edge_inputs, EDGE_INPUTS) for name, spec in specs.items()
        }

    def embed(self, points: BatchPoints, n: int) -> Any:
        """Coordinates float32[n, dimensions, but at least three] of ``n`` points."""
        width = max(self._dimensions, _LEAST_DIMENSIONS)
        coordinates = self._device.array("coordinates", n, np.float32, width)
        found = tensor(self._device, coordinates, n)
        found[:, self._dimensions :] = 0
        found[:, : self._dimensions] = self._networks.embed(
            self._node_inputs("embedding", points, n)
        )
        return coordinates

    def filter(self, points: BatchPoints, n: int, edges: BatchEdges, m: int) -> None:
        """Fill the score of ``m`` edges between ``n`` points with logits, piece by piece."""
        nodes = self._node_inputs("filter", points, n)
        source, target, logits = self._views(edges, m)
        for first in range(0, m, FILTER_EDGES):
            size = min(FILTER_EDGES, m - first)
            part = slice(first, first + size)
            inputs = self._edge_inputs("filter", points, edges, first, size)
            logits[part] = self._networks.filter(nodes, source[part], target[part], inputs)

    def gnn(self, points: BatchPoints, n: int, edges: BatchEdges, m: int) -> None:
        """The same of the graph network, all at once."""
        nodes = self._node_inputs("gnn", points, n)
        source, target, logits = self._views(edges, m)
        inputs = self._edge_inputs("gnn", points, edges, 0, m)
        logits[:] = self._networks.gnn(nodes, source, target, inputs)

    def _numbers(self, names: tuple[str, ...], known: tuple[str, ...]) -> Any:
        return self._device.resident(numbers_of(names, known))

    def _views(self, edges: BatchEdges, m: int) -> list[Tensor]:
        return [tensor(self._device, a, m) for a in (edges.source, edges.target, edges.score)]

    def _node_inputs(self, network: str, points: BatchPoints, n: int) -> Tensor:
        nodes = node_inputs(self._device, network, self._nodes[network], points, n)
        return tensor(self._device, nodes, n)

    def _edge_inputs(
        self, network: str, points: BatchPoints, edges: BatchEdges, first: int, n: int
    ) -> Tensor:
        numbers = self._edges[network]
        if not len(numbers):
            return tensor(self._device, edges.score, n)[:, None][:, :0]
        return tensor(
            self._device,
            edge_inputs(self._device, network, numbers, points, edges, first, n),
            n,
        )
