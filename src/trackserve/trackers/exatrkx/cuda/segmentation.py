"""Edges to track candidates: a thread for each edge, then a thread for each point.

Components are sets of points that threads unite. The root of a set is its first point. The number
of a component is the number of roots before its root: it does not depend on the order in which
threads unite sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import cuda

from trackserve.device.compile import f32
from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.device.union import find_root, unite

from ..architecture import Cuts
from ..radius import turned
from .edges import BatchEdges
from .features import BatchPoints
from .tensors import tensor

SCORE_UNIT = float(1 << 36)
"""Scores are added up as integers, in units of one over this. A float32 above 2^-13 is a whole
number of units, so the sums are those of a CPU in float64, whatever the order."""
COLUMNS = ("radius_edges", "filter_edges", "track_edges", "components", "candidates", "points")
"""Columns of :func:`find_counts`; ``points`` are those of candidates."""


class Components(NamedTuple):
    """Connected components of a batch; points are in the order in which they came.

    Attributes:
        used: bool[m], whether each edge joins points of a component.
        parent: int32[n], an earlier point of the same component, or the point itself.
        root: int32[n], first point of the component of each point.
        size: int32[n + 1], points of components with an earlier root.
        number: int32[n + 1], components with an earlier root.
        candidate: int32[n + 1], candidates with an earlier root.
        first: int32[n + 1], points of candidates with an earlier root.
        key: int64[n], root and rank, in one number.
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
    """The best edges of each point.

    Attributes:
        inwards: int64[n], key of the best edge inwards; 0 if there is none.
        outwards: int64[n], key of the best edge outwards; 0 if there is none.
    """

    inwards: Any
    outwards: Any


class BatchCandidates(NamedTuple):
    """Candidates of a batch; each array has memory for the most that there may be.

    Attributes:
        label: int32[n], number of the component of each point, in its event.
        offset: int32[candidates + 1], first point of each candidate in ``point``.
        point: int32[.], rows of points in their event, candidate by candidate.
        sum: int64[candidates], sum of the scores of the edges, in units of 1 / SCORE_UNIT.
        n_edges: int32[candidates], number of edges.
        score: float32[candidates], mean score of the edges.
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
    cuts: Cuts,
) -> Components:
    """Return the components that edges make of points.

    Args:
        edges: the edges that the graph network has kept.
        cuts: which of these count, and what is a candidate or a piece.
    """
    n = points.n
    numbers = {
        column: device.array(f"components.{column}", n + 1, np.int32)
        for column in ("parent", "root", "size", "number", "candidate", "first")
    }
    components = Components(
        used=device.array("components.used", edges.n, np.bool_),
        key=device.array("components.key", n, np.int64),
        **numbers,
    )
    device.launch(_reset, n, components, n)
    device.launch(_choose_edges, edges.n, edges, float(f32(cuts.sure)), components)
    if cuts.segmentation == "paths":
        best = BestEdges(*(device.array(f"best.{k}", n, np.int64) for k in BestEdges._fields))
        for keys in best:
            device.fill(keys, n, 0)
        bits = edges.score.view(np.int32)
        device.launch(_find_best, edges.n, points, edges, bits, best, components)
        device.launch(_keep_best, edges.n, points, edges, bits, best, components)
    device.launch(_unite, edges.n, points, edges, components)
    device.launch(_count, n, points, components)
    device.launch(_choose, n, components, cuts.least_component, n)
    for counts in (components.size, components.number, components.candidate, components.first):
        device.scan(counts, n, counts)
    return components


def make_candidates(
    device: Device,
    points: BatchPoints,
    edges: BatchEdges,
    components: Components,
) -> BatchCandidates:
    """Return labels of all points, and candidates with their points from the inside out."""
    n = points.n
    columns = {
        "label": np.int32,
        "offset": np.int32,
        "point": np.int32,
        "sum": np.int64,
        "n_edges": np.int32,
        "score": np.float32,
    }
    found = BatchCandidates(
        **{
            column: device.array(f"candidates.{column}", n + 1, dtype)
            for column, dtype in columns.items()
        }
    )
    order = device.array("candidates.order", n, np.int32)
    tensor(device, order, n).copy_(torch.sort(tensor(device, components.key, n)).indices)
    device.fill(found.sum, n, 0)
    device.fill(found.n_edges, n, 0)
    device.launch(_fill_points, n, points, components, order, found)
    device.launch(_add_scores, edges.n, points, edges, components, found)
    device.launch(_fill_candidates, n, components, found, n)
    return found


def find_counts(
    device: Device,
    points: BatchPoints,
    graphs: Sequence[BatchEdges],
    components: Components,
) -> Any:
    """Return the numbers of :data:`COLUMNS` before each event, int32[events + 1, 6].

    Args:
        graphs: the edges after each of :data:`..result.GRAPH_STAGES`.
    """
    n_rows = points.n_events + 1
    counts = device.array("counts", n_rows, np.int32, len(COLUMNS))
    starts = tuple(graph.start for graph in graphs)
    device.launch(_find_counts, n_rows, points, starts, components, counts)
    return counts


def edges_as_given(device: Device, name: str, points: BatchPoints, edges: BatchEdges) -> BatchEdges:
    """Return edges between the rows of their event, as the points came."""
    found = edges._replace(
        source=device.array(f"kept.{name}.source", edges.n, np.int32),
        target=device.array(f"kept.{name}.target", edges.n, np.int32),
    )
    device.launch(_find_rows, edges.n, points, edges, found)
    return found


@cuda_kernel
def _reset(components: Components, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        components.parent[i] = i
        components.size[i] = 0


@device_function
def _key(bits: int, step: int) -> Any:
    """Return a number that is larger for a better edge: by score, then by fewer ranks.

    The bits of a score, as an integer, rise with the score.
    """
    return np.int64(bits) << 32 | (0x7FFFFFFF - step)


@cuda_kernel
def _choose_edges(edges: BatchEdges, least_score: float, components: Components) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
        components.used[e] = edges.score[e] > least_score


@cuda_kernel
def _find_best(
    points: BatchPoints, edges: BatchEdges, bits: Any, best: BestEdges, components: Components
) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
        if not components.used[e]:
            continue
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
) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
        one, other = points.row[edges.source[e]], points.row[edges.target[e]]
        outer, inner = turned(points.rank, one, other)
        key = _key(bits[e], points.rank[outer] - points.rank[inner])
        is_best = best.inwards[outer] == key and best.outwards[inner] == key
        components.used[e] = components.used[e] and is_best


@cuda_kernel
def _unite(points: BatchPoints, edges: BatchEdges, components: Components) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
        if components.used[e]:
            unite(components.parent, points.row[edges.source[e]], points.row[edges.target[e]])


@cuda_kernel
def _count(points: BatchPoints, components: Components) -> None:
    for i in range(cuda.grid(1), points.n, cuda.gridsize(1)):
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
    points: BatchPoints, components: Components, order: Any, found: BatchCandidates
) -> None:
    for p in range(cuda.grid(1), points.n, cuda.gridsize(1)):
        i = order[p]
        root, first_point = components.root[i], points.start[points.event[i]]
        found.label[i] = components.number[root] - components.number[first_point]
        if components.candidate[root + 1] > components.candidate[root]:
            found.point[components.first[root] + p - components.size[root]] = i - first_point


@cuda_kernel
def _add_scores(
    points: BatchPoints, edges: BatchEdges, components: Components, found: BatchCandidates
) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
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
            found.offset[c], found.offset[c + 1] = components.first[i], components.first[i + 1]
            found.score[c] = f32(found.sum[c] / SCORE_UNIT / max(found.n_edges[c], 1))


@cuda_kernel
def _find_counts(points: BatchPoints, starts: Any, components: Components, counts: Any) -> None:
    for e in range(cuda.grid(1), points.n_events + 1, cuda.gridsize(1)):
        for k in range(3):
            counts[e, k] = starts[k][e]
        i = points.start[e]
        counts[e, 3] = components.number[i]
        counts[e, 4] = components.candidate[i]
        counts[e, 5] = components.first[i]


@cuda_kernel
def _find_rows(points: BatchPoints, edges: BatchEdges, found: BatchEdges) -> None:
    for e in range(cuda.grid(1), edges.start[edges.n_events], cuda.gridsize(1)):
        s, t = edges.source[e], edges.target[e]
        first_point = points.start[points.event[s]]
        found.source[e], found.target[e] = points.row[s] - first_point, points.row[t] - first_point
