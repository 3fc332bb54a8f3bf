"""The published attention network on a CPU, one pass over the edges per step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import fused_kernel, u64
from trackserve.edm.columns import Array

from .architecture import AttentionGnn, perceptrons
from .tiles import (
    PITCH,
    TILE,
    EdgePerceptron,
    Packed,
    load_edges,
    load_rows,
    pack,
    pack_edge,
    run_edges,
    run_rows,
    run_tile,
    sigmoid,
)


class PackedAttention(NamedTuple):
    """The three perceptrons, which all steps share."""

    encoder: Packed
    edge: EdgePerceptron
    node: Packed
    steps: int
    hidden: int


def pack_attention(
    spec: AttentionGnn, weights: Mapping[str, Array], prefix: str
) -> PackedAttention:
    """Pack the network whose weights have names that begin with ``prefix``."""
    shapes = perceptrons(spec)
    width = spec.hidden + len(spec.inputs)
    return PackedAttention(
        pack(shapes["encoder"], weights, f"{prefix}encoder."),
        pack_edge(shapes["edge"], weights, f"{prefix}edge.", width),
        pack(shapes["node"], weights, f"{prefix}node."),
        spec.steps,
        spec.hidden,
    )


def run_attention(network: PackedAttention, nodes: Array, source: Array, target: Array) -> Array:
    """Logits float32[m] of the edges ``source`` to ``target``, int32[m], rows of ``nodes``,
    float32[n, inputs]."""
    states = np.empty((len(nodes), network.hidden + nodes.shape[1]), np.float32)
    run_rows(network.encoder, nodes, states[:, : network.hidden])
    states[:, network.hidden :] = nodes
    messages = np.empty_like(states)
    no_inputs = np.empty((len(source), 0), np.float32)
    logits = np.empty((len(source), 1), np.float32)
    for _ in range(network.steps):
        messages[:] = 0
        _pass_messages(network.edge, states, source, target, messages)
        _update_nodes(network.node, states, messages, nodes)
    run_edges(network.edge, states, source, target, no_inputs, logits)
    return logits[:, 0]


@fused_kernel
def _pass_messages(
    p: EdgePerceptron, states: Array, source: Array, target: Array, messages: Array
) -> None:
    """Add to each node its neighbours' states times the edges' scores, in the edges' order."""
    projected = np.empty((len(states), p.project.layers[0, 1]), np.float32)
    run_rows(p.project, states, projected)
    width = projected.shape[1] // 2
    x = np.zeros((p.rest.width, PITCH), np.float32)
    spare = np.zeros((p.rest.width, PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    n_values = u64(states.shape[1])
    for first in range(0, len(source), TILE):
        load_edges(projected, source, target, first, width, x)
        y = run_tile(p.rest, x, spare, sums)
        for lane in range(u64(TILE)):
            y[0, lane] = sigmoid(y[0, lane])
        for lane in range(u64(min(TILE, len(source) - first))):
            s, t = u64(source[u64(first) + lane]), u64(target[u64(first) + lane])
            score = y[0, lane]
            for j in range(n_values):
                messages[t, j] += score * states[s, j]
            for j in range(n_values):
                messages[s, j] += score * states[t, j]


@fused_kernel
def _update_nodes(p: Packed, states: Array, messages: Array, nodes: Array) -> None:
    """``states += [node(messages, states), nodes]``."""
    x = np.zeros((p.width, PITCH), np.float32)
    spare = np.zeros((p.width, PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    width, inputs = states.shape[1], nodes.shape[1]
    hidden = width - inputs
    for first in range(0, len(states), TILE):
        x[2 * width : p.layers[0, 0]] = np.float32(0)
        load_rows(messages, first, x, 0)
        load_rows(states, first, x, width)
        y = run_tile(p, x, spare, sums)
        for lane in range(u64(min(TILE, len(states) - first))):
            row = u64(first) + lane
            for j in range(u64(hidden)):
                states[row, j] += y[j, lane]
            for j in range(u64(inputs)):
                states[row, u64(hidden) + j] += nodes[row, j]
