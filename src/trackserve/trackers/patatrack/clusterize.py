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
    i32,
    kernel,
    shared,
    u32,
    u64,
)
from trackserve.device.held import Held, plain
from trackserve.edm import Clusters
from trackserve.edm.columns import Array

from .config import ClusterCuts

_ClusterArrays = Clusters.Arrays
_STRIDE = COLS + 2
GRID_SIZE = (ROWS + 2) * _STRIDE
"""Places in the grid of a module: see :func:`grid_place`."""
AROUND = tuple(_STRIDE * row + col for row in (-1, 0, 1) for col in (-1, 0, 1))
_NO_LABEL = u32(0xFFFFFFFF)
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

    It has no branch, since a processor cannot predict which pixel is at an edge.
    """
    kept, added = i32(pixel.place <= edge.place), i32(pixel.place >= edge.place)
    return Edge(max(edge.place, pixel.place), i32(edge.charge * kept + pixel.charge * added))


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
    if most > max_digis:
        n_digis = 0
        for k in range(N_MODULES):  # Numba needs seconds to compile an assignment of an array
            start[k] = end[k]

    cluster_module = np.empty(n_digis, np.uint16)
    box = np.empty((4, n_digis), np.uint16)
    total = np.empty(n_digis, np.int32)
    edges = np.empty((4, n_digis), np.int32)

    # Of one module: the label of each digi in a grid of pixels, 0 where there is none (a new
    # label has none around it, so that there are less than 2^16); for each label a lower
    # one it is connected with, or itself, and the number of its set; for each set the
    # charge, edges (first row and column negative: the largest is the edge), their charges.
    grid = np.zeros(GRID_SIZE, np.uint16)
    parent = np.empty(most + 2, np.int32)
    number = np.empty(most + 2, np.int32)
    set_total = np.empty(most, np.int32)
    set_edge = np.empty((most, 4), np.int32)
    set_charge = np.empty((most, 4), np.int32)
    n = 0
    n_modules = 0
    for m in range(N_MODULES):
        first, last = u64(start[m]), u64(end[m])
        if first == last:
            continue
        n_modules += 1
        n_labels = 0
        for i in range(first, last):
            here = grid_place(row[i], col[i])
            lowest, highest = _NO_LABEL, u32(0)
            for step in AROUND:
                other = u32(grid[here + u64(step)])
                highest = max(highest, other)
                lowest = min(lowest, u32(other - u32(1)))  # 0 becomes _NO_LABEL
            lowest = u32(lowest + u32(1))
            parent[n_labels + 1] = n_labels + 1
            n_labels += int(highest == 0)
            label = n_labels if highest == 0 else int(lowest)
            cluster[i] = label
            grid[here] = label
            if lowest != highest:
                root = find_root(parent, label)
                for step in AROUND:
                    if grid[here + u64(step)] > 0:
                        other_root = find_root(parent, int(grid[here + u64(step)]))
                        parent[max(root, other_root)] = min(root, other_root)
                        root = min(root, other_root)

        n_sets = 0
        for label in range(1, n_labels + 1):
            if parent[label] == label:
                number[label] = n_sets
                set_total[n_sets] = 0
                for edge in range(4):
                    set_edge[n_sets, edge], set_charge[n_sets, edge] = -ROWS - COLS, 0
                n_sets += 1
            else:
                number[label] = number[parent[label]]
        for i in range(first, last):
            r, c, q = i32(row[i]), i32(col[i]), i32(charge[i])
            grid[grid_place(row[i], col[i])] = 0
            k = u64(number[cluster[i]])
            cluster[i] = k
            set_total[k] += q
            for edge, place in ((0, i32(-r)), (1, r), (2, i32(-c)), (3, c)):
                before = Edge(set_edge[k, edge], set_charge[k, edge])
                set_edge[k, edge], set_charge[k, edge] = edge_with(before, Edge(place, q))

        if last - first > u64(_MOST_SAFE):
            _sum_again(digis, first, last, set_total[:n_sets], set_edge, set_charge)
        for k in range(n_sets):
            kept = enough_charge(m, set_total[k], cuts)
            number[k] = n if kept else -1
            cluster_module[n], total[n] = m, set_total[k]
            box[0, n], box[1, n] = -set_edge[k, 0], set_edge[k, 1]
            box[2, n], box[3, n] = -set_edge[k, 2], set_edge[k, 3]
            for edge in range(4):
                edges[edge, n] = set_charge[k, edge]
            n += int(kept)
        for i in range(first, last):
            cluster[i] = number[cluster[i]]
    columns = (
        *(cluster_module[:n], box[0, :n], box[1, :n], box[2, :n], box[3, :n], total[:n]),
        *(edges[0, :n], edges[1, :n], edges[2, :n], edges[3, :n]),
    )
    return columns, n_modules, most


@kernel
def _sum_again(
    digis: Any, first: int, last: int, set_total: Array, set_edge: Array, set_charge: Array
) -> None:
    """Sum the charges of the sets of a module, and those at their edges, up to the largest."""
    _, row, col, charge, cluster = digis
    for k in range(len(set_total)):
        set_total[k] = 0
        for edge in range(4):
            set_charge[k, edge] = 0
    for i in range(first, last):
        r, c, q, k = i32(row[i]), i32(col[i]), i32(charge[i]), u64(cluster[i])
        set_total[k] = add_charge(set_total[k], q)
        for edge, place in ((0, i32(-r)), (1, r), (2, i32(-c)), (3, c)):
            if place == set_edge[k, edge]:
                set_charge[k, edge] = add_charge(set_charge[k, edge], q)
