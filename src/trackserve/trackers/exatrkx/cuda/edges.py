"""Edges of a batch, and those of them whose score exceeds a cut."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.compile import f32
from trackserve.device.cuda import Device, cuda_kernel

from ..tiles import sigmoid


class BatchEdges(NamedTuple):
    """Edges between points of a batch, event by event.

    Attributes:
        start: int32[events + 1], first of each event; the last row is their number.
        source, target: int32[m].
        score: float32[m], a logit until :func:`count_kept` has seen it.
    """

    start: Any
    source: Any
    target: Any
    score: Any


def make_edges(device: Device, name: str, start: Any, n: int) -> BatchEdges:
    """Room for ``n`` edges."""
    return BatchEdges(
        start=start,
        source=device.array(f"{name}.source", n, np.int32),
        target=device.array(f"{name}.target", n, np.int32),
        score=device.array(f"{name}.score", n, np.float32),
    )


def find_starts(device: Device, name: str, before: Any, first: Any, n_events: int) -> Any:
    """int32[events + 1]: ``before[first[e]]`` of each event.

    Args:
        before: int32, number of items that come before each of another kind.
        first: int32[events + 1], first of that kind of each event.
    """
    start = device.array(f"{name}.start", n_events + 1, np.int32)
    device.launch(_find_starts, n_events + 1, before, first, start, n_events)
    return start


def count_kept(device: Device, name: str, edges: BatchEdges, n: int, cut: float) -> Any:
    """Logits to scores; int32[n + 1], how many before each edge have one above ``cut``."""
    place = device.array(f"{name}.place", n + 1, np.int32)
    device.launch(_score, n, edges, place, f32(cut), n)
    device.scan(place, n, place)
    return place


def fill_kept(
    device: Device, name: str, edges: BatchEdges, n: int, place: Any, n_events: int, room: int
) -> BatchEdges:
    """Those edges, in their order; there are not more than ``room``."""
    kept = make_edges(device, name, find_starts(device, name, place, edges.start, n_events), room)
    device.launch(_fill, n, edges, place, kept, n)
    return kept


@cuda_kernel
def _find_starts(before: Any, first: Any, start: Any, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        start[e] = before[first[e]]


@cuda_kernel
def _score(edges: BatchEdges, place: Any, cut: float, n: int) -> None:
    for e in range(cuda.grid(1), n, cuda.gridsize(1)):
        score = sigmoid(edges.score[e])
        edges.score[e] = score
        place[e] = 1 if score > cut else 0


@cuda_kernel
def _fill(edges: BatchEdges, place: Any, kept: BatchEdges, n: int) -> None:
    for e in range(cuda.grid(1), n, cuda.gridsize(1)):
        k = place[e]
        if place[e + 1] > k:
            kept.source[k], kept.target[k] = edges.source[e], edges.target[e]
            kept.score[k] = edges.score[e]
