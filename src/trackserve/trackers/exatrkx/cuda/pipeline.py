"""The Exa.TrkX pipeline on a CUDA device, a batch of events at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from trackserve.device.cuda import LARGEST, Device
from trackserve.edm import Edges, PointLabels, Ragged, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.errors import EventError

from ..model import Model
from ..radius import not_finite, too_many
from ..result import GRAPH_STAGES, ExatrkxCounts, ExatrkxResult
from .edges import BatchEdges, count_kept, fill_kept
from .engine import CudaNetworks
from .features import BatchPoints, order_points
from .radius import count_pairs, fill_pairs, sort_by_cell
from .segmentation import (
    COLUMNS,
    edges_as_given,
    find_components,
    find_counts,
    make_candidates,
)
from .tensors import on_stream

Answer = ExatrkxResult | EventError
Lap = Callable[[str], None]

MAX_POINTS = 1 << 19
"""Points of a batch: longer lists of events are cut. Where there is less memory than their edges
take, batches are halved."""
MAX_EDGES = 1 << 28
"""Pairs within the radius of a batch of several events, which is halved otherwise."""


class Event(NamedTuple):
    """An event: its number, and the features float32[n, 3] of its points."""

    number: int
    scaled: Array


class CudaExatrkx:
    """The stages of :class:`..pipeline.ExatrkxPipeline` on a CUDA device.

    Features are uploaded once for a batch, and what is asked for is downloaded once. The host
    waits for the numbers of edges within the radius and after the filter, so that arrays are as
    long as they must be and nothing overflows; for the counts of each event; and for the results.

    Args:
        where: the device, with its number.
        max_edges: pairs within the radius that one event may have.
        device: what stands for it where there is none.

    Raises:
        InputError: there is no such device.
    """

    def __init__(
        self,
        model: Model,
        where: torch.device,
        precision: str,
        max_edges: int,
        device: Device | None = None,
    ) -> None:
        self.device = device = device or Device(where.index)
        self._lock = threading.Lock()
        self._where = where
        self._description = description = model.description
        self._max_edges = max_edges
        with on_stream(device, where):
            self._scales = device.resident(np.array(description.features.scales, np.float32))
            self._networks = CudaNetworks(device, model, where, precision)

    def run(
        self,
        events: Sequence[tuple[int, Array]],
        keep: Collection[str],
        lap: Lap | None = None,
    ) -> list[Answer]:
        """Results of events; one caller at a time, others wait.

        Args:
            events: of each its number and its scaled features float32[n, 3], checked.
            keep: which of :data:`trackserve.edm.GRAPH_STAGES` to return.
            lap: called with the name of each stage as it ends, for which the host then waits.
        """
        with self._lock, on_stream(self.device, self._where), torch.inference_mode():
            return [
                answer
                for batch in _batches([Event(*event) for event in events])
                for answer in self._run_batch(batch, keep, self._stopwatch(lap))
            ]

    def _stopwatch(self, lap: Lap | None) -> Lap:
        def wait(stage: str) -> None:
            if lap is not None:
                self.device.wait()
                lap(stage)

        return wait

    def _run_batch(self, events: Sequence[Event], keep: Collection[str], lap: Lap) -> list[Answer]:
        """In halves, if they are too much for the device."""
        try:
            return self._reconstruct(events, keep, lap)
        except (OverflowError, torch.OutOfMemoryError) as error:
            memory = isinstance(error, torch.OutOfMemoryError)
            reason = "not enough memory on the device" if memory else f"{error}"
        self.device.release()
        torch.cuda.empty_cache()
        half = len(events) // 2
        if half == 0:
            return [EventError(reason, event=events[0].number)]
        return [
            answer
            for part in (events[:half], events[half:])
            for answer in self._run_batch(part, keep, lap)
        ]

    def _reconstruct(
        self, events: Sequence[Event], keep: Collection[str], lap: Lap
    ) -> list[Answer]:
        device, description, cuts = self.device, self._description, self._description.cuts
        n_events, n = len(events), sum(len(event.scaled) for event in events)
        points = order_points(
            device,
            [event.scaled for event in events],
            description.features,
            self._scales,
            outward=description.order == "outward",
        )
        lap("features")
        coordinates = self._networks.embed(points, n)
        lap("embedding")
        grid, by_cell = sort_by_cell(device, points, coordinates, n_events, n, cuts.radius)
        pairs = count_pairs(
            device, points, grid, by_cell, n_events, n, cuts.radius, self._max_edges
        )
        parts = {"found": (pairs.found, n_events), "bad": (grid.bad, n_events)}
        numbers = {key: a.copy() for key, a in device.download(parts).items()}
        failed = self._failures(events, numbers["found"], numbers["bad"])
        m = sum(int(found) for e, found in enumerate(numbers["found"]) if e not in failed)
        if m > (MAX_EDGES if n_events > 1 else LARGEST):
            raise OverflowError("too many pairs of points within the radius")
        radius = fill_pairs(device, points, grid, by_cell, pairs, n_events, n, m, cuts.radius)
        lap("radius")
        self._networks.filter(points, n, radius, m)
        place = count_kept(device, "filter_edges", radius, m, cuts.filter)
        m_filter = device.read(place, m)
        filtered = fill_kept(device, "filter_edges", radius, m, place, n_events, m_filter)
        lap("filter")
        judged = filtered._replace(score=device.array("gnn.score", m_filter, np.float32))
        self._networks.gnn(points, n, judged, m_filter)
        place = count_kept(device, "track_edges", judged, m_filter, cuts.edge)
        tracks = fill_kept(device, "track_edges", judged, m_filter, place, n_events, m_filter)
        lap("gnn")
        components = find_components(
            *(device, points, tracks, n_events, n, m_filter),
            *(cuts.segmentation == "paths", cuts.min_points),
        )
        found = make_candidates(device, points, tracks, components, n_events, n, m_filter)
        graphs = (radius, filtered, tracks)
        table = find_counts(device, points, graphs, components, n_events)
        counts = device.download({"": (table, n_events + 1)})[""].copy()
        n_candidates, n_in_candidates = int(counts[-1, 4]), int(counts[-1, 5])
        wanted = {
            "label": (found.label, n),
            "offset": (found.offset, n_candidates),
            "score": (found.score, n_candidates),
            "point": (found.point, n_in_candidates),
        }
        for k, (name, graph) in enumerate(zip(GRAPH_STAGES, graphs, strict=True)):
            if name in keep:
                m = int(counts[-1, k])
                wanted |= self._edges_to_download(name, points, graph, n_events, m)
        columns = device.download(wanted)
        first = np.cumsum([0, *(len(event.scaled) for event in events)])
        answers = [
            failed[e]
            if e in failed
            else _result(event, int(first[e]), counts[e : e + 2], columns, keep)
            for e, event in enumerate(events)
        ]
        lap("components")
        return answers

    def _failures(self, events: Sequence[Event], found: Array, bad: Array) -> dict[int, EventError]:
        """Which events the search refuses, and why."""
        failed = {}
        for e, event in enumerate(events):
            if len(event.scaled) > 1 and bad[e] < len(event.scaled):
                failed[e] = not_finite(event.number, int(bad[e]))
            elif found[e] > self._max_edges:
                failed[e] = too_many(event.number, int(found[e]), self._max_edges)
        return failed

    def _edges_to_download(
        self, name: str, points: BatchPoints, edges: BatchEdges, n_events: int, n: int
    ) -> dict[str, tuple[Any, int]]:
        edges = edges_as_given(self.device, name, points, edges, n_events, n)
        return {f"{name}.{key}": (getattr(edges, key), n) for key in Edges.schema()}


def _batches(events: Sequence[Event]) -> Iterator[list[Event]]:
    batch: list[Event] = []
    room = MAX_POINTS
    for event in events:
        room -= len(event.scaled)
        if room < 0 and batch:
            yield batch
            batch, room = [], MAX_POINTS - len(event.scaled)
        batch.append(event)
    if batch:
        yield batch


def _result(
    event: Event,
    first_point: int,
    counts: Array,
    columns: Mapping[str, Array],
    keep: Collection[str],
) -> ExatrkxResult:
    """What the device found in one event.

    Args:
        first_point: of the event, in the batch.
        counts: int32[2, 6], what comes before this event and before the next one.
    """
    n = len(event.scaled)
    rows = {name: slice(*counts[:, k].tolist()) for k, name in enumerate(COLUMNS)}
    in_batch = np.append(columns["offset"][rows["candidates"]], counts[1, 5])
    candidates = TrackCandidates(
        Ragged(
            in_batch.astype(np.int64) - int(counts[0, 5]),
            columns["point"][rows["points"]].copy(),
        ),
        columns["score"][rows["candidates"]].copy(),
    )
    sizes = dict(zip(COLUMNS, np.diff(counts, axis=0)[0].tolist(), strict=True))
    stages = {
        name: Edges(*(columns[f"{name}.{key}"][rows[name]].copy() for key in Edges.schema()))
        for name in keep
    }
    if "radius_edges" in stages:
        stages["radius_edges"].score[:] = 1  # no network has judged them
    component = columns["label"][first_point : first_point + n].astype(np.int64)
    return ExatrkxResult(
        event.number,
        ExatrkxCounts(**(sizes | {"points": n})),
        PointLabels(component),
        candidates,
        **stages,
    )
