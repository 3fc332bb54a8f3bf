"""The graphs that a network learns from: the networks before it make them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trackserve.edm.columns import Array

from ..architecture import Doublets, Features, perceptrons_of
from ..doublets import DoubletCuts, bounds_of
from ..features import edge_inputs
from ..interaction import pack_interaction, run_interaction
from ..modules import EmbeddingNetwork, FilterNetwork, InteractionNetwork
from ..packing import pack, pack_edge
from ..perceptrons import NetworkGraph, run_edges, run_rows
from ..radius import find_pairs
from .config import MODEL_EDGE_INPUTS
from .data import SCALES, Sample
from .doublets import places_in
from .sizes import EDGE_SIZES, NODE_SIZES

MAX_EDGES_PER_POINT = 200
"""Most edges per point of a graph; only a badly trained embedding makes more."""


class Graph(NamedTuple):
    """Edges of an event, with their truth.

    Attributes:
        source, target: int32[m], rows of points in the sample; the source is the outer point.
        consecutive: bool[m], whether both points follow each other on a particle.
        same: bool[m], whether both points are of the same particle.
        weight: float32[m], weight of each edge in a loss.
    """

    source: Array
    target: Array
    consecutive: Array
    same: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.source)

    def take(self, index: Array) -> Graph:
        """Return the edges that ``index`` (integers or a mask) selects."""
        return Graph(*(array[index] for array in self))

    def within(self, rows: Array, n_points: int) -> Graph:
        """Return the edges between the points ``rows`` of ``n_points``, as places in ``rows``."""
        number = np.full(n_points, -1, np.int32)
        number[rows] = np.arange(len(rows), dtype=np.int32)
        source, target = number[self.source], number[self.target]
        inside = np.flatnonzero((source >= 0) & (target >= 0))
        kept = self.take(inside)
        return Graph(source[inside], target[inside], kept.consecutive, kept.same, kept.weight)


def find_radius_graph(
    network: EmbeddingNetwork,
    sample: Sample,
    radius: float,
    weight: Array,
    doublets: Doublets | None = None,
) -> Graph:
    """Return the pairs of points that the embedding puts closer than ``radius``.

    Args:
        weight: float32[n], weights of the points; an edge within a particle has the weight of
            its points, any other edge has 1.
        doublets: which of these pairs; None: all.

    Raises:
        LimitExceeded: there are more than :data:`MAX_EDGES_PER_POINT`.
    """
    cuts = None if doublets is None else DoubletCuts(bounds_of(doublets), places_in(sample))
    most = MAX_EDGES_PER_POINT * len(sample)
    source, target = find_pairs(embed(network, sample), radius, most, sample.event.event, cuts)
    same = sample.same_particle(source, target)
    one = np.float32(1)
    return Graph(
        source,
        target,
        sample.consecutive(source, target),
        same,
        np.where(same, weight[source], one),
    )


def filter_graph(network: FilterNetwork, sample: Sample, graph: Graph, cut: float) -> Graph:
    """Return the edges with a score above ``cut``."""
    return graph.take(sigmoid(judge_edges(network, sample, graph)) > cut)


def embed(network: EmbeddingNetwork, sample: Sample) -> Array:
    """Return coordinates of the points, float32[n, dimensions], by the compiled loops."""
    spec = network.spec
    coordinates = np.empty((len(sample), spec.dimensions), np.float32)
    packed = pack(perceptrons_of(spec)["mlp"], _weights(network), "mlp.")
    run_rows(packed, sample.nodes / NODE_SIZES, coordinates)
    return coordinates


def judge_edges(network: FilterNetwork | InteractionNetwork, sample: Sample, graph: Graph) -> Array:
    """Return logits of the edges, float32[m], from a filter or a graph network.

    The compiled loops of the pipeline do it: on whole events they are several times faster than
    PyTorch.
    """
    spec, weights = network.spec, _weights(network)
    inputs = NetworkGraph(
        nodes=sample.nodes / NODE_SIZES,
        source=graph.source,
        target=graph.target,
        edges=edges_of(sample, graph),
    )
    if isinstance(network, InteractionNetwork):
        return run_interaction(pack_interaction(network.spec, weights, ""), inputs)
    logits = np.empty((len(graph), 1), np.float32)
    packed = pack_edge(perceptrons_of(spec)["mlp"], weights, "mlp.", len(spec.inputs))
    run_edges(packed, inputs, logits)
    return logits[:, 0]


def nodes_of(network: torch.nn.Module, sample: Sample) -> Tensor:
    """Return the node inputs in units of their sizes, on the device of the network."""
    return torch.from_numpy(sample.nodes / NODE_SIZES).to(_device(network))


def edges_of(sample: Sample, graph: Graph) -> Array:
    """Return the edge inputs in units of their sizes, float32[m, k]."""
    inputs = edge_inputs(
        MODEL_EDGE_INPUTS, sample.scaled, Features(SCALES), graph.source, graph.target
    )
    return inputs / EDGE_SIZES


def inputs_of(
    network: torch.nn.Module, sample: Sample, graph: Graph
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return nodes, sources, targets and edges for a network on edges, on its device."""
    device = _device(network)
    source, target = (torch.from_numpy(a.astype(np.int64)) for a in (graph.source, graph.target))
    return (
        nodes_of(network, sample),
        source.to(device),
        target.to(device),
        torch.from_numpy(edges_of(sample, graph)).to(device),
    )


def sigmoid(logit: Array) -> Array:
    """Return 1 / (1 + e^-logit)."""
    with np.errstate(over="ignore"):
        score: Array = 1 / (1 + np.exp(-logit))
    return score


def _weights(network: torch.nn.Module) -> dict[str, Array]:
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def _device(network: torch.nn.Module) -> torch.device:
    return next(network.parameters()).device
