"""Digis to clusters (gpuClustering.h, gpuClusterChargeCut.h).

Pixels of one module that touch, corners included, are one cluster; clusters are
numbered by their first pixel, and kept if their charge exceeds the cut. A charge beyond 31 bits
counts as :data:`MAX_CHARGE`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.layout import (
    COLS,
    FIRST_BARREL_2,
    N_MODULES,
    ROWS,
)
from trackserve.device.compile import (
    LANES,
    i32,
    kernel,
    shared,
    u32,
    u64,
)
from trackserve.device.held import Held, plain
from trackserve.device.lanes import load, store, whole
from trackserve.edm import Clusters
from trackserve.edm.columns import Array

from .config import ClusterCuts

_ClusterArrays = Clusters.Arrays
_STRIDE = COLS + 2
GRID_SIZE = (ROWS + 2) * _STRIDE
"""Places in the grid of a module: see :func:`grid_place`."""
AROUND = tuple(_STRIDE * row + col for row in (-1, 0, 1) for col in (-1, 0, 1))
_TOP, _BOTTOM, _LEFT, _RIGHT, _ALL = range(5)
"""Sides of a cluster: first row, last row, first column, last column; and the whole of it."""
_NO_EDGE = i32(-ROWS - COLS)
MAX_CHARGE = 2**31 - 1
"""Largest charge of a cluster or of its edge, electrons."""
_MOST_SAFE = MAX_CHARGE // 0xFFFF
"""Digis whose charges fit into 31 bits together."""


@kernel
def clusterize(
    digis: Held[Any] | Any,
    cuts: Held[ClusterCuts] | ClusterCuts,
    max_digis: int,
    max_clusters: int,
) -> tuple[Held[Any], int, int, int]:
    """Find clusters and fill ``cluster`` of the digis.

    Args:
        digis: columns of :class:`trackserve.edm.Digis`, modules contiguous.
        cuts: least charge of a cluster.
        max_digis: most digis of a module.
        max_clusters: most clusters.

    Returns:
        columns of :class:`trackserve.edm.Clusters`, their number, that of modules with digis, and
        the most digis of a module. If a number is above its limit, ``cluster`` is -1.
    """
    digis = plain(digis)
    columns, n_modules, most = _clusterize(digis, plain(cuts), max_digis)
    n = len(columns[0])
    if most > max_digis or n > max_clusters:
        digis.cluster[:] = -1
    return Held(_ClusterArrays(*columns)), n, n_modules, most


@shared
def grid_place(row: int, col: int) -> int:
    """Place of a pixel in a module's grid, which has a margin of one pixel all round."""
    return u64((row + 1) * _STRIDE + col + 1)


@shared
def find_root(parent: Array, i: int) -> int:
    """Lowest label of the set that holds label ``i``, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


class Edge(NamedTuple):
    """Pixels of a cluster at one of its edges.

    Attributes:
        place: int32, the largest place of the cluster's pixels.
        charge: int32, charge of the pixels there, electrons.
    """

    place: int
    charge: int


@shared
def add_charge(charge: int, more: int) -> int:
    """Return the sum of two charges, int32, electrons; at most :data:`MAX_CHARGE`."""
    return i32(min(charge, i32(MAX_CHARGE - more)) + more)


@shared
def edge_with(edge: Edge, pixel: Edge) -> Edge:
    """Return an edge after one more pixel.

    It has no branch, since a processor cannot predict which pixel is at an edge. A CPU takes all
    sides at once, in lanes; a GPU one.
    """
    kept, added = whole(pixel.place <= edge.place), whole(pixel.place >= edge.place)
    return Edge(max(edge.place, pixel.place), whole(edge.charge * kept + pixel.charge * added))


class Sums(NamedTuple):
    """What the digis of each label sum to, int32[labels * LANES]; the lanes are those of sides.

    Attributes:
        place: the largest place of a digi on each side; on others 0.
        charge: charge of the digis there, electrons; on others that of all digis.
    """

    place: Array
    charge: Array


@shared
def edge_of(sums: Sums, label: int) -> Edge:
    """Return the edges of a label, on all sides at once."""
    place = label * u64(LANES)
    return Edge(load(sums.place, place), load(sums.charge, place))


@shared
def set_edge(sums: Sums, label: int, edge: Edge) -> None:
    """Set the edges of a label."""
    place = label * u64(LANES)
    store(sums.place, place, edge.place)
    store(sums.charge, place, edge.charge)


class Labels(NamedTuple):
    """The lowest and the highest label around a pixel, uint32; 0 if there is none.

    While they are compared, the lowest is less by 1: so that of a pixel without a label is the
    largest number.
    """

    lowest: int
    highest: int


@shared
def labels_around(grid: Array, here: int) -> Labels:
    """Find the labels around a place of a grid; as a tree, since a chain would take longer."""
    row_0 = _labels_of_row(grid, here - u64(_STRIDE))
    row_1 = _labels_of_row(grid, here)
    row_2 = _labels_of_row(grid, here + u64(_STRIDE))
    found = _both(_both(row_0, row_2), row_1)
    return Labels(u32(found.lowest + u32(1)), found.highest)


@shared
def _labels_of_row(grid: Array, here: int) -> Labels:
    """The labels of three pixels in a row, the middle one at ``here``."""
    a, b, c = u32(grid[here - u64(1)]), u32(grid[here]), u32(grid[here + u64(1)])
    one = u32(1)
    ends = _both(Labels(u32(a - one), a), Labels(u32(c - one), c))
    return _both(ends, Labels(u32(b - one), b))


@shared
def _both(a: Labels, b: Labels) -> Labels:
    return Labels(min(a.lowest, b.lowest), max(a.highest, b.highest))


@shared
def enough_charge(module: int, charge: int, cuts: ClusterCuts) -> bool:
    """Whether a cluster is kept."""
    return charge > (cuts.min_charge_1 if module < FIRST_BARREL_2 else cuts.min_charge)


@kernel
def _clusterize(
    digis: Any, cuts: ClusterCuts, max_digis: int
) -> tuple[tuple[Array, ...], int, int]:
    """Find clusters; none if a module has more than ``max_digis``.

    Returns:
        columns of the clusters, the number of modules with digis, and the most digis of a module.
    """
    module, row, col, charge, cluster = digis
    n_digis = len(module)
    start = np.zeros(N_MODULES, np.int32)
    end = np.zeros(N_MODULES, np.int32)
    for i in range(u64(n_digis)):
        end[module[i]] = i + u64(1)
    for i in range(u64(n_digis)):
        before = u64(n_digis - 1) - i
        start[module[before]] = before
    most = 0
    for k in range(N_MODULES):
        most = max(most, end[k] - start[k])
    most_labels = most
    if most > max_digis:
        n_digis = most_labels = 0
        for k in range(N_MODULES):  # Numba needs seconds to compile an assignment of an array
            start[k] = end[k]

    cluster_module = np.empty(n_digis, np.uint16)
    box = np.empty((4, n_digis), np.uint16)
    total = np.empty(n_digis, np.int32)
    edges = np.empty((4, n_digis), np.int32)

    # Of one module: the label of each digi in a grid of pixels, 0 where there is none (a new
    # label has none around it, so that there are less than 2^16); for each label a lower
    # one it is connected with, or itself, the number of its cluster, and its sums.
    grid = np.zeros(GRID_SIZE, np.uint16)
    parent = np.empty(most_labels + 2, np.int32)
    number = np.empty(most_labels + 1, np.int32)
    room = (most_labels + 1) * LANES
    sums = Sums(np.zeros(room, np.int32), np.zeros(room, np.int32))
    along_rows, along_cols = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    along_rows[_TOP], along_rows[_BOTTOM] = -1, 1
    along_cols[_LEFT], along_cols[_RIGHT] = -1, 1
    row_signs, col_signs = load(along_rows, u64(0)), load(along_cols, u64(0))
    none = Edge(abs(row_signs + col_signs) * _NO_EDGE, load(sums.charge, u64(0)))
    for label in range(u64(most_labels + 1)):
        set_edge(sums, label, none)
    n = u64(0)
    n_modules = 0
    for m in range(N_MODULES):
        first, last = u64(start[m]), u64(end[m])
        if first == last:
            continue
        n_modules += 1
        n_labels = u64(0)
        joined = False
        for i in range(first, last):
            here = grid_place(row[i], col[i])
            around = labels_around(grid, here)
            parent[n_labels + u64(1)] = n_labels + u64(1)
            n_labels += u64(around.highest == 0)
            label = n_labels if around.highest == 0 else u64(around.lowest)
            cluster[i] = label
            grid[here] = label
            place = row_signs * i32(row[i]) + col_signs * i32(col[i])
            added = Edge(place, none.charge + i32(charge[i]))
            set_edge(sums, label, edge_with(edge_of(sums, label), added))
            if around.lowest != around.highest:
                joined = True
                root = find_root(parent, i32(label))
                for step in AROUND:
                    if grid[here + u64(step)] > 0:
                        other_root = find_root(parent, int(grid[here + u64(step)]))
                        parent[max(root, other_root)] = min(root, other_root)
                        root = min(root, other_root)

        if joined:
            for before in range(n_labels):
                label = n_labels - before
                lower = u64(parent[label])
                if lower != label:
                    both = edge_with(edge_of(sums, lower), edge_of(sums, label))
                    set_edge(sums, lower, both)
        if last - first > u64(_MOST_SAFE):
            _sum_again(digis, first, last, parent, sums)
        for label in range(u64(1), n_labels + u64(1)):
            at = label * u64(LANES)
            if u64(parent[label]) == label:
                place, charges = sums.place, sums.charge
                kept = enough_charge(m, charges[at + u64(_ALL)], cuts)
                number[label] = n if kept else -1
                cluster_module[n], total[n] = m, charges[at + u64(_ALL)]
                for side, sign in ((_TOP, -1), (_BOTTOM, 1), (_LEFT, -1), (_RIGHT, 1)):
                    box[u64(side), n] = sign * place[at + u64(side)]
                    edges[u64(side), n] = charges[at + u64(side)]
                n += u64(kept)
            else:
                number[label] = number[u64(parent[label])]
            set_edge(sums, label, none)
        for i in range(first, last):
            grid[grid_place(row[i], col[i])] = 0
            cluster[i] = number[u64(cluster[i])]
    columns = (
        *(cluster_module[:n], box[0, :n], box[1, :n], box[2, :n], box[3, :n], total[:n]),
        *(edges[0, :n], edges[1, :n], edges[2, :n], edges[3, :n]),
    )
    return columns, n_modules, most


@kernel
def _sum_again(digis: Any, first: int, last: int, parent: Array, sums: Sums) -> None:
    """Sum the charges of the clusters of a module, and those at their edges, up to the largest."""
    _, row, col, charge, cluster = digis
    sums.charge[:] = 0
    for i in range(first, last):
        r, c, q, label = i32(row[i]), i32(col[i]), i32(charge[i]), find_root(parent, cluster[i])
        places = (i32(-r), r, i32(-c), c, i32(0))  # of the sides, in order
        for side in range(len(places)):
            at, place = label * LANES + side, places[side]
            if place == sums.place[at]:
                sums.charge[at] = add_charge(sums.charge[at], q)
