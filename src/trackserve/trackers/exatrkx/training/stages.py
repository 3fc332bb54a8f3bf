"""The three networks in training: the loss of a step, and how good the network is.

A stage of the training is one network. It is judged by what it leaves for the next network. Its
:meth:`~Stage.validate` returns figures by name. One of them is ``merit``: the weights with the
largest merit are kept.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from trackserve.edm.columns import Array
from trackserve.errors import EventError, LimitExceeded

from ..architecture import Doublets, Embedding, Filter, InteractionGnn
from ..modules import EmbeddingNetwork, FilterNetwork, InteractionNetwork
from ..radius import Pairs, find_pairs
from .config import MODEL_EDGE_INPUTS, MODEL_NODE_INPUTS, TrainingConfig
from .data import Data, Sample, choose_window
from .graphs import (
    MAX_EDGES_PER_POINT,
    Graph,
    embed,
    filter_graph,
    find_radius_graph,
    inputs_of,
    judge_edges,
    nodes_of,
    sigmoid,
)
from .losses import RADIUS, edge_loss, pair_loss
from .physics import Found, find_tracks, measure

VALIDATION_CUTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Edge cuts that each validation of the graph network tries."""
VALIDATION_MORE_POINTS = (0, 1, 2)
"""So many more points than layers of a wanted particle must a track have, in the three cases that
they try; the scan at the end tries more."""
_CROWDED = 60
"""Most neighbours per point. An embedding with random weights puts all points together and has
more: then it learns from the pairs of ``_FEW_POINTS`` points."""
_FEW_POINTS = 1000

N_co = TypeVar("N_co", bound=torch.nn.Module, covariant=True)


class Stage(Protocol[N_co]):
    """A network in training."""

    name: str

    @property
    def network(self) -> N_co: ...

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        """Return the loss of one event; it depends on the weights and the arguments only."""
        ...

    def validate(self) -> dict[str, float]:
        """Return figures of the network on the validation events."""
        ...


class EmbeddingStage:
    """The embedding learns to put points that follow each other on a particle within the radius."""

    name = "embedding"

    def __init__(self, config: TrainingConfig, data: Data, device: str) -> None:
        self._config = config
        self._data = data
        self.network = EmbeddingNetwork(embedding_spec(config)).to(device)

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        config = self._config
        sample = self._data.sample(self._data.at_step(step))
        sample = sample.take(choose_window(sample, config.embedding.points, rng))
        weight = point_weights(sample, config)
        place = self.network(nodes_of(self.network, sample))

        first, second = sample.pairs[:, sample.pt[sample.pairs[0]] > config.soft_pt]
        together = _squared_distances(place, first, second)
        right = torch.from_numpy(weight[first]).to(place.device)

        asked = (sample.pt > config.soft_pt) & (sample.particle >= 0)
        at = place.detach().cpu().numpy()
        first, second = _wrong_neighbours(
            at, sample, asked, self._reach, config.embedding.wrong_pairs, rng
        )
        apart = _squared_distances(place, first, second)

        own = config.embedding
        pull = own.pull * pair_loss(together, True, own.softness, right)
        return pull + pair_loss(apart, False, own.softness, None)

    @property
    def _reach(self) -> float:
        """Distance beyond which a wrong pair has almost no loss."""
        return float((RADIUS**2 + 2.5 * self._config.embedding.softness) ** 0.5)

    def validate(self) -> dict[str, float]:
        radius = self.radius()
        edges = points = 0
        for key in self._data.validation:
            sample = self._data.sample(key)
            points += len(sample)
            try:
                weight = np.ones(len(sample), np.float32)
                edges += len(find_radius_graph(self.network, sample, radius, weight))
            except EventError:
                edges += MAX_EDGES_PER_POINT * len(sample)
        return {"radius": radius, "edges_per_point": edges / points, "merit": -edges / points}

    def radius(self) -> float:
        """Return the radius within which the wanted share of the wanted pairs lies.

        The pairs are those of the validation events.
        """
        distances = []
        for key in self._data.validation:
            sample = self._data.sample(key)
            place = embed(self.network, sample)
            first, second = sample.pairs[:, sample.wanted[sample.pairs[0]]]
            distances.append(np.linalg.norm(place[first] - place[second], axis=1))
        return float(np.quantile(np.concatenate(distances), self._config.embedding.efficiency))


MakeGraph = Callable[[Sample], Graph]
"""Function that makes the graph of an event."""


class _EdgeStage:
    """The part that the training of filter and graph network share: the graphs of the events."""

    def __init__(self, config: TrainingConfig, data: Data, make_graph: MakeGraph) -> None:
        self._config = config
        self._data = data
        remember = functools.lru_cache(config.cached_events)
        self._graph = remember(lambda key: make_graph(data.sample(key)))

    def _event(self, key: tuple[int, int]) -> tuple[Sample, Graph]:
        return self._data.sample(key), self._graph(key)

    def _event_at(self, step: int) -> tuple[Sample, Graph]:
        return self._event(self._data.at_step(step))

    def _validation_events(self) -> Iterator[tuple[Sample, Graph]]:
        return map(self._event, self._data.validation)


class FilterStage(_EdgeStage):
    """The filter learns which edges of the radius graph may be part of a track."""

    name = "filter"

    def __init__(
        self, config: TrainingConfig, data: Data, device: str, make_graph: MakeGraph
    ) -> None:
        super().__init__(config, data, make_graph)
        self.network = FilterNetwork(filter_spec(config)).to(device)

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        sample, graph = self._event_at(step)
        chosen = np.flatnonzero((graph.consecutive & (graph.weight > 0)) | ~graph.same)
        n_chosen = min(self._config.filter.edges, len(chosen))
        graph = graph.take(np.sort(rng.choice(chosen, n_chosen, replace=False)))
        logit = self.network(*inputs_of(self.network, sample, graph))
        return _edge_loss(logit, graph, self._config.filter.pull)

    def validate(self) -> dict[str, float]:
        points, logits, graphs, wanted = 0, [], [], []
        for sample, graph in self._validation_events():
            points += len(sample)
            logits.append(judge_edges(self.network, sample, graph))
            graphs.append(graph)
            wanted.append(graph.consecutive & sample.wanted[graph.source])
        logit = np.concatenate(logits)
        cut = np.quantile(logit[np.concatenate(wanted)], 1 - self._config.filter.efficiency)
        consecutive = np.concatenate([graph.consecutive for graph in graphs])
        kept = logit > cut
        return {
            "cut": float(sigmoid(np.array(cut))),
            "edges_per_point": kept.sum() / points,
            "purity": float(consecutive[kept].mean()),
            "auc": auc(logit, consecutive),
            "merit": -kept.sum() / points,
        }


class GnnStage(_EdgeStage):
    """The graph network learns which edges join points that follow each other on a particle.

    An edge that leaves out a point of its particle counts as wrong: so tracks are paths.
    """

    name = "gnn"

    def __init__(
        self, config: TrainingConfig, data: Data, device: str, make_graph: MakeGraph
    ) -> None:
        super().__init__(config, data, make_graph)
        self.network = InteractionNetwork(gnn_spec(config)).to(device)

    def loss(self, step: int, rng: np.random.Generator) -> Tensor:
        sample, graph = self._event_at(step)
        rows = choose_window(sample, self._config.gnn.points, rng)
        sample, graph = sample.take(rows), graph.within(rows, len(sample))
        logit = self.network(*inputs_of(self.network, sample, graph))
        return _edge_loss(logit, graph, pull=1)

    def validate(self) -> dict[str, float]:
        judged = [
            (sample, graph, sigmoid(judge_edges(self.network, sample, graph)))
            for sample, graph in self._validation_events()
        ]
        least = self._data.wanted.min_layers
        least_points = [least + more for more in VALIDATION_MORE_POINTS]
        found = [
            (cut, measure(shares))
            for cut in VALIDATION_CUTS
            for shares in zip(
                *(find_tracks(*one, cut, least_points) for one in judged), strict=True
            )
        ]
        cut, best = max(found, key=lambda pair: merit(pair[1], self._config.max_fakes))
        score = np.concatenate([score for _, _, score in judged])
        consecutive = np.concatenate([graph.consecutive for _, graph, _ in judged])
        return {
            "cut": cut,
            "efficiency": best.efficiency,
            "fakes": best.fakes,
            "auc": auc(score, consecutive),
            "merit": merit(best, self._config.max_fakes),
        }


def embedding_spec(config: TrainingConfig) -> Embedding:
    """Return the architecture of the embedding."""
    own = config.embedding
    return Embedding(MODEL_NODE_INPUTS, own.widths, own.dimensions, own.activation)


def filter_spec(config: TrainingConfig) -> Filter:
    """Return the architecture of the filter."""
    return Filter(MODEL_NODE_INPUTS, config.filter.widths, MODEL_EDGE_INPUTS)


def gnn_spec(config: TrainingConfig) -> InteractionGnn:
    """Return the architecture of the graph network."""
    own = config.gnn
    return InteractionGnn(
        "interaction", MODEL_NODE_INPUTS, MODEL_EDGE_INPUTS, own.hidden, own.depth, own.steps
    )


def merit(found: Found, max_fakes: float) -> float:
    """Return the efficiency minus ten times the share of fakes above ``max_fakes``.

    Without any track there is no share; it counts as 1.
    """
    fakes = 1.0 if math.isnan(found.fakes) else found.fakes
    return found.efficiency - 10 * max(fakes - max_fakes, 0.0)


def point_weights(sample: Sample, config: TrainingConfig) -> Array:
    """Return the weight of the particle of each point in a loss, float32[n]."""
    weight: Array = np.where(sample.pt > config.wanted_pt, 1, config.soft_weight)
    weight[sample.pt <= config.soft_pt] = 0
    weight[sample.pt > config.fast_pt] = config.fast_weight
    return weight.astype(np.float32)


def auc(score: Array, true: Array) -> float:
    """Return the chance that a true edge has a higher score than another edge."""
    rank = np.empty(len(score))
    rank[np.argsort(score, kind="stable")] = np.arange(len(score))
    n_true = int(true.sum())
    n_pairs = n_true * (len(true) - n_true)
    return float((rank[true].sum() - n_true * (n_true - 1) / 2) / n_pairs) if n_pairs else np.nan


def radius_graph(
    config: TrainingConfig,
    embedding: EmbeddingNetwork,
    radius: float,
    doublets: Doublets | None,
) -> MakeGraph:
    """Return the function that makes the graphs from which the filter learns."""
    return lambda sample: find_radius_graph(
        embedding, sample, radius, point_weights(sample, config), doublets
    )


def filtered_graph(make_graph: MakeGraph, network: FilterNetwork, cut: float) -> MakeGraph:
    """Return the function that makes the graphs from which the graph network learns."""
    return lambda sample: filter_graph(network, sample, make_graph(sample), cut)


def _edge_loss(logit: Tensor, graph: Graph, pull: float) -> Tensor:
    true = graph.consecutive.astype(np.float32)
    weight = np.where(graph.consecutive, np.float32(pull) * graph.weight, graph.weight)
    return edge_loss(logit, *(torch.from_numpy(array).to(logit.device) for array in (true, weight)))


def _squared_distances(place: Tensor, first: Array, second: Array) -> Tensor:
    one, other = (
        place.index_select(0, torch.from_numpy(rows.astype(np.int64)).to(place.device))
        for rows in (first, second)
    )
    return (one - other).square().sum(1)


def _wrong_neighbours(
    place: Array, sample: Sample, asked: Array, reach: float, most: int, rng: np.random.Generator
) -> Pairs:
    """Return up to ``most`` pairs of points of different particles that are near each other.

    Args:
        place: float32[n, d], coordinates of the points.
        asked: bool[n]; one point of each pair must be among these.
        reach: largest distance of a pair.
    """
    try:
        pairs = find_pairs(place, reach, _CROWDED * len(sample), sample.event.event)
    except LimitExceeded:
        some = rng.choice(len(sample), min(_FEW_POINTS, len(sample)), replace=False)
        pairs = find_pairs(place[some], reach, _FEW_POINTS**2, sample.event.event)
        pairs = Pairs(some[pairs.source], some[pairs.target])
    first, second = pairs
    particle = sample.particle
    wrong = np.flatnonzero((particle[first] != particle[second]) & (asked[first] | asked[second]))
    if len(wrong) > most:
        wrong = rng.choice(wrong, most)
    return Pairs(first[wrong], second[wrong])
