"""The published attention network on a CPU: each step passes over the edges once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import fused_kernel, u64
from trackserve.device.lanes import TILE
from trackserve.edm.columns import Array

from .activation import sigmoid
from .architecture import AttentionGnn, perceptrons_of
from .packing import EdgePerceptron, Packed, pack, pack_edge
from .perceptrons import (
    WORK,
    NetworkGraph,
    load_edges,
    project_nodes,
    projection,
    run_edges,
    run_rows,
    run_tile,
)
from .tiles import load_rows, make_tiles


class PackedAttention(NamedTuple):
    """The three perceptrons of the network; all steps share them."""

    encoder: Packed
    edge: EdgePerceptron
    node: Packed
    steps: int
    hidden: int


def pack_attention(
    spec: AttentionGnn, weights: Mapping[str, Array], prefix: str
) -> PackedAttention:
    """Pack the network whose weights have names that begin with ``prefix``."""
    shapes = perceptrons_of(spec)
    width = spec.hidden + len(spec.inputs)
    return PackedAttention(
        encoder=pack(shapes["encoder"], weights, f"{prefix}encoder."),
        edge=pack_edge(shapes["edge"], weights, f"{prefix}edge.", width),
        node=pack(shapes["node"], weights, f"{prefix}node."),
        steps=spec.steps,
        hidden=spec.hidden,
    )


def run_attention(network: PackedAttention, graph: NetworkGraph) -> Array:
    """Return the logits of the edges of ``graph``, float32[m]; edges have no inputs here."""
    nodes, n_edges = graph.nodes, len(graph.source)
    encoded = np.empty((len(nodes), network.hidden), np.float32)
    run_rows(network.encoder, nodes, encoded)
    states = np.concatenate([encoded, nodes], 1)
    graph = graph._replace(nodes=states, edges=np.empty((n_edges, 0), np.float32))
    messages = np.empty_like(states)
    with WORK.lend(projection(network.edge, len(nodes))) as (projected,):
        for _ in range(network.steps):
            messages[:] = 0
            _pass_messages(network.edge, graph, projected, messages)
            _update_nodes(network.node, states, messages, nodes)
    logits = np.empty((n_edges, 1), np.float32)
    run_edges(network.edge, graph, logits)
    return logits[:, 0]


@fused_kernel
def _pass_messages(
    p: EdgePerceptron, graph: NetworkGraph, projected: Array, messages: Array
) -> None:
    """Add to each node the states of its neighbours times the scores of the edges.

    The products are added in the order of the edges.
    """
    states, source, target = graph.nodes, graph.source, graph.target
    project_nodes(p, states, projected)
    tiles = make_tiles(p.rest.width)
    n_values = u64(states.shape[1])
    for first in range(0, len(source), TILE):
        load_edges(projected, graph, first, tiles)
        y, at = tiles.x, u64(run_tile(p.rest, tiles))
        for lane in range(u64(TILE)):
            y[at, lane] = sigmoid(y[at, lane])
        for lane in range(u64(min(TILE, len(source) - first))):
            s, t = u64(source[u64(first) + lane]), u64(target[u64(first) + lane])
            score = y[at, lane]
            for j in range(n_values):
                messages[t, j] += score * states[s, j]
            for j in range(n_values):
                messages[s, j] += score * states[t, j]


@fused_kernel
def _update_nodes(p: Packed, states: Array, messages: Array, nodes: Array) -> None:
    """Do ``states += [node(messages, states), nodes]``."""
    tiles = make_tiles(p.width)
    width, inputs = states.shape[1], nodes.shape[1]
    hidden = width - inputs
    for first in range(0, len(states), TILE):
        load_rows(messages, first, tiles, 0)
        load_rows(states, first, tiles, width)
        y, at = tiles.x, u64(run_tile(p, tiles))
        for lane in range(u64(min(TILE, len(states) - first))):
            row = u64(first) + lane
            for j in range(u64(hidden)):
                states[row, j] += y[at + j, lane]
            for j in range(u64(inputs)):
                states[row, u64(hidden) + j] += nodes[row, j]
