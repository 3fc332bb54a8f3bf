"""Edges to track candidates: a thread for each edge, then for each point.

Components are sets that threads unite; the root of a set is its first point, so a component's
number is the number of roots before its own, whatever the order in which sets were united.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numba import cuda

from trackserve.device.compile import f32
from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.device.union import find_root, unite

from ..radius import turned
from .edges import BatchEdges
from .features import BatchPoints
from .tensors import tensor

SCORE_UNIT = float(1 << 36)
"""Scores are added up as integers in 1 / this. A float32 above 2^-13 is a whole number of them,
so sums are those of a CPU in float64, in any order."""
COLUMNS = ("radius_edges", "filter_edges", "track_edges", "components", "candidates", "points")
"""Of :func:`find_counts`."""


class Components(NamedTuple):
    """Connected components of a batch, by its points as they came.

    Attributes:
        used: bool[m], whether an edge is in one.
        parent, root: int32[n], first point of each point's component, at last.
        size: int32[n + 1], of a root its component's points; then the sum before.
        number: int32[n + 1], components before those that begin here.
        candidate: int32[n + 1], candidates before.
        first: int32[n + 1], points of candidates before.
        key: int64[n], root and rank.
    """

    used: Any
    parent: Any
    root: Any
    size: Any
    number: Any
    candidate: Any
    first: Any
    key: Any


class BestEdges(NamedTuple):
    """Of each point, int64[n]: key of its best edge inwards and outwards; 0: it has none."""

    inwards: Any
    outwards: Any


class BatchCandidates(NamedTuple):
    """Candidates of a batch; their room is what it might be at most.

    Attributes:
        label: int32[n], component of each point in its event.
        offset: int32, first of each candidate in ``point``.
        point: int32, rows of their event.
        sum: int64, of the scores of a candidate's edges.
        n_edges: int32.
        score: float32.
    """

    label: Any
    offset: Any
    point: Any
    sum: Any
    n_edges: Any
    score: Any


def find_components(
    device: Device,
    points: BatchPoints,
    edges: BatchEdges,
    n_events: int,
    n: int,
    room: int,
    paths: bool,
    min_points: int,
) -> Components:
    """Components of ``n`` points and of up to ``room`` edges.

    Args:
        paths: whether each point keeps only its best edges.
        min_points: of a candidate.
    """
    numbers = {
        name: device.array(f"components.{name}", n + 1, np.int32)
        for name in ("parent", "root", "size", "number", "candidate", "first")
    }
    components = Components(
        used=device.array("components.used", room, np.bool_),
        key=device.array("components.key", n, np.int64),
        **numbers,
    )
    device.launch(_reset, n, components, n)
    if paths:
        best = BestEdges(*(device.array(f"best.{k}", n, np.int64) for k in BestEdges._fields))
        for keys in best:
            device.fill(keys, n, 0)
        bits = edges.score.view(np.int32)
        device.launch(_find_best, room, points, edges, bits, best, n_events)
        device.launch(_keep_best, room, points, edges, bits, best, components, n_events)
    else:
        device.fill(components.used, room, True)
    device.launch(_unite, room, points, edges, components, n_events)
    device.launch(_count, n, points, components, n)
    device.launch(_choose, n, components, min_points, n)
    for counts in (components.size, components.number, components.candidate, components.first):
        device.scan(counts, n, counts)
    return components


def make_candidates(
    device: Device,
    points: BatchPoints,
    edges: BatchEdges,
    components: Components,
    n_events: int,
    n: int,
    room: int,
) -> BatchCandidates:
    """Labels of all points, and the candidates with their points from the inside out."""
    columns = {
        "label": np.int32,
        "offset": np.int32,
        "point": np.int32,
        "sum": np.int64,
        "n_edges": np.int32,
        "score": np.float32,
    }
    found = BatchCandidates(
        **{name: device.array(f"candidates.{name}", n, dtype) for name, dtype in columns.items()}
    )
    order = device.array("candidates.order", n, np.int32)
    tensor(device, order, n).copy_(torch.sort(tensor(device, components.key, n)).indices)
    device.fill(found.sum, n, 0)
    device.fill(found.n_edges, n, 0)
    device.launch(_fill_points, n, points, components, order, found, n)
    device.launch(_add_scores, room, points, edges, components, found, n_events)
    device.launch(_fill_candidates, n, components, found, n)
    return found


def find_counts(
    device: Device,
    points: BatchPoints,
    graphs: tuple[BatchEdges, BatchEdges, BatchEdges],
    components: Components,
    n_events: int,
) -> Any:
    """int32[events + 1, 6]: how many of :data:`COLUMNS` come before each event."""
    counts = device.array("counts", n_events + 1, np.int32, len(COLUMNS))
    starts = tuple(graph.start for graph in graphs)
    device.launch(_find_counts, n_events + 1, points, starts, components, counts, n_events)
    return counts


def edges_as_given(
    device: Device, name: str, points: BatchPoints, edges: BatchEdges, n_events: int, n: int
) -> BatchEdges:
    """Edges between the rows of their event, as it came."""
    found = edges._replace(
        source=device.array(f"kept.{name}.source", n, np.int32),
        target=device.array(f"kept.{name}.target", n, np.int32),
    )
    device.launch(_find_rows, n, points, edges, found, n_events)
    return found


@cuda_kernel
def _reset(components: Components, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        components.parent[i] = i
        components.size[i] = 0


@device_function
def _key(bits: int, step: int) -> Any:
    """What is larger for a better edge: by score, whose bits rise with it, then by nearness."""
    return np.int64(bits) << 32 | (0x7FFFFFFF - step)


@cuda_kernel
def _find_best(
    points: BatchPoints, edges: BatchEdges, bits: Any, best: BestEdges, n_events: int
) -> None:
    for e in range(cuda.grid(1), edges.start[n_events], cuda.gridsize(1)):
        one, other = points.row[edges.source[e]], points.row[edges.target[e]]
        outer, inner = turned(points.rank, one, other)
        key = _key(bits[e], points.rank[outer] - points.rank[inner])
        cuda.atomic.max(best.inwards, outer, key)
        cuda.atomic.max(best.outwards, inner, key)


@cuda_kernel
def _keep_best(
    points: BatchPoints,
    edges: BatchEdges,
    bits: Any,
    best: BestEdges,
    components: Components,
    n_events: int,
) -> None:
    for e in range(cuda.grid(1), edges.start[n_events], cuda.gridsize(1)):
        one, other = points.row[edges.source[e]], points.row[edges.target[e]]
        outer, inner = turned(points.rank, one, other)
        key = _key(bits[e], points.rank[outer] - points.rank[inner])
        components.used[e] = best.inwards[outer] == key and best.outwards[inner] == key


@cuda_kernel
def _unite(points: BatchPoints, edges: BatchEdges, components: Components, n_events: int) -> None:
    for e in range(cuda.grid(1), edges.start[n_events], cuda.gridsize(1)):
        if components.used[e]:
            unite(components.parent, points.row[edges.source[e]], points.row[edges.target[e]])


@cuda_kernel
def _count(points: BatchPoints, components: Components, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        root = find_root(components.parent, i)
        components.root[i] = root
        components.key[i] = np.int64(root) << 32 | points.rank[i]
        cuda.atomic.add(components.size, root, 1)


@cuda_kernel
def _choose(components: Components, min_points: int, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        size = components.size[i]
        enough = size >= min_points and size > 0
        components.number[i] = 1 if size > 0 else 0
        components.candidate[i] = 1 if enough else 0
        components.first[i] = size if enough else 0


@cuda_kernel
def _fill_points(
    points: BatchPoints, components: Components, order: Any, found: BatchCandidates, n: int
) -> None:
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = order[p]
        root, first_point = components.root[i], points.start[points.event[i]]
        found.label[i] = components.number[root] - components.number[first_point]
        if components.candidate[root + 1] > components.candidate[root]:
            found.point[components.first[root] + p - components.size[root]] = i - first_point


@cuda_kernel
def _add_scores(
    points: BatchPoints,
    edges: BatchEdges,
    components: Components,
    found: BatchCandidates,
    n_events: int,
) -> None:
    for e in range(cuda.grid(1), edges.start[n_events], cuda.gridsize(1)):
        root = components.root[points.row[edges.source[e]]]
        c = components.candidate[root]
        if components.used[e] and components.candidate[root + 1] > c:
            cuda.atomic.add(found.sum, c, np.int64(np.float64(edges.score[e]) * SCORE_UNIT))
            cuda.atomic.add(found.n_edges, c, 1)


@cuda_kernel
def _fill_candidates(components: Components, found: BatchCandidates, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        c = components.candidate[i]
        if components.candidate[i + 1] > c:
            found.offset[c] = components.first[i]
            found.score[c] = f32(found.sum[c] / SCORE_UNIT / max(found.n_edges[c], 1))


@cuda_kernel
def _find_counts(
    points: BatchPoints, starts: Any, components: Components, counts: Any, n_events: int
) -> None:
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        for k in range(3):
            counts[e, k] = starts[k][e]
        i = points.start[e]
        counts[e, 3] = components.number[i]
        counts[e, 4] = components.candidate[i]
        counts[e, 5] = components.first[i]


@cuda_kernel
def _find_rows(points: BatchPoints, edges: BatchEdges, found: BatchEdges, n_events: int) -> None:
    for e in range(cuda.grid(1), edges.start[n_events], cuda.gridsize(1)):
        s, t = edges.source[e], edges.target[e]
        first_point = points.start[points.event[s]]
        found.source[e], found.target[e] = points.row[s] - first_point, points.row[t] - first_point
