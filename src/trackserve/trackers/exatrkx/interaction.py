"""The interaction network on a CPU: states of nodes are rows, states of edges are tiles.

Each step passes over the edges once. The pass does the products, LayerNorm, the new state of the
edge and the sums of the nodes, so the states are the only array as long as the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import fused_kernel, u64
from trackserve.edm.columns import Array

from .architecture import InteractionGnn, perceptrons_of
from .perceptrons import (
    PITCH,
    TILE,
    EdgePerceptron,
    NetworkGraph,
    Packed,
    accumulate,
    load_edges,
    load_rows,
    make_tiles,
    pack,
    pack_edge,
    project_nodes,
    run_rows,
    run_tile,
    store_rows,
)


class NodeSums(NamedTuple):
    """Sums of the states of edges at each node, float32[n, hidden].

    Attributes:
        arriving: over the edges whose target is the node.
        leaving: over the edges whose source is the node.
    """

    arriving: Array
    leaving: Array


class PackedInteraction(NamedTuple):
    """The perceptrons of the network; ``edge`` and ``node`` have one for each step."""

    node_encoder: Packed
    edge_encoder: EdgePerceptron
    edge: list[EdgePerceptron]
    node: list[Packed]
    head: EdgePerceptron
    hidden: int


def pack_interaction(
    spec: InteractionGnn, weights: Mapping[str, Array], prefix: str
) -> PackedInteraction:
    """Pack the network whose weights have names that begin with ``prefix``."""
    shapes = perceptrons_of(spec)

    def on_edges(name: str, n_node: int) -> EdgePerceptron:
        return pack_edge(shapes[name], weights, f"{prefix}{name}.", n_node)

    def on_nodes(name: str) -> Packed:
        return pack(shapes[name], weights, f"{prefix}{name}.")

    steps = [0 if spec.shared else step for step in range(spec.steps)]
    return PackedInteraction(
        node_encoder=on_nodes("node_encoder"),
        edge_encoder=on_edges("edge_encoder", len(spec.inputs)),
        edge=[on_edges(f"edge.{i}", spec.hidden) for i in steps],
        node=[on_nodes(f"node.{i}") for i in steps],
        head=on_edges("head", spec.hidden),
        hidden=spec.hidden,
    )


def run_interaction(network: PackedInteraction, graph: NetworkGraph) -> Array:
    """Return the logits of the edges of ``graph``, float32[m]."""
    n_nodes, n_edges, hidden = len(graph.nodes), len(graph.source), network.hidden
    states = np.empty((n_nodes, hidden), np.float32)
    run_rows(network.node_encoder, graph.nodes, states)
    edge_states = np.zeros((-(-n_edges // TILE), -(-hidden // 4) * 4, PITCH), np.float32)
    _encode_edges(network.edge_encoder, graph, edge_states)
    graph = graph._replace(nodes=states)
    sums = NodeSums(
        arriving=np.empty((n_nodes, hidden), np.float32),
        leaving=np.empty((n_nodes, hidden), np.float32),
    )
    for edge, node in zip(network.edge, network.node, strict=True):
        sums.arriving[:] = 0
        sums.leaving[:] = 0
        _update_edges(edge, graph, edge_states, sums)
        _update_nodes(node, states, sums)
    logits = np.empty((n_edges, 1), np.float32)
    _judge_edges(network.head, graph, edge_states, logits)
    return logits[:, 0]


@fused_kernel
def _encode_edges(p: EdgePerceptron, graph: NetworkGraph, states: Array) -> None:
    """Fill the first states of the edges, float32[tiles, hidden, PITCH]."""
    projected = project_nodes(p, graph.nodes)
    tiles = make_tiles(p.rest.width)
    own = np.zeros((p.edge.shape[1], PITCH), np.float32)
    hidden = u64(states.shape[1])
    for tile in range(len(states)):
        load_edges(projected, graph, tile * TILE, tiles.x)
        if len(own):
            load_rows(graph.edges, tile * TILE, own, 0)
            accumulate(p.edge, own, tiles.x)
        y = run_tile(p.rest, tiles)
        for j in range(hidden):
            for lane in range(u64(TILE)):
                states[tile, j, lane] = y[j, lane]


@fused_kernel
def _update_edges(p: EdgePerceptron, graph: NetworkGraph, states: Array, sums: NodeSums) -> None:
    """Do one step of the edges, and add their new states to the sums of their nodes.

    The states are added in the order of the edges.
    """
    source, target = graph.source, graph.target
    arriving, leaving = sums
    projected = project_nodes(p, graph.nodes)
    tiles = make_tiles(p.rest.width)
    n_padded, hidden = u64(states.shape[1]), u64(graph.nodes.shape[1])
    rows = np.empty((TILE, graph.nodes.shape[1]), np.float32)
    for tile in range(len(states)):
        first = tile * TILE
        load_edges(projected, graph, first, tiles.x)
        accumulate(p.edge, states[tile], tiles.x)
        y = run_tile(p.rest, tiles)
        for j in range(n_padded):
            for lane in range(u64(TILE)):
                states[tile, j, lane] += y[j, lane]
        store_rows(states[tile], rows, 0)
        for lane in range(u64(min(TILE, len(source) - first))):
            s, t = u64(source[u64(first) + lane]), u64(target[u64(first) + lane])
            for j in range(hidden):
                arriving[t, j] += rows[lane, j]
            for j in range(hidden):
                leaving[s, j] += rows[lane, j]


@fused_kernel
def _update_nodes(p: Packed, nodes: Array, sums: NodeSums) -> None:
    """Do one step of the nodes."""
    tiles = make_tiles(p.width)
    hidden = nodes.shape[1]
    for first in range(0, len(nodes), TILE):
        tiles.x[3 * hidden : p.layers[0, 0]] = np.float32(0)
        load_rows(nodes, first, tiles.x, 0)
        load_rows(sums.arriving, first, tiles.x, hidden)
        load_rows(sums.leaving, first, tiles.x, 2 * hidden)
        y = run_tile(p, tiles)
        for lane in range(u64(min(TILE, len(nodes) - first))):
            for j in range(u64(hidden)):
                nodes[u64(first) + lane, j] += y[j, lane]


@fused_kernel
def _judge_edges(p: EdgePerceptron, graph: NetworkGraph, states: Array, logits: Array) -> None:
    """Fill the logits of the edges, float32[m, 1]."""
    projected = project_nodes(p, graph.nodes)
    tiles = make_tiles(p.rest.width)
    for tile in range(len(states)):
        load_edges(projected, graph, tile * TILE, tiles.x)
        accumulate(p.edge, states[tile], tiles.x)
        store_rows(run_tile(p.rest, tiles), logits, tile * TILE)
