"""The interaction network of acorn on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import fused_kernel, u64
from trackserve.edm.columns import Array

from .architecture import AcornGnn, perceptrons_of
from .packing import EdgePerceptron, Packed, pack, pack_edge
from .perceptrons import NetworkGraph, run_edges, run_rows


class PackedAcorn(NamedTuple):
    """The perceptrons of the network; ``edge`` has one for each step, ``node`` but for the last."""

    node_encoder: Packed
    edge_encoder: EdgePerceptron
    edge: list[EdgePerceptron]
    node: list[Packed]
    decoder: Packed
    head: Packed
    hidden: int


def pack_acorn(spec: AcornGnn, weights: Mapping[str, Array], prefix: str) -> PackedAcorn:
    """Pack the network whose weights have names that begin with ``prefix``."""
    shapes = perceptrons_of(spec)

    def on_edges(name: str, n_node: int) -> EdgePerceptron:
        return pack_edge(shapes[name], weights, f"{prefix}{name}.", n_node)

    def on_rows(name: str) -> Packed:
        return pack(shapes[name], weights, f"{prefix}{name}.")

    steps = [0 if spec.shared else step for step in range(spec.steps)]
    return PackedAcorn(
        node_encoder=on_rows("node_encoder"),
        edge_encoder=on_edges("edge_encoder", spec.hidden),
        edge=[on_edges(f"edge.{i}", 2 * spec.hidden) for i in steps],
        node=[on_rows(f"node.{i}") for i in steps[:-1]],
        decoder=on_rows("decoder"),
        head=on_rows("head"),
        hidden=spec.hidden,
    )


def run_acorn(network: PackedAcorn, graph: NetworkGraph) -> Array:
    """Return the logits of the edges of ``graph``, float32[m]; edges have no inputs here."""
    n_nodes, n_edges, hidden = len(graph.nodes), len(graph.source), network.hidden
    first = np.empty((n_nodes, hidden), np.float32)
    run_rows(network.node_encoder, graph.nodes, first)
    no_inputs = np.empty((n_edges, 0), np.float32)
    first_edges = np.empty((n_edges, hidden), np.float32)
    run_edges(network.edge_encoder, graph._replace(nodes=first, edges=no_inputs), first_edges)
    states, edges = first, first_edges.copy()
    for edge, node in zip_longest(network.edge, network.node):
        both = np.concatenate([states, first], 1)
        both_edges = np.concatenate([edges, first_edges], 1)
        run_edges(edge, graph._replace(nodes=both, edges=both_edges), edges)
        if node is None:
            break
        sums = np.zeros((n_nodes, 2 * hidden), np.float32)
        _add_up(graph, edges, sums)
        states = np.empty((n_nodes, hidden), np.float32)
        run_rows(node, np.concatenate([both, sums], 1), states)
    decoded = np.empty((n_edges, hidden), np.float32)
    run_rows(network.decoder, edges, decoded)
    logits = np.empty((n_edges, 1), np.float32)
    run_rows(network.head, decoded, logits)
    return logits[:, 0]


@fused_kernel
def _add_up(graph: NetworkGraph, edges: Array, sums: Array) -> None:
    """Add the states of edges to their nodes, in the order of the edges.

    Args:
        edges: float32[m, hidden].
        sums: float32[n, 2 hidden], over the edges that arrive, then over those that leave.
    """
    hidden = u64(edges.shape[1])
    for i in range(u64(len(edges))):
        source, target = u64(graph.source[i]), u64(graph.target[i])
        for j in range(hidden):
            sums[target, j] += edges[i, j]
        for j in range(hidden):
            sums[source, hidden + j] += edges[i, j]
