"""Edges of a batch, and the selection of edges by their score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.compile import f32
from trackserve.device.cuda import Device, cuda_kernel

from ..activation import sigmoid


class BatchEdges(NamedTuple):
    """Edges between the points of a batch, event by event.

    Attributes:
        start: int32[events + 1], first edge of each event; at the end the number of edges.
        source, target: int32[n], the points of each edge.
        score: float32[n]; a logit until :func:`count_kept` makes a score of it.
        n_events: number of events.
        n: number of edges; if only the device knows it, the largest possible number.
    """

    start: Any
    source: Any
    target: Any
    score: Any
    n_events: int
    n: int

    def part(self, first: int, n: int) -> BatchEdges:
        """Return ``n`` edges from ``first`` on, on the same memory; ``start`` is meaningless."""
        if first == 0:
            return self._replace(n=n)
        columns = {name: getattr(self, name)[first:] for name in ("source", "target", "score")}
        return self._replace(n=n, **columns)


def make_edges(device: Device, name: str, start: Any, n_events: int, n: int) -> BatchEdges:
    """Return memory for ``n`` edges; ``start`` is that of the result."""
    return BatchEdges(
        start=start,
        source=device.array(f"{name}.source", n, np.int32),
        target=device.array(f"{name}.target", n, np.int32),
        score=device.array(f"{name}.score", n, np.float32),
        n_events=n_events,
        n=n,
    )


def find_starts(device: Device, name: str, before: Any, first: Any, n_events: int) -> Any:
    """Return ``before[first[e]]`` of each event ``e``, int32[events + 1].

    Args:
        name: name of the memory.
        before: int32, number of edges before each item of another kind.
        first: int32[events + 1], first item of that kind in each event.
        n_events: number of events.
    """
    start = device.array(f"{name}.start", n_events + 1, np.int32)
    device.launch(_find_starts, n_events + 1, before, first, start, n_events)
    return start


def count_kept(device: Device, name: str, edges: BatchEdges, cut: float) -> Any:
    """Make scores of the logits; count the edges with a score above ``cut``.

    Returns:
        int32[n + 1], the number of such edges before each edge.
    """
    place = device.array(f"{name}.place", edges.n + 1, np.int32)
    device.launch(_score, edges.n, edges, place, f32(cut))
    device.scan(place, edges.n, place)
    return place


def count_kept_of_others(
    device: Device, edges: BatchEdges, events: Any, place: Any, cut: float, dropped: Any
) -> None:
    """Count again, in ``place``, without the edges of some events.

    Args:
        device: the device.
        edges: the edges, with their scores.
        events: int32, the event of each point.
        place: the answer of :func:`count_kept`.
        cut: as there.
        dropped: bool[events], the events to leave out.
    """
    device.launch(_mark_others, edges.n, edges, events, place, f32(cut), dropped)
    device.scan(place, edges.n, place)


def fill_kept(device: Device, name: str, edges: BatchEdges, place: Any, room: int) -> BatchEdges:
    """Return the edges that :func:`count_kept` counted in ``place``, in their order.

    Args:
        room: the number of these edges, or more.
    """
    start = find_starts(device, name, place, edges.start, edges.n_events)
    kept = make_edges(device, name, start, edges.n_events, room)
    device.launch(_fill, edges.n, edges, place, kept)
    return kept


@cuda_kernel
def _find_starts(before: Any, first: Any, start: Any, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        start[e] = before[first[e]]


@cuda_kernel
def _score(edges: BatchEdges, place: Any, cut: float) -> None:
    for e in range(cuda.grid(1), edges.n, cuda.gridsize(1)):
        score = sigmoid(edges.score[e])
        edges.score[e] = score
        place[e] = 1 if score > cut else 0


@cuda_kernel
def _mark_others(edges: BatchEdges, events: Any, place: Any, cut: float, dropped: Any) -> None:
    for e in range(cuda.grid(1), edges.n, cuda.gridsize(1)):
        keeps = edges.score[e] > cut and not dropped[events[edges.source[e]]]
        place[e] = 1 if keeps else 0


@cuda_kernel
def _fill(edges: BatchEdges, place: Any, kept: BatchEdges) -> None:
    for e in range(cuda.grid(1), edges.n, cuda.gridsize(1)):
        k = place[e]
        if place[e + 1] > k:
            kept.source[k], kept.target[k] = edges.source[e], edges.target[e]
            kept.score[k] = edges.score[e]
