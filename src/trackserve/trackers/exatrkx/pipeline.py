"""The Exa.TrkX pipeline: space points to track candidates (figure 3 of the paper)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from trackserve.device.heap import keep_freed_memory
from trackserve.edm import (
    Edges,
    EventLimits,
    PointLabels,
    PointsEvent,
    SpacePoints,
)
from trackserve.edm.columns import Array
from trackserve.edm.limits import check_limit, of_event
from trackserve.errors import EventError, LimitExceeded

from ..base import Lap, only
from ..batch import in_threads, run_batch
from ..deadline import DeadlineOver, Watch
from .architecture import Filter, Gnn
from .codec import check_event
from .doublets import bounds_of, cuts_of
from .event import ExatrkxEvent, FeaturesEvent, values_of
from .features import (
    edge_inputs,
    features_of,
    node_inputs,
    outward_order,
    sector_order,
)
from .finish import finish
from .identity import identity_of
from .limits import ExatrkxLimits
from .model import Model, load_model, require_detector
from .networks import (
    Networks,
    make_cuda,
    make_networks,
    on_cuda,
    scores_of,
)
from .perceptrons import NetworkGraph
from .radius import Pairs, find_pairs, orient
from .result import ExatrkxCounts, ExatrkxResult, partial_result
from .segmentation import segment, sure_edges
from .surfaces import surfaces_of

if TYPE_CHECKING:
    from .cuda import CudaExatrkx

MAX_GRAPH_POINTS = 200_000
"""Points of the events that are one graph, where the networks run on another device."""


class ExatrkxPipeline:
    """The learned tracker: it is built once from a model, and called on batches of events.

    On the device ``"cpu"`` the bits of a result depend on its event only. On other devices a
    batch is one graph without edges between events; scores may then differ in their last bits.

    Args:
        model: networks and cuts.
        device: ``"cpu"``; ``"cuda"`` or ``"cuda:N"``, where all stages run on the device; or any
            other device of PyTorch, where only the networks run.
        threads: events that run at the same time on a CPU; it does not change any bit.
        precision: ``"fp32"``; on devices of PyTorch also ``"fp16"`` or ``"bf16"``, for the
            matrix products of filter and graph network.

    Raises:
        InputError: the device or the precision does not exist.
        MissingExtraError: the device needs a package that is not installed.
        ModelError: candidates are to be finished, but the layers of the detector are not known.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
    ) -> None:
        keep_freed_memory()
        self.identity = identity_of(model, precision, device)
        self.model = model
        self.device = device
        self.threads = threads
        self.precision = precision
        self._stages: CudaExatrkx | HostExatrkx
        if on_cuda(device):
            self._stages = make_cuda(model, device, precision)
        else:
            networks = make_networks(model, device, precision)
            one_by_one = device == "cpu"  # so that each event stays in the cache
            self._stages = HostExatrkx(
                model,
                networks,
                threads=threads if one_by_one else 1,
                graph_points=0 if one_by_one else MAX_GRAPH_POINTS,
            )

    @classmethod
    def from_model(
        cls,
        name_or_path: str | Path = "default",
        *,
        detector: str | None = None,
        device: str = "cpu",
        threads: int = 1,
        precision: str = "fp32",
    ) -> Self:
        """Build from a model that ships with the package, or from a model folder.

        Args:
            name_or_path: as :func:`.model.load_model` takes it.
            detector: the detector that the events come from, if it is known.
            device, threads, precision: as above.

        Raises:
            InputError: the model, device or precision does not exist.
            ModelError: the folder is incomplete or inconsistent, or the model is for another
                detector.
            MissingExtraError: the device needs a package that is not installed.
        """
        model = load_model(name_or_path)
        if detector is not None:
            require_detector(model, detector)
        return cls(model, device=device, threads=threads, precision=precision)

    def run(
        self,
        events: Iterable[ExatrkxEvent],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: EventLimits | None = None,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct a batch of events.

        Args:
            events: any number, of space points or of scaled features; see
                :func:`..batch.one_by_one`.
            keep: names of :data:`.result.GRAPH_STAGES`, whose edges the results have.
            lap: is called with a name of :data:`.stages.STAGES` when that stage ends; all is then
                on one thread. The stages of a batch repeat for each graph: on the device
                ``"cpu"`` for each event.
            limits: the most work on each event, an :class:`.limits.ExatrkxLimits`. The deadline
                counts from the begin of a graph: on the device ``"cpu"`` from that of the event.

        Returns:
            the result of each event, or its :class:`EventError`.

        Raises:
            InputError: ``keep`` has an unknown name, ``events`` cannot be iterated, or ``limits``
                are those of another tracker.
        """
        ExatrkxResult.check_keep(keep)
        most = ExatrkxLimits.of(limits)
        return run_batch(
            events, check_event, lambda good: self._stages.run(good, keep, lap, most), self.identity
        )

    def reconstruct(
        self,
        event: ExatrkxEvent,
        keep: Collection[str] = (),
        limits: EventLimits | None = None,
    ) -> ExatrkxResult:
        """Reconstruct one event.

        Args:
            event, keep, limits: as in :meth:`run`.

        Raises:
            EventError: the event has no result, or is malformed.
            InputError: as in :meth:`run`.
        """
        return only(self.run([event], keep, limits=limits))

    def warm_up(self) -> None:
        """Compile or load all code, with an event in the range of the model."""
        spec = self.model.description.features
        low = np.array(spec.low or (0, -1, -1), np.float32)
        high = np.array(spec.high or (1, 1, 1), np.float32)
        steps = np.linspace(0, 1, 64, dtype=np.float32)[:, None]
        event = FeaturesEvent(low + (high - low) * steps * np.float32(0.999))
        self.run([event, PointsEvent(SpacePoints.empty())])


class HostExatrkx:
    """The stages of :class:`ExatrkxPipeline` on the host; the networks may run elsewhere.

    Args:
        model: networks and cuts.
        networks: the networks of the model.
        threads: graphs that run at the same time.
        graph_points: most points of a graph of several events; 0: each event is a graph.
    """

    def __init__(
        self, model: Model, networks: Networks, *, threads: int, graph_points: int
    ) -> None:
        self._description = model.description
        if model.description.cuts.finish is not None:
            self._surfaces = surfaces_of(model.description.detector, model.where)
        self._bounds = bounds_of(model.description.doublets)
        self._networks = networks
        self._threads = threads
        self._graph_points = graph_points

    def run(
        self,
        events: Sequence[ExatrkxEvent],
        keep: Collection[str],
        lap: Lap | None,
        limits: ExatrkxLimits,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct events; the arguments are checked ones of :meth:`ExatrkxPipeline.run`."""
        stage_ends = lap or (lambda stage: None)
        one = functools.partial(self._reconstruct, keep=keep, lap=stage_ends, limits=limits)
        batches = list(self._batches(events))
        if self._threads > 1 and len(batches) > 1 and lap is None:
            parts = in_threads(one, batches, self._threads)
        else:
            parts = [one(batch) for batch in batches]
        return list(itertools.chain.from_iterable(parts))

    def _batches(self, events: Sequence[ExatrkxEvent]) -> Iterator[list[ExatrkxEvent]]:
        """Yield the events of each graph."""
        batch: list[ExatrkxEvent] = []
        n = 0
        for event in events:
            size = len(values_of(event))
            if batch and n + size > self._graph_points:
                yield batch
                batch, n = [], 0
            batch.append(event)
            n += size
        if batch:
            yield batch

    def _reconstruct(
        self,
        events: Sequence[ExatrkxEvent],
        keep: Collection[str],
        lap: Lap,
        limits: ExatrkxLimits,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct events as one graph; if their deadline is over, all have that error."""
        watch = Watch(limits, lap)
        try:
            return self._run_stages(events, keep, watch, limits)
        except DeadlineOver:
            return [watch.error(event.event) for event in events]

    def _run_stages(
        self,
        events: Sequence[ExatrkxEvent],
        keep: Collection[str],
        watch: Watch,
        limits: ExatrkxLimits,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct events as one graph; an event that fails goes on without points or edges.

        Raises:
            DeadlineOver: ``watch`` says so.
        """
        description, cuts = self._description, self._description.cuts
        failed: dict[int, EventError] = {}
        graphs: dict[str, BatchEdges] = {}
        points: list[EventPoints] = []
        first = 0

        def results() -> list[ExatrkxResult | EventError]:
            return [
                self._failed(event, failed[e], e, points[e], graphs, keep, limits)
                if e in failed
                else self._find_candidates(event.event, e, points[e], graphs, keep)
                for e, event in enumerate(events)
            ]

        for e, event in enumerate(events):
            try:
                found = self._order_points(event, first, limits)
            except EventError as error:
                failed[e], found = error, EventPoints.empty(first)
            points.append(found)
            first += len(found.scaled)
        watch("features")
        if len(failed) == len(events):
            return results()
        scaled = np.concatenate([part.scaled for part in points])
        spec = description.embedding
        nodes = node_inputs(spec.inputs, scaled, description.features)
        coordinates = self._networks.embed(nodes)
        watch("embedding")
        near: list[Pairs] = []
        for e, (event, part) in enumerate(zip(events, points, strict=True)):
            rows = coordinates[part.first : part.first + len(part.scaled)]
            wanted = cuts_of(self._bounds, part.scaled, description.features)
            try:
                pairs = find_pairs(rows, cuts.radius, limits.radius_edges, event.event, wanted)
            except EventError as error:
                failed[e], pairs = error, Pairs.empty()
            near.append(pairs)
        if len(failed) == len(events):
            return results()
        radius = graphs["radius_edges"] = _join(near, points)
        watch("radius")
        graph = self._network_graph(description.filter, scaled, radius.edges)
        filtered = _keep_edges(radius, self._networks.filter(graph), cuts.filter)
        for e, event in enumerate(events):
            n = filtered.count(e)
            try:
                check_limit("filter_edges", n, limits.filter_edges, event=event.event)
            except LimitExceeded as error:
                failed[e], filtered = error, filtered.without(e)
        graphs["filter_edges"] = filtered
        watch("filter")
        if len(failed) == len(events):
            return results()
        graph = self._network_graph(description.gnn, scaled, filtered.edges)
        graphs["track_edges"] = _keep_edges(filtered, self._networks.gnn(graph), cuts.edge)
        watch("gnn")
        outcomes = results()
        watch("components")
        if cuts.finish is not None:
            each = enumerate(zip(outcomes, points, strict=True))
            tracks = graphs["track_edges"]
            for e, (one, part) in each:
                try:
                    outcomes[e] = self._finished(one, e, part, tracks, limits.pieces, watch)
                except LimitExceeded as error:
                    failure = of_event(error, events[e].event)
                    outcomes[e] = self._failed(events[e], failure, e, part, graphs, keep, limits)
        watch("finish")
        return outcomes

    def _failed(
        self,
        event: ExatrkxEvent,
        error: EventError,
        e: int,
        points: EventPoints,
        graphs: Mapping[str, BatchEdges],
        keep: Collection[str],
        limits: ExatrkxLimits,
    ) -> ExatrkxResult | EventError:
        """Return what an event with an error comes to: that error, or a partial result.

        Args:
            event: the event.
            error: its error.
            e, points, graphs, keep: as of :meth:`_find_candidates`; the edges of some of the
                stages.
            limits: limits of the event.
        """
        if limits.beyond == "error" or not isinstance(error, LimitExceeded):
            return error
        n_edges = {name: graph.count(e) for name, graph in graphs.items()}
        counts = ExatrkxCounts(points=len(values_of(event)), **n_edges)
        edges = {name: graphs[name].of_event(e, points) for name in graphs if name in keep}
        return partial_result(event.event, error.limit, counts, edges, keep)

    def _order_points(self, event: ExatrkxEvent, first: int, limits: ExatrkxLimits) -> EventPoints:
        """Return the points of an event sector by sector; the batch has ``first`` points before.

        Raises:
            EventError: a feature is wrong.
            LimitExceeded: there are too many points.
        """
        check_limit("points", len(values_of(event)), limits.points, event=event.event)
        description = self._description
        scaled = features_of(event, description.features)
        if isinstance(scaled, EventError):
            raise scaled
        numbers = np.arange(len(scaled), dtype=np.int32)
        rank = np.empty_like(numbers)
        rank[outward_order(scaled, description.features)] = numbers
        place = rank if description.order == "outward" else numbers
        row = sector_order(scaled, description.features, place)
        return EventPoints(first, scaled[row], row, place[row], rank)

    def _network_graph(self, spec: Filter | Gnn, scaled: Array, edges: Edges) -> NetworkGraph:
        """Return the inputs of the network ``spec``."""
        features = self._description.features
        return NetworkGraph(
            nodes=node_inputs(spec.inputs, scaled, features),
            source=edges.source,
            target=edges.target,
            edges=edge_inputs(spec.edge_inputs, scaled, features, edges.source, edges.target),
        )

    def _find_candidates(
        self,
        number: int,
        e: int,
        points: EventPoints,
        graphs: Mapping[str, BatchEdges],
        keep: Collection[str],
    ) -> ExatrkxResult:
        """Return the result of an event.

        Args:
            number: number of the event.
            e: place of the event in the batch.
            points: the points of the event.
            graphs: the edges of the batch after each of :data:`.result.GRAPH_STAGES`.
            keep: stages whose edges the result has.
        """
        cuts, rank = self._description.cuts, points.rank
        stages = {name: graphs[name].of_event(e, points) for name in {*keep, "track_edges"}}
        labels, candidates = segment(rank, sure_edges(stages["track_edges"], cuts), cuts)
        counts = ExatrkxCounts(
            points=len(rank),
            **{name: graph.count(e) for name, graph in graphs.items()},
            components=int(labels.max(initial=-1)) + 1,
            candidates=len(candidates),
        )
        kept: dict[str, Any] = {name: stages[name] for name in keep}
        return ExatrkxResult(number, counts, PointLabels(labels), candidates, **kept)

    def _finished(
        self,
        result: ExatrkxResult | EventError,
        e: int,
        points: EventPoints,
        tracks: BatchEdges,
        most: int,
        watch: Watch,
    ) -> ExatrkxResult | EventError:
        """Return a result whose candidates, which are pieces, have become tracks with helices.

        Args:
            result: the result.
            e, points: as of :meth:`_find_candidates`.
            tracks: the edges of the batch that the graph network has kept.
            most: most pieces of tracks.
            watch: looks at the deadline.

        Raises:
            LimitExceeded: there are more pieces.
            DeadlineOver: ``watch`` says so.
        """
        description = self._description
        if isinstance(result, EventError) or result.stopped_by:
            return result
        scaled = np.empty_like(points.scaled)
        scaled[points.row] = points.scaled
        candidates, helices, n_pieces = finish(
            result.candidates,
            tracks.of_event(e, points),
            scaled,
            points.rank,
            description.features,
            self._surfaces,
            description.cuts,
            most,
            watch.look,
        )
        counts = dataclasses.replace(result.counts, pieces=n_pieces, candidates=len(candidates))
        return dataclasses.replace(result, counts=counts, candidates=candidates, helices=helices)


class EventPoints(NamedTuple):
    """The points of one event, sector by sector.

    Attributes:
        first: number of points in the events before, in the batch.
        scaled: float32[n, 3], features.
        row: int32[n], the row of each point as it came.
        place: int32[n], place in the order of the model; edges go from later to earlier points.
        rank: int32[n], for each row as it came its place from the inside out.
    """

    first: int
    scaled: Array
    row: Array
    place: Array
    rank: Array

    @classmethod
    def empty(cls, first: int) -> EventPoints:
        rows = np.empty(0, np.int32)
        return cls(first, np.empty((0, 3), np.float32), rows, rows, rows)


class BatchEdges(NamedTuple):
    """Edges between the points of a batch, event by event.

    Attributes:
        edges: the edges; points have their numbers in the batch.
        start: int64[events + 1], first edge of each event; at the end the number of edges.
    """

    edges: Edges
    start: Array

    def count(self, e: int) -> int:
        """Return the number of edges of event ``e``."""
        return int(self.start[e + 1] - self.start[e])

    def of_event(self, e: int, points: EventPoints) -> Edges:
        """Return the edges of event ``e``, between its rows as they came."""
        edges = self.edges.take(slice(*self.start[e : e + 2]))
        row, first = points.row, np.int32(points.first)
        return Edges(row[edges.source - first], row[edges.target - first], edges.score)

    def without(self, e: int) -> BatchEdges:
        """Return the edges of the other events."""
        first, last = self.start[e : e + 2]
        start = np.where(np.arange(len(self.start)) > e, self.start - (last - first), self.start)
        others = np.delete(np.arange(len(self.edges)), slice(first, last))
        return BatchEdges(self.edges.take(others), start)


def _join(near: Sequence[Pairs], points: Sequence[EventPoints]) -> BatchEdges:
    """Return the pairs of all events as edges, with the score 1."""
    shifted = (
        (pairs.source + np.int32(part.first), pairs.target + np.int32(part.first))
        for pairs, part in zip(near, points, strict=True)
    )
    pairs = Pairs(*(np.concatenate(column) for column in zip(*shifted, strict=True)))
    place = np.concatenate([part.place for part in points])
    edges = Edges(*orient(place, pairs), np.ones(len(pairs.source), np.float32))
    return BatchEdges(edges, np.cumsum([0, *(len(pairs.source) for pairs in near)]))


def _keep_edges(graph: BatchEdges, logits: Array, cut: float) -> BatchEdges:
    """Return the edges with a score above ``cut``."""
    scores = scores_of(logits)
    kept = np.flatnonzero(scores > np.float32(cut))
    edges = Edges(graph.edges.source[kept], graph.edges.target[kept], scores[kept])
    return BatchEdges(edges, np.searchsorted(kept, graph.start))
