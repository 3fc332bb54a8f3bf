"""The Exa.TrkX pipeline on a CUDA device: a batch of events at a time."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trackserve.device.cuda import LARGEST, Device, total
from trackserve.edm import (
    GEV_PER_T_MM,
    Edges,
    PointLabels,
    Ragged,
    TrackCandidates,
)
from trackserve.edm.columns import Array
from trackserve.edm.limits import check_limit, over_limit
from trackserve.errors import EventError, LimitExceeded

from ...base import Lap
from ...deadline import DeadlineOver, Watch
from ...laps import after
from ..doublets import bounds_of
from ..event import ExatrkxEvent, FeaturesEvent, values_of
from ..features import features_of
from ..finish import Demands, assemble, good_part
from ..limits import ExatrkxLimits
from ..model import Model
from ..radius import not_finite
from ..result import GRAPH_STAGES, ExatrkxCounts, ExatrkxResult, partial_result
from ..surfaces import surfaces_of
from .edges import BatchEdges, count_kept, count_kept_of_others, fill_kept, find_starts
from .features import BatchPoints, order_points
from .finish import Pass, Pieces, finish, of_event, sort_points, to_download
from .networks import CudaNetworks
from .radius import count_pairs, fill_pairs, sort_by_cell
from .segmentation import (
    COLUMNS,
    edges_as_given,
    find_components,
    find_counts,
    make_candidates,
)
from .tensors import on_stream
from .triplets import find_triplets

MAX_BATCH_POINTS = 1 << 19
"""Most points of a batch; a longer list of events becomes several batches. A batch whose edges do
not fit the memory is halved."""
MAX_BATCH_EDGES = 1 << 28
"""Most pairs within the radius of a batch of several events; a batch with more is halved."""


class CudaExatrkx:
    """The stages of :class:`..pipeline.ExatrkxPipeline` on a CUDA device.

    The features of a batch are uploaded at once, and the results are downloaded at once. The host
    waits four times per batch: for the number of edges within the radius, for the number of edges
    after the filter, for the counts of each event, and for the results. So arrays are long enough
    for all edges.

    Args:
        model: networks and cuts.
        where: the device, with its number.
        precision: one of :data:`..networks.PRECISIONS`.
        device: a device to use instead of ``where``: for tests and measurements.

    Attributes:
        device: the device.
        networks: the networks on the device.

    Raises:
        InputError: the device does not exist.
        ModelError: candidates are to be finished, but the layers of the detector are not known.
    """

    def __init__(
        self,
        model: Model,
        where: torch.device,
        *,
        precision: str,
        device: Device | None = None,
    ) -> None:
        self.device = device = device or Device(where.index)
        self._lock = threading.Lock()
        self._where = where
        self._description = description = model.description
        rules = description.cuts.finish
        self._unit = 0.0 if rules is None else GEV_PER_T_MM * rules.field
        surfaces = None if rules is None else surfaces_of(description.detector, model.where)
        with on_stream(device, where):
            self._scales = device.resident(np.array(description.features.scales, np.float32))
            self._bounds = device.table(bounds_of(description.doublets))
            self._surfaces = None if surfaces is None else device.table(surfaces)
            self.networks = CudaNetworks(device, model, where, precision)

    def run(
        self,
        events: Sequence[ExatrkxEvent],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: ExatrkxLimits | None = None,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct events, for one caller at a time; other callers wait.

        The arguments are checked ones of :meth:`..pipeline.ExatrkxPipeline.run`. With ``lap`` the
        host waits at the end of each stage.
        """
        limits = ExatrkxLimits.of(limits)
        failed: dict[int, ExatrkxResult | EventError] = {}
        good: list[FeaturesEvent] = []
        for e, event in enumerate(events):
            n = len(values_of(event))
            try:
                check_limit("points", n, limits.points, event=event.event)
            except LimitExceeded as error:
                counts = ExatrkxCounts(points=n)
                failed[e] = _beyond(event.event, error, counts, {}, keep, limits)
                continue
            scaled = features_of(event, self._description.features)
            if isinstance(scaled, EventError):
                failed[e] = scaled
            else:
                good.append(FeaturesEvent(scaled, event.event))
        with self._lock, on_stream(self.device, self._where), torch.inference_mode():
            found: list[ExatrkxResult | EventError] = []
            for batch in _batches(good):
                watch = Watch(limits, after(self.device.wait, lap))
                try:
                    found += self._run_batch(batch, keep, watch, limits)
                except DeadlineOver:
                    found += [watch.error(event.event) for event in batch]
        rest = iter(found)
        return [failed[e] if e in failed else next(rest) for e in range(len(events))]

    def _run_batch(
        self,
        events: Sequence[FeaturesEvent],
        keep: Collection[str],
        lap: Lap,
        limits: ExatrkxLimits,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct a batch; in halves, if it is too large for the device."""
        try:
            return self._reconstruct(events, keep, lap, limits)
        except (OverflowError, torch.OutOfMemoryError) as error:
            memory = isinstance(error, torch.OutOfMemoryError)
            reason = "not enough memory on the device" if memory else f"{error}"
        self.device.release()
        torch.cuda.empty_cache()
        half = len(events) // 2
        if half == 0:
            return [EventError(reason, event=events[0].event)]
        return [
            result
            for part in (events[:half], events[half:])
            for result in self._run_batch(part, keep, lap, limits)
        ]

    def _reconstruct(
        self,
        events: Sequence[FeaturesEvent],
        keep: Collection[str],
        lap: Lap,
        limits: ExatrkxLimits,
    ) -> list[ExatrkxResult | EventError]:
        """Reconstruct a batch.

        Raises:
            OverflowError, torch.OutOfMemoryError: the batch is too large for the device.
            DeadlineOver: ``lap`` says so.
        """
        device, description, cuts = self.device, self._description, self._description.cuts
        points = order_points(
            device,
            [event.features for event in events],
            description.features,
            self._scales,
            outward=description.order == "outward",
        )
        n_events, n = points.n_events, points.n
        lap("features")
        coordinates = self.networks.embed(points)
        lap("embedding")
        search = sort_by_cell(device, points, coordinates, cuts.radius, self._bounds)
        pairs = count_pairs(device, points, search, limits.radius_edges)
        parts = {"found": (pairs.found, n_events), "bad": (search.grid.bad, n_events)}
        numbers = {key: a.copy() for key, a in device.download(parts).items()}
        failed = _failures(events, numbers["found"], numbers["bad"], limits)
        m = sum(int(found) for e, found in enumerate(numbers["found"]) if e not in failed)
        if m > (MAX_BATCH_EDGES if n_events > 1 else LARGEST):
            raise OverflowError("too many pairs of points within the radius")
        radius = fill_pairs(device, points, search, pairs, m)
        lap("radius")
        self.networks.filter(points, radius)
        place = count_kept(device, "filter_edges", radius, cuts.filter)
        m = self._check_filtered(events, points, radius, place, failed, limits)
        filtered = fill_kept(device, "filter_edges", radius, place, m)
        lap("filter")
        judged = filtered._replace(score=device.array("gnn.score", m, np.float32))
        self.networks.gnn(points, judged)
        place = count_kept(device, "track_edges", judged, cuts.edge)
        tracks = fill_kept(device, "track_edges", judged, place, m)
        lap("gnn")
        graphs = (radius, filtered, tracks)
        components = find_components(device, points, tracks, cuts)
        found = make_candidates(device, points, tracks, components)
        table = find_counts(device, points, graphs, components)
        counts = device.download({"": (table, n_events + 1)})[""].copy()
        n_candidates, n_in_candidates = counts[-1, 4:].tolist()
        lap("components")
        wanted = {
            "label": (found.label, n),
            "offset": (found.offset, n_candidates),
            "score": (found.score, n_candidates),
            "point": (found.point, n_in_candidates),
        }
        passes: list[Pass] = []
        if cuts.finish is not None:
            pieces = Pieces(found.offset, found.point, found.score)
            first_pass = Pass("", pieces, table, counts)
            passes, n_pieces = self._finish(points, tracks, first_pass, wanted, limits.pieces)
            for e in np.flatnonzero(n_pieces > limits.pieces).tolist():
                n_found, event = int(n_pieces[e]), events[e].event
                failed[e] = over_limit("pieces", limits.pieces, n_found, event=event)
        for k, (name, graph) in enumerate(zip(GRAPH_STAGES, graphs, strict=True)):
            if name in keep:
                counted = graph._replace(n=int(counts[-1, k]))
                wanted |= self._edges_to_download(name, points, counted)
        columns = device.download(wanted)
        first = np.cumsum([0, *(len(event.features) for event in events)])
        results = []
        for e, event in enumerate(events):
            some = counts[e : e + 2]
            result = _result(event, int(first[e]), some, columns, keep, failed.get(e), limits)
            if passes:
                mine = slice(*first[e : e + 2].tolist())
                result = self._finished(result, e, columns, passes, mine)
            results.append(result)
        lap("finish")
        return results

    def _finish(
        self,
        points: BatchPoints,
        edges: BatchEdges,
        first_pass: Pass,
        wanted: dict[str, tuple[Any, int]],
        most: int,
    ) -> tuple[list[Pass], Array]:
        """Finish the pieces of all passes.

        Args:
            points: the batch.
            edges: of which the second pass makes pieces, if there is one.
            first_pass: the first pass.
            wanted: takes what the host needs.
            most: most pieces of an event; one that has more goes on without a second pass.

        Returns:
            the passes; int64[events], number of pieces of each event.
        """
        device, surfaces, unit = self.device, self._surfaces, self._unit
        rules = self._description.cuts.finish
        assert surfaces is not None
        assert rules is not None
        taken = device.array("taken", points.n, np.bool_)
        device.fill(taken, points.n, False)
        passes = [first_pass]
        n_pieces = np.diff(first_pass.counts[:, 4].astype(np.int64))
        cloud = sort_points(device, points, surfaces, taken)
        for one in passes:
            demands = self._demands(one)
            tracks = finish(device, points, one, cloud, surfaces, unit, demands, taken)
            wanted |= to_download(tracks, one)
            if len(passes) == 1 and rules.sure_edge is not None:
                cloud = sort_points(device, points, surfaces, taken)
                left = most - n_pieces
                again, more = find_triplets(device, points, edges, taken, cloud, unit, left)
                passes.append(again)
                n_pieces += more
        wanted["rank"] = points.rank, points.n
        return passes, n_pieces

    def _demands(self, one: Pass) -> Demands:
        assert self._surfaces is not None
        return Demands(self._description.cuts.min_points, self._surfaces.least, one.worst)

    def _finished(
        self,
        result: ExatrkxResult | EventError,
        e: int,
        columns: Mapping[str, Array],
        passes: Sequence[Pass],
        points: slice,
    ) -> ExatrkxResult | EventError:
        """Return a result whose candidates, which are pieces, have become tracks with helices.

        Args:
            result: the result.
            e: place of the event in the batch.
            columns: what was downloaded.
            passes: all passes.
            points: the points of the event.
        """
        if isinstance(result, EventError) or result.stopped_by:
            return result
        parts, n_pieces = [], 0
        for one in passes:
            tracks = of_event(columns, one, e, points.start)
            score = columns[f"{one.name}score"][one.rows(e)]
            parts.append(good_part(tracks, score, self._demands(one)))
            n_pieces += len(score)
        candidates, helices = assemble(parts, columns["rank"][points], self._unit)
        counts = dataclasses.replace(result.counts, pieces=n_pieces, candidates=len(candidates))
        return dataclasses.replace(result, counts=counts, candidates=candidates, helices=helices)

    def _check_filtered(
        self,
        events: Sequence[FeaturesEvent],
        points: BatchPoints,
        radius: BatchEdges,
        place: Any,
        failed: dict[int, EventError],
        limits: ExatrkxLimits,
    ) -> int:
        """Return how many edges remain after the filter; drop those of events with too many.

        Args:
            events, points, radius: the batch.
            place: what :func:`count_kept` counted; it is counted again without these events.
            failed: gets the errors of these events, by their place.
            limits: limits of each event.

        Raises:
            OverflowError: there are more than 32 bits can count.
        """
        device, n_events = self.device, len(events)
        start = find_starts(device, "filter_edges", place, radius.start, n_events)
        before = device.download({"": (start, n_events + 1)})[""].astype(np.int64)
        n_kept = np.diff(before)
        dropped = n_kept > limits.filter_edges
        for e in np.flatnonzero(dropped).tolist():
            found, event = int(n_kept[e]), events[e].event
            failed[e] = over_limit("filter_edges", limits.filter_edges, found, event=event)
        if dropped.any():
            there = device.upload("filter_edges.dropped", dropped)
            cut = self._description.cuts.filter
            count_kept_of_others(device, radius, points.event, place, cut, there)
        else:
            total(before)
        return int(n_kept[~dropped].sum())

    def _edges_to_download(
        self, name: str, points: BatchPoints, edges: BatchEdges
    ) -> dict[str, tuple[Any, int]]:
        """Return the columns of the edges after stage ``name``, and their lengths."""
        edges = edges_as_given(self.device, name, points, edges)
        return {f"{name}.{key}": (getattr(edges, key), edges.n) for key in Edges.schema()}


def _batches(events: Sequence[FeaturesEvent]) -> Iterator[list[FeaturesEvent]]:
    """Yield batches of at most MAX_BATCH_POINTS points; a larger event is a batch of its own."""
    batch: list[FeaturesEvent] = []
    room = MAX_BATCH_POINTS
    for event in events:
        room -= len(event.features)
        if room < 0 and batch:
            yield batch
            batch, room = [], MAX_BATCH_POINTS - len(event.features)
        batch.append(event)
    if batch:
        yield batch


def _failures(
    events: Sequence[FeaturesEvent], found: Array, bad: Array, limits: ExatrkxLimits
) -> dict[int, EventError]:
    """Return the errors of the events that the search refuses, by their place.

    Args:
        events: the events.
        found: int64[events], number of pairs.
        bad: int32[events], as :class:`.radius.Grid` has it.
        limits: limits of each event.
    """
    failed: dict[int, EventError] = {}
    for e, event in enumerate(events):
        n = len(event.features)
        if n > 1 and bad[e] < n:
            failed[e] = not_finite(event.event, int(bad[e]))
        elif found[e] > limits.radius_edges:
            failed[e] = over_limit("radius_edges", limits.radius_edges, event=event.event)
    return failed


def _beyond(
    event: int,
    error: EventError,
    counts: ExatrkxCounts,
    edges: Mapping[str, Edges],
    keep: Collection[str],
    limits: ExatrkxLimits,
) -> ExatrkxResult | EventError:
    """Return what an event with an error comes to: that error, or a partial result."""
    if limits.beyond == "error" or not isinstance(error, LimitExceeded):
        return error
    return partial_result(event, error.limit, counts, edges, keep)


def _result(
    event: FeaturesEvent,
    first_point: int,
    counts: Array,
    columns: Mapping[str, Array],
    keep: Collection[str],
    error: EventError | None,
    limits: ExatrkxLimits,
) -> ExatrkxResult | EventError:
    """Return the result of one event, or its error.

    Args:
        event: the event.
        first_point: number of points before the event, in the batch.
        counts: int32[2, 6], numbers of COLUMNS before this event, and before the next one.
        columns: what was downloaded, for the batch.
        keep: stages whose edges the result has.
        error: the error of the event; None: it has none.
        limits: limits of the event.
    """
    n = len(event.features)
    rows = {name: slice(*counts[:, k].tolist()) for k, name in enumerate(COLUMNS)}
    sizes = dict(zip(COLUMNS, np.diff(counts, axis=0)[0].tolist(), strict=True))
    stages: dict[str, Any] = {
        name: Edges(*(columns[f"{name}.{key}"][rows[name]].copy() for key in Edges.schema()))
        for name in keep
    }
    if "radius_edges" in stages:
        stages["radius_edges"].score[:] = 1  # no network has judged them
    if error is not None:
        found = ExatrkxCounts(points=n, **{name: sizes[name] for name in GRAPH_STAGES})
        return _beyond(event.event, error, found, stages, keep, limits)
    in_batch = np.append(columns["offset"][rows["candidates"]], counts[1, 5])
    candidates = TrackCandidates(
        Ragged(
            in_batch.astype(np.int64) - int(counts[0, 5]), columns["point"][rows["points"]].copy()
        ),
        columns["score"][rows["candidates"]].copy(),
    )
    component = columns["label"][first_point : first_point + n].astype(np.int64)
    return ExatrkxResult(
        event.event,
        ExatrkxCounts(**(sizes | {"points": n})),
        PointLabels(component),
        candidates,
        **stages,
    )
