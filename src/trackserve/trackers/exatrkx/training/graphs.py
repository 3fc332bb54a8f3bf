"""The graphs that a stage learns from: made by the networks before it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trackserve.edm.columns import Array

from ..architecture import Features, perceptrons
from ..features import edge_inputs
from ..interaction import pack_interaction, run_interaction
from ..networks import EmbeddingNetwork, FilterNetwork, InteractionNetwork
from ..radius import find_neighbours
from ..tiles import (
    pack,
    pack_edge,
    run_edges,
    run_rows,
)
from .config import EDGE_INPUTS
from .data import SCALES, Sample
from .sizes import EDGE_SIZES, NODE_SIZES

MAX_EDGES_PER_POINT = 200
"""A graph with more is an error, as it is of a badly trained embedding."""


class Graph(NamedTuple):
    """Edges of an event.

    Attributes:
        source, target: int32[m], rows of the sample's points; the source is the outer one.
        consecutive: bool[m], whether the points follow each other on a particle.
        same: bool[m], whether they are of the same particle.
        weight: float32[m], of each edge in a loss.
    """

    source: Array
    target: Array
    consecutive: Array
    same: Array
    weight: Array

    def __len__(self) -> int:
        return len(self.source)

    def take(self, index: Array) -> Graph:
        """The edges that ``index`` (integers or a mask) selects."""
        return Graph(*(array[index] for array in self))

    def within(self, rows: Array, n_points: int) -> Graph:
        """The edges between the points ``rows`` of ``n_points``, which they then number."""
        number = np.full(n_points, -1, np.int32)
        number[rows] = np.arange(len(rows), dtype=np.int32)
        source, target = number[self.source], number[self.target]
        inside = np.flatnonzero((source >= 0) & (target >= 0))
        kept = self.take(inside)
        return Graph(source[inside], target[inside], kept.consecutive, kept.same, kept.weight)


def find_radius_graph(
    network: EmbeddingNetwork, sample: Sample, radius: float, weight: Array
) -> Graph:
    """Pairs of points that the embedding puts closer than ``radius``.

    Args:
        weight: float32[n], of the points; an edge within a particle has that of its points,
            any other has 1.

    Raises:
        EventError: there are more than :data:`MAX_EDGES_PER_POINT`.
    """
    source, target = find_neighbours(
        embed(network, sample), radius, MAX_EDGES_PER_POINT * len(sample), sample.event.event
    )
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
    """The edges whose score exceeds ``cut``."""
    return graph.take(sigmoid(judge_edges(network, sample, graph)) > cut)


def embed(network: EmbeddingNetwork, sample: Sample) -> Array:
    """Coordinates float32[n, dimensions] of the points, from the pipeline's compiled loops."""
    spec = network.spec
    coordinates = np.empty((len(sample), spec.dimensions), np.float32)
    packed = pack(perceptrons(spec)["mlp"], _weights(network), "mlp.")
    run_rows(packed, sample.nodes / NODE_SIZES, coordinates)
    return coordinates


def judge_edges(network: FilterNetwork | InteractionNetwork, sample: Sample, graph: Graph) -> Array:
    """Logits float32[m] of a filter or a graph network, from the pipeline's compiled loops.

    On whole events these are several times faster than PyTorch's.
    """
    spec, weights = network.spec, _weights(network)
    nodes, edges = sample.nodes / NODE_SIZES, edges_of(sample, graph)
    if isinstance(network, InteractionNetwork):
        interaction = pack_interaction(network.spec, weights, "")
        return run_interaction(interaction, nodes, graph.source, graph.target, edges)
    logits = np.empty((len(graph), 1), np.float32)
    packed = pack_edge(perceptrons(spec)["mlp"], weights, "mlp.", len(spec.inputs))
    run_edges(packed, nodes, graph.source, graph.target, edges, logits)
    return logits[:, 0]


def nodes_of(network: torch.nn.Module, sample: Sample) -> Tensor:
    """The node inputs in units of their sizes, where the network is."""
    return torch.from_numpy(sample.nodes / NODE_SIZES).to(_device(network))


def edges_of(sample: Sample, graph: Graph) -> Array:
    """The inputs float32[m, k] of the edges in units of their sizes."""
    inputs = edge_inputs(EDGE_INPUTS, sample.scaled, Features(SCALES), graph.source, graph.target)
    return inputs / EDGE_SIZES


def inputs_of(
    network: torch.nn.Module, sample: Sample, graph: Graph
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a network on edges takes, in units of its size, where the network is."""
    device = _device(network)
    source, target = (torch.from_numpy(a.astype(np.int64)) for a in (graph.source, graph.target))
    return (
        nodes_of(network, sample),
        source.to(device),
        target.to(device),
        torch.from_numpy(edges_of(sample, graph)).to(device),
    )


def sigmoid(logit: Array) -> Array:
    """1 / (1 + e^-logit)."""
    with np.errstate(over="ignore"):
        score: Array = 1 / (1 + np.exp(-logit))
    return score


def _weights(network: torch.nn.Module) -> dict[str, Array]:
    return {name: value.cpu().numpy() for name, value in network.state_dict().items()}


def _device(network: torch.nn.Module) -> torch.device:
    return next(network.parameters()).device
