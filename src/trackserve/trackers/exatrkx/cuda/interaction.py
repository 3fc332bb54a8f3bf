"""The interaction network: a kernel for all edges and one for all nodes at each step.

Nodes add up the states of their edges in the order of the edges, as on a CPU.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.device.cuda import Device

from ..architecture import InteractionGnn, perceptrons
from ..interaction import PackedInteraction
from ..tiles import Packed
from .edges import BatchEdges
from .perceptrons import (
    OnEdges,
    find_neighbours,
    fits,
    run_edges,
    run_rows,
    update_nodes,
    upload_on_edges,
)


class Interaction(NamedTuple):
    """:class:`..interaction.PackedInteraction` on the device."""

    node_encoder: Packed
    edge_encoder: OnEdges
    edge: list[OnEdges]
    node: list[Packed]
    head: OnEdges
    hidden: int


def interaction_fits(spec: InteractionGnn) -> bool:
    """Whether all its perceptrons are narrow enough."""
    n_node = {"edge_encoder": len(spec.inputs), "edge": spec.hidden, "head": spec.hidden}
    return all(
        fits(shape, n_node.get(name.partition(".")[0], 0))
        for name, shape in perceptrons(spec).items()
    )


def upload_interaction(device: Device, network: PackedInteraction) -> Interaction:
    """The network on the device, to stay there."""
    return Interaction(
        device.table(network.node_encoder),
        upload_on_edges(device, network.edge_encoder),
        [upload_on_edges(device, edge) for edge in network.edge],
        [device.table(node) for node in network.node],
        upload_on_edges(device, network.head),
        network.hidden,
    )


def run_interaction(
    device: Device,
    network: Interaction,
    nodes: Any,
    n: int,
    edges: BatchEdges,
    own: Any,
    m: int,
) -> None:
    """Fill the score of ``m`` edges between ``n`` nodes with logits.

    Args:
        nodes: float32[., inputs].
        own: float32[., edge inputs].
    """
    states = device.array("gnn.node_states", n, np.float32, network.hidden)
    edge_states = device.array("gnn.edge_states", m, np.float32, network.hidden)
    neighbours = find_neighbours(device, edges, m, n)
    run_rows(device, network.node_encoder, nodes, n, states)
    run_edges(device, network.edge_encoder, nodes, n, edges, own, (0, m), edge_states)
    for edge, node in zip(network.edge, network.node, strict=True):
        run_edges(device, edge, states, n, edges, edge_states, (0, m), edge_states, add=True)
        update_nodes(device, node, states, n, neighbours, edge_states)
    run_edges(device, network.head, states, n, edges, edge_states, (0, m), logits_of(edges))


def logits_of(edges: BatchEdges) -> Any:
    """The score of edges as rows of one value."""
    return edges.score.reshape(edges.score.shape[0], 1)
