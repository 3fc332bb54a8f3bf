"""The Exa.TrkX pipeline: space points to track candidates (paper, figure 3)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar

import numpy as np

from trackserve.device.heap import keep_freed_memory
from trackserve.edm import Edges, PointLabels, PointsEvent
from trackserve.edm.columns import Array
from trackserve.errors import EventError, InputError, ModelError

from .architecture import Filter, Gnn
from .engine import (
    make_cuda,
    make_engine,
    on_cuda,
    scores_of,
)
from .features import (
    check_features,
    edge_inputs,
    node_inputs,
    outward_order,
    scale_points,
    sector_order,
)
from .model import Model, load_model
from .radius import find_neighbours, orient
from .result import GRAPH_STAGES, ExatrkxCounts, ExatrkxResult
from .segmentation import connected_components, keep_best_edges, make_candidates

if TYPE_CHECKING:
    from .cuda import CudaExatrkx

Lap = Callable[[str], None]
Answer = ExatrkxResult | EventError

MAX_EDGES = 20_000_000
"""Pairs within the radius that one event may have: about 2 GB of memory."""
_BATCH_POINTS = 200_000
"""Of the events that are one graph where only the networks are on another device."""


class ExatrkxPipeline:
    """Learned tracking, built once from a model and called on batches of events.

    Args:
        model: networks and cuts.
        device: ``"cpu"``; ``"cuda"`` or ``"cuda:N"``, where all stages are kernels over a
            batch; or another one of PyTorch's, where only the networks run. On a CPU no result
            depends on anything but the event, bit for bit; elsewhere a batch is one graph
            without edges between events, and scores may differ in their last bits.
        threads: events that run at the same time on a CPU; it does not change any bit.
        precision: ``"fp32"``.
        max_edges: pairs within the radius that one event may have.

    Raises:
        InputError: there is no such device or precision.
        MissingExtraError: something that the device needs is not installed.
    """

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
        max_edges: int = MAX_EDGES,
    ) -> None:
        keep_freed_memory()
        self.model = model
        self.device = device
        self.threads = threads
        self.precision = precision
        self.max_edges = max_edges
        self._cuda: CudaExatrkx | None = None
        if on_cuda(device):
            self._cuda = make_cuda(model, device, precision, max_edges)
        else:
            self._engine = make_engine(model, device, precision)

    @classmethod
    def from_model(
        cls,
        name_or_path: str | Path = "default",
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
        *,
        detector: str | None = None,
        max_edges: int = MAX_EDGES,
    ) -> Self:
        """Build from a model that ships with the package, or from a model folder.

        Args:
            detector: where the events come from, if known; the model must be for it.

        Raises:
            InputError: there is no such model, device or precision.
            ModelError: the folder is incomplete or inconsistent, or for another detector.
        """
        model = load_model(name_or_path)
        found = model.description.detector
        if detector is not None and found != detector:
            raise ModelError(
                "the model is for another detector", file=model.where, found=found, bound=detector
            )
        return cls(model, device, threads, precision, max_edges)

    def run(self, events: Sequence[PointsEvent], keep: Collection[str] = ()) -> list[Answer]:
        """Reconstruct a batch of events.

        Args:
            events: any number.
            keep: which of :data:`trackserve.edm.GRAPH_STAGES` to return.

        Returns:
            for each event its result, or the :class:`EventError` that says why there is none.

        Raises:
            InputError: ``keep`` has an unknown name, or positions are not float32[n, 3].
        """
        return self._run([_input(event) for event in events], keep, None)

    def reconstruct(self, event: PointsEvent, keep: Collection[str] = ()) -> ExatrkxResult:
        """Reconstruct one event.

        Raises:
            EventError: it cannot be reconstructed.
            InputError: as for :meth:`run`.
        """
        (result,) = self.run([event], keep)
        if isinstance(result, EventError):
            raise result
        return result

    def run_stages(
        self, events: Sequence[PointsEvent], keep: Collection[str], lap: Lap
    ) -> list[Answer]:
        """:meth:`run` on one thread, calling ``lap(stage)`` as each stage of a graph ends."""
        return self._run([_input(event) for event in events], keep, lap)

    def run_features(
        self,
        features: Sequence[Array],
        events: Sequence[int],
        keep: Collection[str] = (),
        lap: Lap | None = None,
    ) -> list[Answer]:
        """:meth:`run` from scaled features.

        Args:
            features: float32[n, 3] of each event, as :meth:`scale` makes them.
            events: their numbers.
            keep: as for :meth:`run`.
            lap: called with the name of each stage as it ends; then all is on one thread.
        """
        inputs = [_Input(*pair, True) for pair in zip(events, features, strict=True)]
        return self._run(inputs, keep, lap)

    def scale(self, points: Array) -> Array:
        """The model's features float32[n, 3] of points at float32[n, 3], in mm."""
        return scale_points(points, self.model.description.features)

    def warm_up(self) -> None:
        """Compile or load all code, with an event that the model has seen the like of."""
        spec = self.model.description.features
        low = np.array(spec.low or (0, -1, -1), np.float32)
        high = np.array(spec.high or (1, 1, 1), np.float32)
        steps = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
        self.run_features([low + (high - low) * steps * np.float32(0.999)], [0])
        self.scale(np.empty((0, 3), np.float32))

    def _run(
        self, inputs: Sequence[_Input], keep: Collection[str], lap: Lap | None
    ) -> list[Answer]:
        _check(inputs, keep)
        if self._cuda is not None:
            return self._run_on_cuda(self._cuda, inputs, keep, lap)
        one = functools.partial(self._run_graph, keep=keep, lap=lap or (lambda stage: None))
        graphs = list(self._graphs(inputs))
        if self.device == "cpu" and self.threads > 1 and len(graphs) > 1 and lap is None:
            with ThreadPoolExecutor(self.threads) as pool:
                parts = list(pool.map(one, graphs))
        else:
            parts = [one(graph) for graph in graphs]
        return [answer for part in parts for answer in part]

    def _run_on_cuda(
        self,
        cuda: CudaExatrkx,
        inputs: Sequence[_Input],
        keep: Collection[str],
        lap: Lap | None,
    ) -> list[Answer]:
        failed: dict[int, EventError] = {}
        scaled = [
            _attempt(functools.partial(self._features, event), _NO_FEATURES, i, failed)
            for i, event in enumerate(inputs)
        ]
        good = [i for i in range(len(inputs)) if i not in failed]
        found = iter(cuda.run([(inputs[i].event, scaled[i]) for i in good], keep, lap))
        return [failed[i] if i in failed else next(found) for i in range(len(inputs))]

    def _graphs(self, inputs: Sequence[_Input]) -> Iterator[list[_Input]]:
        """What is computed together: on a CPU each event alone, so that it stays in the cache."""
        most = 0 if self.device == "cpu" else _BATCH_POINTS
        graph: list[_Input] = []
        for event in inputs:
            if graph and sum(len(e.points) for e in graph) + len(event.points) > most:
                yield graph
                graph = []
            graph.append(event)
        if graph:
            yield graph

    def _run_graph(self, inputs: list[_Input], keep: Collection[str], lap: Lap) -> list[Answer]:
        """Reconstruct events as one graph; one that fails goes on as one without points."""
        cuts = self.model.description.cuts
        failed: dict[int, EventError] = {}
        points = [
            _attempt(functools.partial(self._order_points, event), _NO_POINTS, i, failed)
            for i, event in enumerate(inputs)
        ]
        scaled = np.concatenate([p.scaled for p in points])
        offsets = np.cumsum([0, *(len(p.scaled) for p in points)])
        lap("features")
        coordinates = self._embed(scaled)
        lap("embedding")
        pairs = [
            _attempt(
                functools.partial(
                    find_neighbours,
                    coordinates[offsets[i] : offsets[i + 1]],
                    cuts.radius,
                    self.max_edges,
                    event.event,
                ),
                _NO_PAIRS,
                i,
                failed,
            )
            for i, event in enumerate(inputs)
        ]
        radius = _one_graph(pairs, offsets, np.concatenate([p.place for p in points]))
        lap("radius")
        filtered = self._filter(scaled, radius)
        lap("filter")
        tracks = self._gnn(scaled, filtered)
        lap("gnn")
        graphs = dict(zip(GRAPH_STAGES, (radius, filtered, tracks), strict=True))
        answers = [
            failed[i]
            if i in failed
            else self._segment(_Event(event.event, i, points[i], offsets[i]), graphs, keep)
            for i, event in enumerate(inputs)
        ]
        lap("components")
        return answers

    def _features(self, event: _Input) -> Array:
        """The scaled features of an event's points.

        Raises:
            EventError: a point is not finite, or outside the range of the model.
        """
        scaled = event.points if event.scaled else self.scale(event.points)
        check_features(scaled, self.model.description.features, event.event)
        return scaled

    def _order_points(self, event: _Input) -> _Points:
        """The features of an event's points, sector by sector.

        Raises:
            EventError: a point is not finite, or outside the range of the model.
        """
        description = self.model.description
        scaled = self._features(event)
        numbers = np.arange(len(scaled), dtype=np.int32)
        rank = np.empty_like(numbers)
        rank[outward_order(scaled, description.features)] = numbers
        place = rank if description.order == "outward" else numbers
        order = sector_order(scaled, description.features, place)
        return _Points(scaled[order], order, place[order], rank)

    def _embed(self, scaled: Array) -> Array:
        description = self.model.description
        nodes = node_inputs(description.embedding.inputs, scaled, description.features)
        return self._engine.embed(nodes)

    def _filter(self, scaled: Array, graph: _Graph) -> _Graph:
        description, edges = self.model.description, graph.edges
        inputs = self._inputs(description.filter, scaled, edges)
        logits = self._engine.filter(inputs.nodes, edges.source, edges.target, inputs.edges)
        return _keep_edges(graph, logits, description.cuts.filter)

    def _gnn(self, scaled: Array, graph: _Graph) -> _Graph:
        description, edges = self.model.description, graph.edges
        inputs = self._inputs(description.gnn, scaled, edges)
        logits = self._engine.gnn(inputs.nodes, edges.source, edges.target, inputs.edges)
        return _keep_edges(graph, logits, description.cuts.edge)

    def _inputs(self, spec: Filter | Gnn, scaled: Array, edges: Edges) -> _NetworkInputs:
        features = self.model.description.features
        return _NetworkInputs(
            node_inputs(spec.inputs, scaled, features),
            edge_inputs(spec.edge_inputs, scaled, features, edges.source, edges.target),
        )

    def _segment(
        self, event: _Event, graphs: Mapping[str, _Graph], keep: Collection[str]
    ) -> ExatrkxResult:
        """From the edges that each stage has kept to the result of one event."""
        cuts, rank = self.model.description.cuts, event.points.rank
        stages = {name: _edges_of(graphs[name], event) for name in {*keep, "track_edges"}}
        edges = stages["track_edges"]
        if cuts.segmentation == "paths":
            edges = edges.take(keep_best_edges(rank, edges.source, edges.target, edges.score))
        labels = connected_components(len(rank), edges.source, edges.target)
        candidates = make_candidates(labels, rank, edges.source, edges.score, cuts.min_points)
        slot = event.slot
        counts = ExatrkxCounts(
            points=len(rank),
            **{name: int(g.starts[slot + 1] - g.starts[slot]) for name, g in graphs.items()},
            components=int(labels.max(initial=-1)) + 1,
            candidates=len(candidates),
        )
        kept = {name: stages[name] for name in keep}
        return ExatrkxResult(event.number, counts, PointLabels(labels), candidates, **kept)


class _Input(NamedTuple):
    """An event: its number, float32[n, 3], and whether they are features or positions in mm."""

    event: int
    points: Array
    scaled: bool


class _Points(NamedTuple):
    """The points of one event.

    Attributes:
        scaled: float32[n, 3], features sector by sector.
        order: int32[n], the rows that they had.
        place: int32[n], in the model's order, in which edges go from later to earlier points.
        rank: int32[n], for each row its place from the inside out.
    """

    scaled: Array
    order: Array
    place: Array
    rank: Array


class _Event(NamedTuple):
    """An event: its number, which of the batch it is, its points and where these begin."""

    number: int
    slot: int
    points: _Points
    offset: int


class _Graph(NamedTuple):
    """Edges between the concatenated points of a batch, event by event.

    Attributes:
        edges: the edges.
        starts: int64[events + 1], where those of each event begin.
    """

    edges: Edges
    starts: Array


class _NetworkInputs(NamedTuple):
    nodes: Array
    edges: Array


_NO_ROWS = np.empty(0, np.int32)
_NO_FEATURES = np.empty((0, 3), np.float32)
_NO_POINTS = _Points(_NO_FEATURES, _NO_ROWS, _NO_ROWS, _NO_ROWS)
_NO_PAIRS = (_NO_ROWS, _NO_ROWS)

T = TypeVar("T")


def _attempt(step: Callable[[], T], nothing: T, i: int, failed: dict[int, EventError]) -> T:
    """What ``step`` returns; if event ``i`` fails in it, ``nothing``, and the error is noted."""
    if i in failed:
        return nothing
    try:
        return step()
    except EventError as error:
        failed[i] = error
        return nothing


def _input(event: PointsEvent) -> _Input:
    return _Input(event.event, event.points.position, False)


def _check(inputs: Sequence[_Input], keep: Collection[str]) -> None:
    unknown = [name for name in keep if name not in GRAPH_STAGES]
    if unknown:
        raise InputError("unknown part to keep", found=unknown, bound=list(GRAPH_STAGES))
    for event, points, _ in inputs:
        if points.dtype != np.float32 or points.ndim != 2 or points.shape[1] != 3:
            raise InputError(
                "points have the wrong type or shape",
                event=event,
                found=f"{points.dtype}{list(points.shape)}",
                bound="float32[n, 3]",
            )


def _one_graph(pairs: Sequence[tuple[Array, Array]], offsets: Array, place: Array) -> _Graph:
    """The pairs of all events, as edges to the point of the smaller ``place``."""
    one, other = (
        np.concatenate(
            [pair[k] + np.int32(offset) for pair, offset in zip(pairs, offsets[:-1], strict=True)]
        )
        for k in range(2)
    )
    edges = Edges(*orient(place, one, other), np.ones(len(one), np.float32))
    return _Graph(edges, np.cumsum([0, *(len(pair[0]) for pair in pairs)]))


def _keep_edges(graph: _Graph, logits: Array, cut: float) -> _Graph:
    """Those with a score above ``cut``."""
    scores = scores_of(logits)
    kept = np.flatnonzero(scores > np.float32(cut))
    edges = Edges(graph.edges.source[kept], graph.edges.target[kept], scores[kept])
    return _Graph(edges, np.searchsorted(kept, graph.starts))


def _edges_of(graph: _Graph, event: _Event) -> Edges:
    """The edges of one event, between its rows as it came."""
    edges = graph.edges.take(slice(*graph.starts[event.slot : event.slot + 2]))
    order, first = event.points.order, np.int32(event.offset)
    return Edges(order[edges.source - first], order[edges.target - first], edges.score)
