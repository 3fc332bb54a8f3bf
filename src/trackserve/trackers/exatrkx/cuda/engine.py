"""The three networks on a CUDA device, on the memory of the kernels."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from trackserve.device.cuda import Device

from ..architecture import (
    Embedding,
    Filter,
    Gnn,
    InteractionGnn,
    perceptrons,
)
from ..features import EDGE_INPUTS, NODE_INPUTS, numbers_of
from ..interaction import pack_interaction
from ..model import Model
from ..tiles import pack, pack_edge
from ..torch_engine import FILTER_EDGES, TorchNetworks
from .edges import BatchEdges
from .features import BatchPoints, edge_inputs, node_inputs
from .interaction import (
    interaction_fits,
    logits_of,
    run_interaction,
    upload_interaction,
)
from .perceptrons import (
    fits,
    run_edges,
    run_rows,
    upload_on_edges,
)
from .tensors import tensor

_LEAST_DIMENSIONS = 3
"""Of coordinates: those that an embedding lacks are 0."""


class CudaNetworks:
    """The networks of ``model`` on ``device``, which is ``where`` to PyTorch.

    In fp32, networks that are narrow enough run in the kernels of :mod:`.perceptrons`, and an
    event has the same bits in every batch. Others are PyTorch's, whose sums may differ in their
    last bits with the size of a batch, and from run to run; so are filter and graph network in a
    lower precision.
    """

    def __init__(self, device: Device, model: Model, where: torch.device, precision: str) -> None:
        self._device = device
        description, weights = model.description, model.weights
        embedding, spec, gnn = description.embedding, description.filter, description.gnn
        self._dimensions = embedding.dimensions
        self._embedding = self._filter = self._gnn = None
        if fits(perceptrons(embedding)["mlp"]):
            packed = pack(perceptrons(embedding)["mlp"], weights, "embedding.mlp.")
            self._embedding = device.table(packed)
        n_node, shape = len(spec.inputs), perceptrons(spec)["mlp"]
        if precision == "fp32" and fits(shape, n_node):
            self._filter = upload_on_edges(device, pack_edge(shape, weights, "filter.mlp.", n_node))
        if precision == "fp32" and isinstance(gnn, InteractionGnn) and interaction_fits(gnn):
            self._gnn = upload_interaction(device, pack_interaction(gnn, weights, "gnn."))
        wide = None in (self._embedding, self._filter, self._gnn)
        self._plain = TorchNetworks(model, where, precision) if wide else None
        specs: dict[str, Embedding | Filter | Gnn] = {"embedding": embedding, "filter": spec}
        self._nodes = {
            name: self._numbers(s.inputs, NODE_INPUTS) for name, s in (specs | {"gnn": gnn}).items()
        }
        self._edges = {
            name: self._numbers(s.edge_inputs, EDGE_INPUTS)
            for name, s in {"filter": spec, "gnn": gnn}.items()
        }

    def embed(self, points: BatchPoints, n: int) -> Any:
        """Coordinates float32[n, dimensions, but at least three] of ``n`` points."""
        width = max(self._dimensions, _LEAST_DIMENSIONS)
        coordinates = self._device.array("coordinates", n, np.float32, width)
        nodes = self._node_inputs("embedding", points, n)
        if self._embedding is not None:
            run_rows(self._device, self._embedding, nodes, n, coordinates)
        else:
            found = tensor(self._device, coordinates, n)
            found[:, self._dimensions :] = 0
            found[:, : self._dimensions] = self._torch.embed(self._tensor(nodes, n))
        return coordinates

    def filter(self, points: BatchPoints, n: int, edges: BatchEdges, m: int) -> None:
        """Fill the score of ``m`` edges between ``n`` points with logits, piece by piece."""
        nodes = self._node_inputs("filter", points, n)
        for first in range(0, m, FILTER_EDGES):
            size = min(FILTER_EDGES, m - first)
            own = self._edge_inputs("filter", points, edges, first, size)
            if self._filter is not None:
                out = logits_of(edges)[first:]
                part = first, size
                run_edges(self._device, self._filter, nodes, n, edges, own, part, out)
            else:
                rows = slice(first, first + size)
                source, target, logits = (view[rows] for view in self._views(edges, m))
                x = self._tensor(nodes, n), source, target, self._tensor(own, size)
                logits[:] = self._torch.filter(*x)

    def gnn(self, points: BatchPoints, n: int, edges: BatchEdges, m: int) -> None:
        """The same of the graph network, all at once."""
        nodes = self._node_inputs("gnn", points, n)
        own = self._edge_inputs("gnn", points, edges, 0, m)
        if self._gnn is not None:
            run_interaction(self._device, self._gnn, nodes, n, edges, own, m)
        else:
            source, target, logits = self._views(edges, m)
            x = self._tensor(nodes, n), source, target, self._tensor(own, m)
            logits[:] = self._torch.gnn(*x)

    @property
    def _torch(self) -> TorchNetworks:
        return cast(TorchNetworks, self._plain)

    def _numbers(self, names: tuple[str, ...], known: tuple[str, ...]) -> Any:
        return self._device.resident(numbers_of(names, known))

    def _tensor(self, array: Any, n: int) -> Tensor:
        return tensor(self._device, array, n)

    def _views(self, edges: BatchEdges, m: int) -> list[Tensor]:
        return [self._tensor(a, m) for a in (edges.source, edges.target, edges.score)]

    def _node_inputs(self, network: str, points: BatchPoints, n: int) -> Any:
        return node_inputs(self._device, network, self._nodes[network], points, n)

    def _edge_inputs(
        self, network: str, points: BatchPoints, edges: BatchEdges, first: int, n: int
    ) -> Any:
        numbers = self._edges[network]
        return edge_inputs(self._device, network, numbers, points, edges, first, n)
