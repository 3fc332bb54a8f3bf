"""The interaction network on a CPU: node states as rows, edge states as tiles.

One pass over the edges per step does all of it: the products, LayerNorm, the edge's new state
and the sums of the nodes; nothing else of the size of the edges is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import fused_kernel, u64
from trackserve.edm.columns import Array

from .architecture import InteractionGnn, perceptrons
from .tiles import (
    PITCH,
    TILE,
    EdgePerceptron,
    Packed,
    accumulate,
    load_edges,
    load_rows,
    pack,
    pack_edge,
    run_rows,
    run_tile,
    store_rows,
)


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
    shapes = perceptrons(spec)

    def on_edges(name: str, n_node: int) -> EdgePerceptron:
        return pack_edge(shapes[name], weights, f"{prefix}{name}.", n_node)

    def on_nodes(name: str) -> Packed:
        return pack(shapes[name], weights, f"{prefix}{name}.")

    steps = [0 if spec.shared else step for step in range(spec.steps)]
    return PackedInteraction(
        on_nodes("node_encoder"),
        on_edges("edge_encoder", len(spec.inputs)),
        [on_edges(f"edge.{i}", spec.hidden) for i in steps],
        [on_nodes(f"node.{i}") for i in steps],
        on_edges("head", spec.hidden),
        spec.hidden,
    )


def run_interaction(
    network: PackedInteraction, nodes: Array, source: Array, target: Array, edges: Array
) -> Array:
    """Logits of edges.

    Args:
        network: the network.
        nodes: float32[n, inputs].
        source, target: int32[m], rows of ``nodes``.
        edges: float32[m, edge inputs].

    Returns:
        float32[m].
    """
    n_nodes, hidden = len(nodes), network.hidden
    states = np.empty((n_nodes, hidden), np.float32)
    run_rows(network.node_encoder, nodes, states)
    edge_states = np.zeros((-(-len(source) // TILE), -(-hidden // 4) * 4, PITCH), np.float32)
    _encode_edges(network.edge_encoder, nodes, source, target, edges, edge_states)
    arriving = np.empty((n_nodes, hidden), np.float32)
    leaving = np.empty((n_nodes, hidden), np.float32)
    for edge, node in zip(network.edge, network.node, strict=True):
        arriving[:] = 0
        leaving[:] = 0
        _update_edges(edge, states, source, target, edge_states, arriving, leaving)
        _update_nodes(node, states, arriving, leaving)
    logits = np.empty((len(source), 1), np.float32)
    _judge_edges(network.head, states, source, target, edge_states, logits)
    return logits[:, 0]


@fused_kernel
def _project(p: EdgePerceptron, nodes: Array) -> Array:
    """The nodes' parts of the first product of ``p``."""
    projected = np.empty((len(nodes), p.project.layers[0, 1]), np.float32)
    run_rows(p.project, nodes, projected)
    return projected


@fused_kernel
def _encode_edges(
    p: EdgePerceptron, nodes: Array, source: Array, target: Array, edges: Array, states: Array
) -> None:
    projected = _project(p, nodes)
    x = np.zeros((p.rest.width, PITCH), np.float32)
    spare = np.zeros((p.rest.width, PITCH), np.float32)
    own = np.zeros((p.edge.shape[1], PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    width = projected.shape[1] // 2
    hidden = u64(states.shape[1])
    for tile in range(len(states)):
        load_edges(projected, source, target, tile * TILE, width, x)
        if len(own):
            load_rows(edges, tile * TILE, own, 0)
            accumulate(p.edge, own, x)
        y = run_tile(p.rest, x, spare, sums)
        for j in range(hidden):
            for lane in range(u64(TILE)):
                states[tile, j, lane] = y[j, lane]


@fused_kernel
def _update_edges(
    p: EdgePerceptron,
    nodes: Array,
    source: Array,
    target: Array,
    states: Array,
    arriving: Array,
    leaving: Array,
) -> None:
    """One step of the edges; adds their new states, in the order of the edges, to the sums of
    the nodes at which they arrive and from which they leave."""
    projected = _project(p, nodes)
    x = np.zeros((p.rest.width, PITCH), np.float32)
    spare = np.zeros((p.rest.width, PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    width = projected.shape[1] // 2
    n_padded, hidden = u64(states.shape[1]), u64(nodes.shape[1])
    rows = np.empty((TILE, nodes.shape[1]), np.float32)
    for tile in range(len(states)):
        first = tile * TILE
        load_edges(projected, source, target, first, width, x)
        accumulate(p.edge, states[tile], x)
        y = run_tile(p.rest, x, spare, sums)
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
def _update_nodes(p: Packed, nodes: Array, arriving: Array, leaving: Array) -> None:
    """One step of the nodes."""
    x = np.zeros((p.width, PITCH), np.float32)
    spare = np.zeros((p.width, PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    hidden = nodes.shape[1]
    for first in range(0, len(nodes), TILE):
        x[3 * hidden : p.layers[0, 0]] = np.float32(0)
        load_rows(nodes, first, x, 0)
        load_rows(arriving, first, x, hidden)
        load_rows(leaving, first, x, 2 * hidden)
        y = run_tile(p, x, spare, sums)
        for lane in range(u64(min(TILE, len(nodes) - first))):
            for j in range(u64(hidden)):
                nodes[u64(first) + lane, j] += y[j, lane]


@fused_kernel
def _judge_edges(
    p: EdgePerceptron, nodes: Array, source: Array, target: Array, states: Array, logits: Array
) -> None:
    projected = _project(p, nodes)
    x = np.zeros((p.rest.width, PITCH), np.float32)
    spare = np.zeros((p.rest.width, PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    width = projected.shape[1] // 2
    for tile in range(len(states)):
        load_edges(projected, source, target, tile * TILE, width, x)
        accumulate(p.edge, states[tile], x)
        store_rows(run_tile(p.rest, x, spare, sums), logits, tile * TILE)
