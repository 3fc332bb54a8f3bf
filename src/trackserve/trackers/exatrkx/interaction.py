"""The interaction network on a CPU: states of nodes are rows, states of edges are tiles.

Each step passes over the edges once, and over the nodes once. The first pass does the products,
LayerNorm, the new state of the edge and the sums of the nodes, so the states are the only array as
long as the edges. The second one does the new state of the node and its part in the next products.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import LANES, f32, fused_kernel, shared, shared_step, u64
from trackserve.device.lanes import TILE, load, splat, store
from trackserve.edm.columns import Array

from .architecture import InteractionGnn, perceptrons_of
from .packing import EdgePerceptron, Packed, pack, pack_edge
from .perceptrons import (
    WORK,
    NetworkGraph,
    load_edges,
    project_nodes,
    project_tile,
    projection,
    run_rows,
    run_tile,
    start_edges,
)
from .tiles import (
    At,
    Tiles,
    Weights,
    add_rows,
    load_rows,
    make_tiles,
    multiply,
    rounded,
    store_rows,
    to_rows,
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
    shape = projection(network.head, n_nodes)
    width = shape[1] // 2
    logits = np.empty((n_edges, 1), np.float32)
    following = [*network.edge, network.head]
    with WORK.lend(
        (-(-n_edges // TILE) * width, TILE),
        shape,
        (n_nodes, hidden),
        (n_nodes, width),
        (n_nodes, width),
    ) as (edge_states, projected, states, arriving, leaving):
        run_rows(network.node_encoder, graph.nodes, states)
        if width > hidden:
            edge_states[:] = 0
        _encode_edges(network.edge_encoder, graph, projected, edge_states)
        sums = NodeSums(arriving, leaving)
        arriving[:] = 0
        leaving[:] = 0
        project_nodes(following[0], states, projected)
        for step, (edge, node) in enumerate(zip(network.edge, network.node, strict=True)):
            _update_edges(edge, graph, projected, edge_states, sums)
            _update_nodes(node, following[step + 1].project, states, sums, projected)
        _judge_edges(network.head, graph, projected, edge_states, logits)
    return logits[:, 0]


@fused_kernel
def _encode_edges(p: EdgePerceptron, graph: NetworkGraph, projected: Array, states: Array) -> None:
    """Fill the first states of the edges, float32[tiles * width, TILE]."""
    project_nodes(p, graph.nodes, projected)
    tiles = make_tiles(max(p.rest.width, p.edge.shape[1]))
    hidden = p.rest.layers[-1, 1]
    width = rounded(hidden)
    for first in range(0, len(graph.source), TILE):
        start_edges(p, graph, projected, first, tiles)
        at = run_tile(p.rest, tiles)
        begin = u64(first // TILE * width) * u64(TILE)
        for place in range(u64(0), u64(hidden * TILE), u64(LANES)):
            store(states, begin + place, load(tiles.x, u64(at * TILE) + place))


@fused_kernel
def _update_edges(
    p: EdgePerceptron, graph: NetworkGraph, projected: Array, states: Array, sums: NodeSums
) -> None:
    """Do one step of the edges, and add their new states to the sums of their nodes.

    The states are added in the order of the edges.
    """
    tiles = make_tiles(p.rest.width)
    n_out, n_in = p.edge.shape
    width = sums.arriving.shape[1]
    weights = Weights(p.edge, 0, n_out, n_in)
    for first in range(0, len(graph.source), TILE):
        state = first // TILE * width
        load_edges(projected, graph, first, tiles)
        multiply(weights, At(states, state), At(tiles.x, 0))
        at = run_tile(p.rest, tiles)
        for place in range(u64(0), u64(n_in * TILE), u64(LANES)):
            old = load(states, u64(state * TILE) + place)
            store(states, u64(state * TILE) + place, old + load(tiles.x, u64(at * TILE) + place))
        _add_to_nodes(graph, first, states, state, tiles, sums)


@shared_step
def _add_to_nodes(
    graph: NetworkGraph, first: int, states: Array, state: int, tiles: Tiles, sums: NodeSums
) -> None:
    """Add the states of TILE edges from ``first`` on to the sums of their nodes."""
    source, target = graph.source, graph.target
    arriving, leaving = sums
    width, pitch = u64(arriving.shape[1]), u64(tiles.rows.shape[1])
    for group in range(0, min(TILE, len(source) - first), LANES):
        to_rows(states, state, group, width, tiles.rows)
        for r in range(u64(min(LANES, len(source) - first - group))):
            edge = u64(first + group) + r
            s, t = u64(source[edge]) * width, u64(target[edge]) * width
            for j in range(u64(0), width, u64(LANES)):
                row = load(tiles.rows, r * pitch + j)
                store(arriving, t + j, load(arriving, t + j) + row)
                store(leaving, s + j, load(leaving, s + j) + row)


@fused_kernel
def _update_nodes(
    p: Packed, following: Packed, nodes: Array, sums: NodeSums, projected: Array
) -> None:
    """Do one step of the nodes, and their part in the products on edges that follow.

    The sums become 0. A node is in the cache for all of this.
    """
    tiles = make_tiles(max(p.width, following.width))
    hidden = nodes.shape[1]
    for first in range(0, len(nodes), TILE):
        load_rows(nodes, first, tiles, 0)
        load_rows(sums.arriving, first, tiles, hidden)
        load_rows(sums.leaving, first, tiles, 2 * hidden)
        add_rows(tiles, run_tile(p, tiles), nodes, first)
        project_tile(following, nodes, first, tiles, projected)
        _clear(sums.arriving, first)
        _clear(sums.leaving, first)


@shared
def _clear(rows: Array, first: int) -> None:
    for i in range(u64(first), u64(min(first + TILE, len(rows)))):
        for j in range(u64(0), u64(rows.shape[1]), u64(LANES)):
            store(rows, i * u64(rows.shape[1]) + j, splat(f32(0)))


@fused_kernel
def _judge_edges(
    p: EdgePerceptron, graph: NetworkGraph, projected: Array, states: Array, logits: Array
) -> None:
    """Fill the logits of the edges, float32[m, 1]."""
    tiles = make_tiles(p.rest.width)
    n_out, n_in = p.edge.shape
    width = rounded(n_in)
    for first in range(0, len(graph.source), TILE):
        load_edges(projected, graph, first, tiles)
        multiply(Weights(p.edge, 0, n_out, n_in), At(states, first // TILE * width), At(tiles.x, 0))
        store_rows(tiles, run_tile(p.rest, tiles), 1, logits, first, 0)
