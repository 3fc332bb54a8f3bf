"""Cells to ntuplets: every longest path through the graph (GPUCACell.h, find_ntuplets)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..device import kernel
from ..edm import MAX_HITS
from ..edm.columns import Array
from .config import NtupletRules
from .connect import CellGraph
from .doublets import grown

MAX_CELLS = MAX_HITS - 1


class Ntuplets(NamedTuple):
    """Chains of hits.

    Attributes:
        n_hits: int8[n], 3 to 5.
        cells: int32[n, 4], members of the graph, -1 after the last.
        hits: int32[n, 5], ordered hits, -1 after the last.
        duplicate: bool[n]: not to be fitted, as it shares a cell with a longer one.
    """

    n_hits: Array
    cells: Array
    hits: Array
    duplicate: Array


def find_ntuplets(graph: CellGraph, pairs: Array, rules: NtupletRules) -> Ntuplets:
    """Depth-first from every live cell on a starting layer pair; 3 to 5 hits.

    A path is kept where it cannot be continued, or at five hits. With ``only_longest``,
    paths that start inside a longer one are found too, and are then duplicates, as is
    whatever shares a cell with a longer path; without it, neither.
    """
    return Ntuplets(*_find_ntuplets(graph, pairs["starts"].copy(), rules.only_longest))


@kernel
def _continued(graph: CellGraph, starts: Array) -> Array:
    """Whether a path that starts further in leads into each cell, bool[n]."""
    continued = np.zeros(len(graph.cell), np.bool_)
    for cell in range(len(graph.cell)):
        if graph.alive[cell] and starts[graph.pair[cell]]:
            for k in range(graph.first[cell], graph.last[cell]):
                continued[graph.neighbour[k]] = True
    return continued


@kernel
def _find_ntuplets(
    graph: CellGraph, starts: Array, only_longest: bool
) -> tuple[Array, Array, Array, Array]:
    n_cells = len(graph.cell)
    inside = np.zeros(n_cells, np.bool_) if only_longest else _continued(graph, starts)
    capacity = n_cells + 64
    paths = np.empty((capacity, MAX_CELLS), np.int32)
    length = np.empty(capacity, np.int8)
    n = 0
    path = np.empty(MAX_CELLS, np.int32)
    next_one = np.empty(MAX_CELLS, np.int32)
    extended = np.empty(MAX_CELLS, np.bool_)
    for start in range(n_cells):
        if not graph.alive[start] or not starts[graph.pair[start]] or inside[start]:
            continue
        depth = 0
        path[0], next_one[0], extended[0] = start, graph.first[start], False
        while depth >= 0:
            cell = path[depth]
            if depth + 1 < MAX_CELLS and next_one[depth] < graph.last[cell]:
                other = graph.neighbour[next_one[depth]]
                next_one[depth] += 1
                if graph.alive[other]:
                    extended[depth] = True
                    depth += 1
                    path[depth], next_one[depth] = other, graph.first[other]
                    extended[depth] = False
                continue
            if depth > 0 and not extended[depth]:
                if n == capacity:
                    capacity *= 2
                    longer = np.empty((capacity, MAX_CELLS), np.int32)
                    for t in range(n):
                        for k in range(MAX_CELLS):
                            longer[t, k] = paths[t, k]
                    paths, length = longer, grown(length, n, capacity)
                for k in range(MAX_CELLS):
                    paths[n, k] = path[k] if k <= depth else -1
                length[n] = depth + 2
                n += 1
            depth -= 1

    hits = np.full((n, MAX_HITS), -1, np.int32)
    longest = np.zeros(n_cells, np.int8)
    for t in range(n):
        for k in range(length[t] - 1):
            cell = paths[t, k]
            hits[t, k] = graph.inner[cell]
            hits[t, k + 1] = graph.outer[cell]
            longest[cell] = max(longest[cell], length[t])
    duplicate = np.zeros(n, np.bool_)
    for t in range(n if only_longest else 0):
        for k in range(length[t] - 1):
            duplicate[t] |= longest[paths[t, k]] > length[t]
    return length[:n].copy(), paths[:n].copy(), hits, duplicate
