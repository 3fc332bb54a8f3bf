"""The three networks as modules of PyTorch, for training and for PyTorch's devices.

An edge goes from ``source`` to ``target``. The first layer of a network on edges acts on
[source, target, edge]. It is three products; the first two are done once per node.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from trackserve.edm.columns import Array

from .architecture import (
    AcornGnn,
    AttentionGnn,
    Embedding,
    Filter,
    Gnn,
    InteractionGnn,
    Perceptron,
    perceptrons_of,
)
from .model import Description, Model

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "tanh": torch.tanh,
    "silu": nn.functional.silu,
}


class Mlp(nn.Module):
    """The module of a :class:`.Perceptron`."""

    def __init__(self, shape: Perceptron) -> None:
        super().__init__()
        self.activations = [shape.activation_of(i) for i in range(len(shape.widths))]
        sizes = itertools.pairwise((shape.inputs, *shape.widths))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in shape.widths if shape.norm)
        n_out = shape.output
        self.last = None if n_out is None else nn.Linear(shape.widths[-1], n_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.behind_first(cast(Tensor, self.layers[0](x)))

    def behind_first(self, h: Tensor) -> Tensor:
        """Run all that follows the first linear layer, on the output ``h`` of that layer."""
        for i in range(len(self.layers)):
            if i:
                h = self.layers[i](h)
            if len(self.norms):
                h = self.norms[i](h)
            h = _ACTIVATIONS[self.activations[i]](h)
        return h if self.last is None else cast(Tensor, self.last(h))

    def on_edges(
        self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor | None = None
    ) -> Tensor:
        """Run the perceptron on the rows [nodes[source], nodes[target], edges]."""
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
    """The embedding: from node inputs [n, i] to coordinates [n, dimensions]."""

    def __init__(self, spec: Embedding) -> None:
        super().__init__()
        self.spec = spec
        self.mlp = Mlp(perceptrons_of(spec)["mlp"])

    def forward(self, nodes: Tensor) -> Tensor:
        return cast(Tensor, self.mlp(nodes))


class FilterNetwork(nn.Module):
    """The filter: from node inputs [n, i], edges and edge inputs [m, k] to logits [m]."""

    def __init__(self, spec: Filter) -> None:
        super().__init__()
        self.spec = spec
        self.mlp = Mlp(perceptrons_of(spec)["mlp"])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        return self.mlp.on_edges(nodes, source, target, edges)[:, 0]


class AttentionNetwork(nn.Module):
    """The residual attention network of the public Exa.TrkX service.

    Nodes with inputs f start with the state x = [encoder(f), f]. All steps have the same weights.
    In a step, an edge has the score e = sigmoid(edge(x_source, x_target)). A node adds up e x of
    its neighbours on both sides: m. Then x += [node(m, x), f]. At the end, an edge has the logit
    edge(x_source, x_target).
    """

    def __init__(self, spec: AttentionGnn) -> None:
        super().__init__()
        shapes = perceptrons_of(spec)
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
    """The interaction network: each node n and each edge e has a state of ``hidden`` values.

    In a step, e += edge(n_source, n_target, e). Then n += node(n, sum of e over the edges that
    arrive, sum of e over the edges that leave). At the end, an edge has the logit
    head(n_source, n_target, e).
    """

    def __init__(self, spec: InteractionGnn) -> None:
        super().__init__()
        self.spec = spec
        shapes = perceptrons_of(spec)
        n_weights = 1 if spec.shared else spec.steps
        self.steps = spec.steps
        self.node_encoder = Mlp(shapes["node_encoder"])
        self.edge_encoder = Mlp(shapes["edge_encoder"])
        self.edge = nn.ModuleList(Mlp(shapes[f"edge.{i}"]) for i in range(n_weights))
        self.node = nn.ModuleList(Mlp(shapes[f"node.{i}"]) for i in range(n_weights))
        self.head = Mlp(shapes["head"])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        # float: states stay fp32, even where products are not
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


class AcornNetwork(nn.Module):
    """The interaction network of acorn.

    Nodes start with the state n0 = encoder(inputs), edges with e0 = encoder(n0_source, n0_target).
    In a step, e = edge([n, n0]_source, [n, n0]_target, e, e0). Then n = node(n, n0, sum of e over
    the edges that arrive, sum of e over the edges that leave), but in the last step. At the end, an
    edge has the logit head(decoder(e)).
    """

    def __init__(self, spec: AcornGnn) -> None:
        super().__init__()
        shapes = perceptrons_of(spec)
        self.steps = spec.steps
        self.node_encoder = Mlp(shapes["node_encoder"])
        self.edge_encoder = Mlp(shapes["edge_encoder"])
        self.edge = nn.ModuleList(Mlp(s) for name, s in shapes.items() if name.startswith("edge."))
        self.node = nn.ModuleList(Mlp(s) for name, s in shapes.items() if name.startswith("node."))
        self.decoder = Mlp(shapes["decoder"])
        self.head = Mlp(shapes["head"])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        # float: states stay fp32, even where products are not
        n = first_n = self.node_encoder(nodes).float()
        e = first_e = self.edge_encoder.on_edges(n, source, target).float()
        for step in range(self.steps):
            edge = cast(Mlp, self.edge[step % len(self.edge)])
            both = torch.cat([n, first_n], 1)
            e = edge.on_edges(both, source, target, torch.cat([e, first_e], 1)).float()
            if step == self.steps - 1:
                break
            node = cast(Mlp, self.node[step % len(self.node)])
            arriving = torch.zeros_like(n).index_add(0, target, e)
            leaving = torch.zeros_like(n).index_add(0, source, e)
            n = node(torch.cat([both, arriving, leaving], 1)).float()
        return cast(Tensor, self.head(self.decoder(e)))[:, 0]


class TorchModules(NamedTuple):
    """The networks of a model; the graph network takes the same arguments as the filter."""

    embedding: EmbeddingNetwork
    filter: FilterNetwork
    gnn: AttentionNetwork | InteractionNetwork | AcornNetwork


def make_gnn(spec: Gnn) -> AttentionNetwork | InteractionNetwork | AcornNetwork:
    """Return a graph network with random weights, in float32 on the CPU."""
    if isinstance(spec, AttentionGnn):
        return AttentionNetwork(spec)
    return AcornNetwork(spec) if isinstance(spec, AcornGnn) else InteractionNetwork(spec)


def make_modules(description: Description) -> TorchModules:
    """Return the three networks of a model with random weights, in float32 on the CPU."""
    return TorchModules(
        EmbeddingNetwork(description.embedding),
        FilterNetwork(description.filter),
        make_gnn(description.gnn),
    )


def modules_of(model: Model) -> TorchModules:
    """Return the three networks of ``model`` with its weights, in float32 on the CPU."""
    modules = make_modules(model.description)
    for name, module in modules._asdict().items():
        load_weights(module, model.weights, f"{name}.")
    return modules


def load_weights(module: nn.Module, weights: Mapping[str, Array], prefix: str) -> None:
    """Give a network the weights whose names begin with ``prefix``."""
    module.load_state_dict(
        {
            key.removeprefix(prefix): torch.tensor(value)
            for key, value in weights.items()
            if key.startswith(prefix)
        }
    )


def model_of(description: Description, modules: TorchModules) -> Model:
    """Return the model of ``description`` with a copy of the weights of ``modules``."""
    return Model(
        description,
        {
            f"{name}.{key}": value.detach().cpu().float().numpy().copy()
            for name, module in modules._asdict().items()
            for key, value in module.state_dict().items()
        },
    )
