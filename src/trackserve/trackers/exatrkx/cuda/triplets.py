"""Triplets of a batch: a thread for each inner edge."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import cuda

from trackserve.device.cuda import LARGEST, Device, cuda_kernel
from trackserve.edm.columns import Array

from ..follow import Cloud
from ..radius import turned
from ..triplets import may_be_track, mean_score
from .edges import BatchEdges
from .features import BatchPoints
from .finish import AGAIN, Pass, Pieces
from .tensors import tensor


class _Turned(NamedTuple):
    """Edges from the inside out, by their inner point.

    Attributes:
        outer, inner: int32[m], points in the order in which they came; ``inner`` is the number of
            points where a point is taken.
        order: int32[m], edges by their inner point.
        start: int32[n + 1], the first place in ``order`` of each point.
        place: int32[m + 1], triplets before those of each edge.
    """

    outer: Any
    inner: Any
    order: Any
    start: Any
    place: Any


def find_triplets(
    device: Device,
    points: BatchPoints,
    edges: BatchEdges,
    taken: Any,
    cloud: Cloud,
    unit: float,
    most: Array,
) -> tuple[Pass, Array]:
    """Return the triplets of edges between points that are not taken, event by event.

    An event with more than it may have goes on without.

    Args:
        edges: the edges that the graph network has kept.
        taken: bool[n], by the order in which points came.
        cloud: the points.
        unit: pT of a particle of charge 1 over its circle's radius, GeV/mm.
        most: int64[events], the most of each event.

    Returns:
        the triplets; int64[events], how many each event had.

    Raises:
        OverflowError: there are too many for the device.
    """
    n, m, n_rows = points.n, edges.n, points.n_events + 1
    found = _Turned(
        outer=device.array("triplets.outer", m, np.int32),
        inner=device.array("triplets.inner", m, np.int32),
        order=device.array("triplets.order", m, np.int32),
        start=device.array("triplets.start", n + 1, np.int32),
        place=device.array("triplets.place", m + 1, np.int32),
    )
    device.launch(_turn, m, points, edges, taken, found, m)
    inner = torch.sort(tensor(device, found.inner, m), stable=True)
    tensor(device, found.order, m).copy_(inner.indices)
    numbers = torch.arange(n + 1, dtype=torch.int32, device=inner.values.device)
    tensor(device, found.start, n + 1).copy_(torch.searchsorted(inner.values, numbers))
    table = device.array(f"{AGAIN}counts", n_rows, np.int32, 6)

    def count() -> Array:
        device.launch(_count, m, found, cloud, unit, n, m)
        device.scan(found.place, m, found.place)
        device.launch(_find_counts, n_rows, edges, found, table)
        return device.download({"": (table, n_rows)})[""].copy()

    counts = count()
    n_triplets = np.diff(counts[:, 4].astype(np.int64))
    dropped = n_triplets > most
    if dropped.any():
        there = device.upload("triplets.dropped", dropped)
        device.launch(_leave_out, m, points, edges, there, found)
        counts = count()
    k = int(counts[-1, 4])
    if 3 * k > LARGEST:
        raise OverflowError("too many triplets of points")
    pieces = Pieces(
        offset=device.array(f"{AGAIN}offset", k + 1, np.int32),
        point=device.array(f"{AGAIN}point", 3 * k, np.int32),
        score=device.array(f"{AGAIN}score", k, np.float32),
    )
    device.launch(_fill, m, points, edges, found, cloud, unit, pieces, m)
    return Pass(AGAIN, pieces, table, counts), n_triplets


@cuda_kernel
def _turn(points: BatchPoints, edges: BatchEdges, taken: Any, found: _Turned, m: int) -> None:
    for e in range(cuda.grid(1), m, cuda.gridsize(1)):
        found.outer[e], found.inner[e] = points.n, points.n
        if e < edges.start[edges.n_events]:
            one, other = points.row[edges.source[e]], points.row[edges.target[e]]
            if not (taken[one] or taken[other]):
                found.outer[e], found.inner[e] = turned(points.rank, one, other)


@cuda_kernel
def _leave_out(points: BatchPoints, edges: BatchEdges, dropped: Any, found: _Turned) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
        if dropped[points.event[edges.source[e]]]:
            found.inner[e] = points.n


@cuda_kernel
def _count(found: _Turned, cloud: Cloud, unit: float, n: int, m: int) -> None:
    for e in range(cuda.grid(1), m, cuda.gridsize(1)):
        k, a, b = 0, found.inner[e], found.outer[e]
        if a < n:
            for j in range(found.start[b], found.start[b + 1]):
                if may_be_track(cloud, a, b, found.outer[found.order[j]], unit):
                    k += 1
        found.place[e] = k


@cuda_kernel
def _find_counts(edges: BatchEdges, found: _Turned, counts: Any) -> None:
    for e in range(cuda.grid(1), edges.n_events + 1, cuda.gridsize(1)):
        n = found.place[edges.start[e]]
        counts[e, 4] = n


@cuda_kernel
def _fill(
    points: BatchPoints,
    edges: BatchEdges,
    found: _Turned,
    cloud: Cloud,
    unit: float,
    pieces: Pieces,
    m: int,
) -> None:
    for e in range(cuda.grid(1), m, cuda.gridsize(1)):
        k = found.place[e]
        if found.place[e + 1] == k:
            continue
        a, b = found.inner[e], found.outer[e]
        first = points.start[points.event[edges.source[e]]]
        for j in range(found.start[b], found.start[b + 1]):
            other = found.order[j]
            c = found.outer[other]
            if may_be_track(cloud, a, b, c, unit):
                pieces.offset[k], pieces.offset[k + 1] = 3 * k, 3 * k + 3
                pieces.point[3 * k] = a - first
                pieces.point[3 * k + 1] = b - first
                pieces.point[3 * k + 2] = c - first
                pieces.score[k] = mean_score(edges.score[e], edges.score[other])
                k += 1
