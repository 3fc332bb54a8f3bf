"""The interaction network: at each step one kernel for all edges and one for all nodes.

A node adds up the states of its edges in the order of the edges, as on a CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.device.cuda import Device

from ..architecture import InteractionGnn, perceptrons_of
from ..interaction import PackedInteraction
from ..packing import Packed
from .perceptrons import (
    NetworkGraph,
    OnEdges,
    fits,
    group_edges,
    run_edges,
    run_rows,
    update_nodes,
    upload_on_edges,
)


class Interaction(NamedTuple):
    """The network of :class:`..interaction.PackedInteraction` on the device."""

    node_encoder: Packed
    edge_encoder: OnEdges
    edge: list[OnEdges]
    node: list[Packed]
    head: OnEdges
    hidden: int


def interaction_fits(spec: InteractionGnn) -> bool:
    """Return whether all perceptrons of the network are narrow enough for the kernels."""
    n_node = {"edge_encoder": len(spec.inputs), "edge": spec.hidden, "head": spec.hidden}
    return all(
        fits(shape, n_node.get(name.partition(".")[0], 0))
        for name, shape in perceptrons_of(spec).items()
    )


def upload_interaction(device: Device, network: PackedInteraction) -> Interaction:
    """Copy the network to the device, to stay there."""
    return Interaction(
        node_encoder=device.table(network.node_encoder),
        edge_encoder=upload_on_edges(device, network.edge_encoder),
        edge=[upload_on_edges(device, edge) for edge in network.edge],
        node=[device.table(node) for node in network.node],
        head=upload_on_edges(device, network.head),
        hidden=network.hidden,
    )


def run_interaction(device: Device, network: Interaction, graph: NetworkGraph, logits: Any) -> None:
    """Fill the logits of the edges of ``graph``, float32[m, 1]."""
    states = device.array("gnn.node_states", graph.n, np.float32, network.hidden)
    edge_states = device.array("gnn.edge_states", graph.m, np.float32, network.hidden)
    by_node = group_edges(device, graph)
    run_rows(device, network.node_encoder, graph.nodes, graph.n, states)
    run_edges(device, network.edge_encoder, graph, edge_states)
    graph = graph._replace(nodes=states, edges=edge_states)
    for edge, node in zip(network.edge, network.node, strict=True):
        run_edges(device, edge, graph, edge_states, add=True)
        update_nodes(device, node, graph, by_node)
    run_edges(device, network.head, graph, logits)
