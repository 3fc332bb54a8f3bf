"""Digis to clusters (gpuClustering.h, gpuClusterChargeCut.h).

Pixels of one module that touch, corners included, are one cluster; clusters are
numbered by their first pixel, and kept if their charge exceeds the cut.
"""

from __future__ import annotations

import numpy as np

from ..detector.phase1 import COLS, FIRST_BARREL_2, N_MODULES, ROWS
from ..device import kernel, shared
from ..edm import Clusters, Digis
from ..edm.columns import Array
from .config import ClusterCuts

_STRIDE = COLS + 2


def clusterize(digis: Digis, cuts: ClusterCuts) -> tuple[Clusters, int]:
    """Clusters, and the number of modules with digis; fills ``digis.cluster``."""
    columns, n_modules = _clusterize(
        digis.module, digis.row, digis.col, digis.charge, digis.cluster, cuts
    )
    return Clusters(*columns), n_modules


@shared
def find_root(parent: Array, i: int) -> int:
    """First pixel of the set that holds pixel ``i``, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def _clusterize(
    module: Array, row: Array, col: Array, charge: Array, cluster: Array, cuts: ClusterCuts
) -> tuple[tuple[Array, ...], int]:
    n_digis = len(module)
    start = np.zeros(N_MODULES, np.int32)
    size = np.zeros(N_MODULES, np.int32)
    for i in range(n_digis):
        if size[module[i]] == 0:
            start[module[i]] = i
        size[module[i]] += 1

    cluster_module = np.empty(n_digis, np.uint16)
    min_row = np.empty(n_digis, np.uint16)
    max_row = np.empty(n_digis, np.uint16)
    min_col = np.empty(n_digis, np.uint16)
    max_col = np.empty(n_digis, np.uint16)
    total = np.empty(n_digis, np.int32)
    edges = np.zeros((4, n_digis), np.int32)

    grid = np.zeros((ROWS + 2) * _STRIDE, np.int32)
    parent = np.empty(n_digis, np.int32)
    proto_charge = np.empty(n_digis, np.int32)
    renumbered = np.empty(n_digis, np.int32)
    n = 0
    n_modules = 0
    for m in range(N_MODULES):
        first, last = start[m], start[m] + size[m]
        if size[m] == 0:
            continue
        n_modules += 1
        for i in range(first, last):
            here = (row[i] + 1) * _STRIDE + col[i] + 1
            root = i
            for above in range(here - _STRIDE, here + _STRIDE + 1, _STRIDE):
                for place in range(above - 1, above + 2):
                    if grid[place] > 0:
                        other = find_root(parent, grid[place] - 1)
                        if other < root:
                            parent[root] = other
                            root = other
                        else:
                            parent[other] = root
            parent[i] = root
            grid[here] = i + 1

        n_proto = 0
        for i in range(first, last):
            grid[(row[i] + 1) * _STRIDE + col[i] + 1] = 0
            if parent[i] == i:
                cluster[i] = n_proto
                proto_charge[n_proto] = 0
                n_proto += 1
            else:
                cluster[i] = cluster[parent[i]]
            proto_charge[cluster[i]] += charge[i]

        min_charge = cuts.min_charge_1 if m < FIRST_BARREL_2 else cuts.min_charge
        for k in range(n_proto):
            if proto_charge[k] > min_charge:
                renumbered[k] = n
                cluster_module[n] = m
                min_row[n], max_row[n] = ROWS, 0
                min_col[n], max_col[n] = COLS, 0
                total[n] = proto_charge[k]
                n += 1
            else:
                renumbered[k] = -1

        for i in range(first, last):
            k = renumbered[cluster[i]]
            cluster[i] = k
            if k >= 0:
                min_row[k] = min(min_row[k], row[i])
                max_row[k] = max(max_row[k], row[i])
                min_col[k] = min(min_col[k], col[i])
                max_col[k] = max(max_col[k], col[i])
        for i in range(first, last):
            k = cluster[i]
            if k >= 0:
                q = charge[i]
                edges[0, k] += q if row[i] == min_row[k] else 0
                edges[1, k] += q if row[i] == max_row[k] else 0
                edges[2, k] += q if col[i] == min_col[k] else 0
                edges[3, k] += q if col[i] == max_col[k] else 0
    columns = (
        cluster_module[:n],
        min_row[:n],
        max_row[:n],
        min_col[:n],
        max_col[:n],
        total[:n],
        edges[0, :n],
        edges[1, :n],
        edges[2, :n],
        edges[3, :n],
    )
    return columns, n_modules
