"""The three networks of a model on a CUDA device, on the memory of the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from trackserve.device.cuda import Device

from ..architecture import (
    EDGE_INPUTS,
    NODE_INPUTS,
    Embedding,
    Filter,
    Gnn,
    InteractionGnn,
    perceptrons_of,
)
from ..features import numbers_of
from ..interaction import pack_interaction
from ..model import Model
from ..packing import pack, pack_edge
from ..torch_networks import FILTER_EDGES, TensorNetworks
from .edges import BatchEdges
from .features import BatchPoints, edge_inputs, node_inputs
from .interaction import (
    interaction_fits,
    run_interaction,
    upload_interaction,
)
from .perceptrons import (
    NetworkGraph,
    fits,
    run_edges,
    run_rows,
    upload_on_edges,
)
from .tensors import tensor

_LEAST_DIMENSIONS = 3
"""Least dimensions of coordinates; those that an embedding lacks are 0."""


class _Inputs(NamedTuple):
    """The inputs of a network.

    Attributes:
        name: name of the network.
        nodes: int32, places of the node inputs in NODE_INPUTS, on the device.
        edges: int32, places of the edge inputs in EDGE_INPUTS, on the device.
    """

    name: str
    nodes: Any
    edges: Any


class CudaNetworks:
    """The networks of a model on a CUDA device.

    In fp32, a network that is narrow enough runs in the kernels of :mod:`.perceptrons`; an event
    then has the same bits in every batch. PyTorch runs the other networks, and filter and graph
    network in a lower precision. Their sums may differ in the last bits with the size of a batch,
    and from run to run.

    Args:
        device: the device.
        model: the model.
        where: the same device, to PyTorch.
        precision: one of :data:`..networks.PRECISIONS`.

    Attributes:
        in_kernels: names of the networks that run in our kernels.
    """

    def __init__(self, device: Device, model: Model, where: torch.device, precision: str) -> None:
        self._device = device
        description, weights = model.description, model.weights
        embedding, spec, gnn = description.embedding, description.filter, description.gnn
        self._dimensions = embedding.dimensions
        self._embedding = self._filter = self._gnn = None
        shape = perceptrons_of(embedding)["mlp"]
        if fits(shape):
            self._embedding = device.table(pack(shape, weights, "embedding.mlp."))
        n_node, shape = len(spec.inputs), perceptrons_of(spec)["mlp"]
        if precision == "fp32" and fits(shape, n_node):
            self._filter = upload_on_edges(device, pack_edge(shape, weights, "filter.mlp.", n_node))
        if precision == "fp32" and isinstance(gnn, InteractionGnn) and interaction_fits(gnn):
            self._gnn = upload_interaction(device, pack_interaction(gnn, weights, "gnn."))
        networks = {"embedding": self._embedding, "filter": self._filter, "gnn": self._gnn}
        self.in_kernels = tuple(name for name, found in networks.items() if found is not None)
        wide = len(self.in_kernels) < len(networks)
        self._plain = TensorNetworks(model, where, precision) if wide else None
        self._embedding_inputs = self._inputs("embedding", embedding)
        self._filter_inputs = self._inputs("filter", spec)
        self._gnn_inputs = self._inputs("gnn", gnn)

    def embed(self, points: BatchPoints) -> Any:
        """Return coordinates of the points, float32[n, dimensions, but at least three]."""
        n, width = points.n, max(self._dimensions, _LEAST_DIMENSIONS)
        coordinates = self._device.array("coordinates", n, np.float32, width)
        nodes = self._node_inputs(self._embedding_inputs, points)
        if self._embedding is not None:
            run_rows(self._device, self._embedding, nodes, n, coordinates)
        else:
            found = self._tensor(coordinates, n)
            found[:, self._dimensions :] = 0
            found[:, : self._dimensions] = self._torch.embed(self._tensor(nodes, n))
        return coordinates

    def filter(self, points: BatchPoints, edges: BatchEdges) -> None:
        """Fill the scores of edges with logits from the filter, some edges at a time."""
        nodes = self._node_inputs(self._filter_inputs, points)
        for first in range(0, edges.n, FILTER_EDGES):
            part = edges.part(first, min(FILTER_EDGES, edges.n - first))
            graph = self._graph(self._filter_inputs, points, nodes, part)
            if self._filter is not None:
                run_edges(self._device, self._filter, graph, _rows(part.score))
            else:
                logits = self._tensor(part.score, part.n)
                logits[:] = self._torch.filter(*self._tensors(graph))

    def gnn(self, points: BatchPoints, edges: BatchEdges) -> None:
        """Fill the scores of edges with logits from the graph network."""
        nodes = self._node_inputs(self._gnn_inputs, points)
        graph = self._graph(self._gnn_inputs, points, nodes, edges)
        if self._gnn is not None:
            run_interaction(self._device, self._gnn, graph, _rows(edges.score))
        else:
            logits = self._tensor(edges.score, edges.n)
            logits[:] = self._torch.gnn(*self._tensors(graph))

    @property
    def _torch(self) -> TensorNetworks:
        return cast(TensorNetworks, self._plain)

    def _inputs(self, name: str, spec: Embedding | Filter | Gnn) -> _Inputs:
        names = getattr(spec, "edge_inputs", ())
        return _Inputs(
            name,
            nodes=self._device.resident(numbers_of(spec.inputs, NODE_INPUTS)),
            edges=self._device.resident(numbers_of(names, EDGE_INPUTS)),
        )

    def _node_inputs(self, inputs: _Inputs, points: BatchPoints) -> Any:
        return node_inputs(self._device, inputs.name, inputs.nodes, points)

    def _graph(
        self, inputs: _Inputs, points: BatchPoints, nodes: Any, edges: BatchEdges
    ) -> NetworkGraph:
        return NetworkGraph(
            nodes=nodes,
            n=points.n,
            source=edges.source,
            target=edges.target,
            edges=edge_inputs(self._device, inputs.name, inputs.edges, points, edges),
            m=edges.n,
        )

    def _tensor(self, array: Any, n: int) -> Tensor:
        return tensor(self._device, array, n)

    def _tensors(self, graph: NetworkGraph) -> list[Tensor]:
        """Return nodes, sources, targets and edges, as :class:`TensorNetworks` takes them."""
        columns = (graph.source, graph.target, graph.edges)
        return [self._tensor(graph.nodes, graph.n), *(self._tensor(a, graph.m) for a in columns)]


def _rows(values: Any) -> Any:
    """Return an array of n values as [n, 1]."""
    return values.reshape(values.shape[0], 1)
