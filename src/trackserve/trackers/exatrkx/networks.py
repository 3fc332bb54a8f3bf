"""The three networks as PyTorch modules: what training fits, and what runs on a GPU.

An edge goes from ``source`` to ``target``. The first layer of a network on edges acts on
[source, target, edge] and is applied as three products, the first two once per node.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, cast

import torch
from torch import Tensor, nn

from .architecture import (
    AttentionGnn,
    Embedding,
    Filter,
    InteractionGnn,
    Perceptron,
    perceptrons,
)

if TYPE_CHECKING:
    from .model import Description

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
}


class Mlp(nn.Module):
    """A :class:`.Perceptron`."""

    def __init__(self, shape: Perceptron) -> None:
        super().__init__()
        self.activation = shape.activation
        sizes = itertools.pairwise((shape.inputs, *shape.widths))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in shape.widths if shape.norm)
        n_out = shape.output
        self.last = None if n_out is None else nn.Linear(shape.widths[-1], n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.behind_first(cast(Tensor, self.layers[0](x)))

    def behind_first(self, h: Tensor) -> Tensor:
        """What follows the first linear layer, given what that returns."""
        for i in range(len(self.layers)):
            if i:
                h = self.layers[i](h)
            if len(self.norms):
                h = self.norms[i](h)
            h = _ACTIVATIONS[self.activation](h)
        return h if self.last is None else cast(Tensor, self.last(h))

    def on_edges(
        self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor | None = None
    ) -> Tensor:
        """The network on rows [nodes[source], nodes[target], edges]."""
        first = cast(nn.Linear, self.layers[0])
        width = nodes.shape[1]
        outgoing = nn.functional.linear(nodes, first.weight[:, :width], first.bias)
        incoming = nn.functional.linear(nodes, first.weight[:, width : 2 * width])
        # not outgoing[source], which is several times slower on a CPU
        h = outgoing.index_select(0, source) + incoming.index_select(0, target)
        if edges is not None and edges.shape[1]:
            h = h + nn.functional.linear(edges, first.weight[:, 2 * width :])
        return self.behind_first(h)


class EmbeddingNetwork(nn.Module):
    """Node inputs [n, i] to coordinates [n, dimensions]."""

    def __init__(self, spec: Embedding) -> None:
        super().__init__()
        self.spec = spec
        self.mlp = Mlp(perceptrons(spec)["mlp"])

    def forward(self, nodes: Tensor) -> Tensor:
        return cast(Tensor, self.mlp(nodes))


class FilterNetwork(nn.Module):
    """Node inputs [n, i], edges and their inputs [m, k] to logits [m]."""

    def __init__(self, spec: Filter) -> None:
        super().__init__()
        self.spec = spec
        self.mlp = Mlp(perceptrons(spec)["mlp"])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        return self.mlp.on_edges(nodes, source, target, edges)[:, 0]


class AttentionNetwork(nn.Module):
    """The residual attention network of the public Exa.TrkX service.

    x = [encoder(f), f]; at each step, with the same weights, edges have the score
    e = sigmoid(edge(x_source, x_target)), nodes sum e x of their neighbours on either side,
    m, and x += [node(m, x), f]; at the end edges have the logit edge(x_source, x_target).
    """

    def __init__(self, spec: AttentionGnn) -> None:
        super().__init__()
        shapes = perceptrons(spec)
        self.steps = spec.steps
        self.encoder = Mlp(shapes["encoder"])
        self.edge = Mlp(shapes["edge"])
        self.node = Mlp(shapes["node"])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        x = torch.cat([self.encoder(nodes), nodes], 1)
        for _ in range(self.steps):
            score = torch.sigmoid(self.edge.on_edges(x, source, target))
            messages = torch.zeros_like(x)
            messages = messages.index_add(0, target, score * x[source])
            messages = messages.index_add(0, source, score * x[target])
            x = x + torch.cat([self.node(torch.cat([messages, x], 1)), nodes], 1)
        return self.edge.on_edges(x, source, target)[:, 0]


class InteractionNetwork(nn.Module):
    """Nodes n and edges e with a state of ``hidden`` values each.

    At each step e += edge(n_source, n_target, e), then n += node(n, sum of e over the edges
    that arrive, sum of e over those that leave); at the end an edge has the logit
    head(n_source, n_target, e).
    """

    def __init__(self, spec: InteractionGnn) -> None:
        super().__init__()
        self.spec = spec
        shapes = perceptrons(spec)
        n_weights = 1 if spec.shared else spec.steps
        self.steps = spec.steps
        self.node_encoder = Mlp(shapes["node_encoder"])
        self.edge_encoder = Mlp(shapes["edge_encoder"])
        self.edge = nn.ModuleList(Mlp(shapes[f"edge.{i}"]) for i in range(n_weights))
        self.node = nn.ModuleList(Mlp(shapes[f"node.{i}"]) for i in range(n_weights))
        self.head = Mlp(shapes["head"])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        # float: what is added to at each step stays fp32 where products are not
        n = self.node_encoder(nodes).float()
        e = self.edge_encoder.on_edges(nodes, source, target, edges).float()
        for step in range(self.steps):
            weights = step % len(self.edge)
            edge, node = cast(Mlp, self.edge[weights]), cast(Mlp, self.node[weights])
            e = e + edge.on_edges(n, source, target, e)
            arriving = torch.zeros_like(n).index_add(0, target, e)
            leaving = torch.zeros_like(n).index_add(0, source, e)
            n = n + node(torch.cat([n, arriving, leaving], 1))
        return self.head.on_edges(n, source, target, e)[:, 0]


class Networks(NamedTuple):
    """The networks of a model; the graph networks take what the filter takes."""

    embedding: EmbeddingNetwork
    filter: FilterNetwork
    gnn: AttentionNetwork | InteractionNetwork


def make_networks(description: Description) -> Networks:
    """The three networks of a model with fresh weights."""
    gnn = description.gnn
    return Networks(
        EmbeddingNetwork(description.embedding),
        FilterNetwork(description.filter),
        AttentionNetwork(gnn) if isinstance(gnn, AttentionGnn) else InteractionNetwork(gnn),
    )
