"""The published recipe of the learned tracker, plainly, to compare ours with.

It has PyTorch in fp32 on whole tensors, FAISS flat range search and scipy's components, as the
public service has. Model and cuts are the same. All cores work on one event after the other.

Needs ``pip install faiss-cpu scipy``.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from trackserve.edm import Edges, PointsEvent
from trackserve.trackers.exatrkx.doublets import bounds_of, find_doublets, places_of
from trackserve.trackers.exatrkx.features import (
    edge_inputs,
    node_inputs,
    outward_order,
    scale_points,
)
from trackserve.trackers.exatrkx.model import Model
from trackserve.trackers.exatrkx.modules import AttentionNetwork, Mlp, modules_of
from trackserve.trackers.exatrkx.segmentation import keep_best_edges


class PlainResult(NamedTuple):
    """Component of each point, and the scores of the edges that each stage had to judge."""

    labels: NDArray[np.int32]
    filter_scores: NDArray[np.float32]
    edge_scores: NDArray[np.float32]


class PlainPipeline:
    """The recipe, built once from a model and called with one event at a time."""

    def __init__(self, model: Model) -> None:
        self._description = model.description
        self._modules = modules_of(model)

    @torch.inference_mode()
    def run(self, event: PointsEvent) -> PlainResult:
        d = self._description
        features = scale_points(event.points.position, d.features)
        outward = outward_order(features, d.features)
        order = outward if d.order == "outward" else np.arange(len(features))
        features = features[order]

        nodes = torch.from_numpy(node_inputs(d.embedding.inputs, features, d.features))
        coordinates = self._modules.embedding(nodes).numpy()

        index = faiss.IndexFlatL2(coordinates.shape[1])
        index.add(coordinates)
        limits, _, found = index.range_search(coordinates, d.cuts.radius**2)
        query = np.repeat(np.arange(len(coordinates)), np.diff(limits).astype(np.int64))
        once = query > found
        edges = np.stack([query[once], found[once]])
        if d.doublets is not None:
            bounds, places = bounds_of(d.doublets), places_of(features, d.features)
            edges = edges[:, find_doublets(bounds, places, *edges.astype(np.int32))]

        spec = d.filter
        x = torch.from_numpy(node_inputs(spec.inputs, features, d.features))
        pairs = edge_inputs(spec.edge_inputs, features, d.features, *edges)
        logits = _on_edges(self._modules.filter.mlp, x, torch.from_numpy(edges), pairs)[:, 0]
        filter_scores = torch.sigmoid(logits).numpy()
        edges = edges[:, filter_scores > d.cuts.filter]

        x = torch.from_numpy(node_inputs(d.gnn.inputs, features, d.features))
        pairs = edge_inputs(d.gnn.edge_inputs, features, d.features, *edges)
        edge_scores = torch.sigmoid(self._gnn(x, torch.from_numpy(edges), pairs)).numpy()
        kept = edge_scores > d.cuts.edge
        source, target = order[edges[:, kept]].astype(np.int32)
        if d.cuts.segmentation == "paths":
            rank = np.argsort(outward).astype(np.int32)
            best = keep_best_edges(rank, Edges(source, target, edge_scores[kept]))
            source, target = source[best], target[best]
        n = len(features)
        graph = coo_matrix((np.ones(len(source)), (source, target)), shape=(n, n))
        labels = connected_components(graph, directed=False)[1]
        return PlainResult(labels, filter_scores, edge_scores)

    def _gnn(self, x: Tensor, edges: Tensor, pairs: NDArray[np.float32]) -> Tensor:
        gnn = self._modules.gnn
        if isinstance(gnn, AttentionNetwork):
            state = torch.cat([gnn.encoder(x), x], 1)
            for _ in range(gnn.steps):
                score = torch.sigmoid(_on_edges(gnn.edge, state, edges))
                messages = _sum(score * state[edges[0]], edges[1], len(x))
                messages = messages + _sum(score * state[edges[1]], edges[0], len(x))
                update = gnn.node(torch.cat([messages, state], 1))
                state = state + torch.cat([update, x], 1)
            return _on_edges(gnn.edge, state, edges)[:, 0]
        n = gnn.node_encoder(x)
        e = _on_edges(gnn.edge_encoder, x, edges, pairs)
        for step in range(gnn.steps):
            weights = step % len(gnn.edge)
            e = e + _on_edges(cast(Mlp, gnn.edge[weights]), n, edges, e)
            arriving, leaving = _sum(e, edges[1], len(n)), _sum(e, edges[0], len(n))
            n = n + cast(Mlp, gnn.node[weights])(torch.cat([n, arriving, leaving], 1))
        return _on_edges(gnn.head, n, edges, e)[:, 0]


def _on_edges(
    mlp: Mlp, nodes: Tensor, edges: Tensor, pairs: Tensor | NDArray[np.float32] | None = None
) -> Tensor:
    parts = [nodes[edges[0]], nodes[edges[1]]]
    if pairs is not None:
        parts.append(torch.as_tensor(pairs))
    return cast(Tensor, mlp(torch.cat(parts, 1)))


def _sum(values: Tensor, index: Tensor, n: int) -> Tensor:
    return torch.zeros(n, values.shape[1]).index_add(0, index, values)
