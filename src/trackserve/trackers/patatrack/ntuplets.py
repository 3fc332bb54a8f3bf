"""Cells to ntuplets: every longest path through the graph (GPUCACell.h, find_ntuplets)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared, u64
from trackserve.device.held import Held, plain
from trackserve.edm import MAX_HITS
from trackserve.edm.columns import Array

from .config import NtupletRules
from .connect import CellGraph

MAX_CELLS = MAX_HITS - 1


class Ntuplets(NamedTuple):
    """Chains of hits.

    Attributes:
        n_hits: int8[n], 3 to 5.
        cells: int32[n, 4], cells of the graph, -1 after the last.
        hits: int32[n, 5], ordered hits, -1 after the last.
        duplicate: bool[n], whether it shares a cell with a longer one; then it is not fitted.
    """

    n_hits: Array
    cells: Array
    hits: Array
    duplicate: Array


@kernel
def find_ntuplets(
    graph: Held[CellGraph] | CellGraph,
    pairs: Held[Array] | Array,
    rules: Held[NtupletRules] | NtupletRules,
    max_ntuplets: int,
) -> tuple[Held[Ntuplets], int]:
    """Search depth-first from every live cell on a starting layer pair.

    A path has 3 to 5 hits. It ends where it cannot be continued, or at five hits. With
    ``only_longest``, paths that start inside a longer one are found too. A path that shares a
    cell with a longer one is then a duplicate. Without it, a path starts only where no other
    leads, and none is a duplicate.

    Args:
        graph: the cells.
        pairs: records of :data:`trackserve.trackers.patatrack.config.LAYER_PAIR`.
        rules: which paths are kept.
        max_ntuplets: most paths; no memory for more is allocated.

    Returns:
        the paths, and their number. If it is above the limit, there may be more, and the first
        value has none.
    """
    pairs = plain(pairs)
    starts = np.empty(len(pairs), np.bool_)
    for p in range(len(pairs)):
        starts[p] = pairs[p].starts
    ntuplets, found = _find_ntuplets(plain(graph), starts, plain(rules).only_longest, max_ntuplets)
    return Held(ntuplets), found


@kernel
def _find_ntuplets(
    graph: CellGraph, starts: Array, only_longest: bool, max_ntuplets: int
) -> tuple[Ntuplets, int]:
    """Find the ntuplets, and their number; if it is above ``max_ntuplets``, there are none."""
    n_cells = len(graph.cell)
    begins = _beginnings(graph, starts, only_longest)
    paths = np.empty((n_cells + 64, MAX_CELLS), np.int32)
    n = found = _find_paths(graph, begins, paths, max_ntuplets)
    if found > max_ntuplets:
        n = 0
    if n > len(paths):
        paths = np.empty((n, MAX_CELLS), np.int32)
        _find_paths(graph, begins, paths, max_ntuplets)
    cells = paths[:n].copy()

    n_hits = np.empty(n, np.int8)
    hits = np.empty((n, MAX_HITS), np.int32)
    for t in range(u64(n)):
        hits[t, 0] = graph.inner[u64(cells[t, 0])]
        length = 1
        for k in range(u64(MAX_CELLS)):
            is_one = cells[t, k] >= 0
            outer = graph.outer[u64(cells[t, k]) if is_one else u64(0)]
            hits[t, k + u64(1)] = outer if is_one else -1
            length += int(is_one)
        n_hits[t] = length
    duplicate = np.zeros(n, np.bool_)
    if only_longest:
        longest = np.zeros(n_cells, np.int8)
        for t in range(n):
            for k in range(n_hits[t] - 1):
                longest[cells[t, k]] = max(longest[cells[t, k]], n_hits[t])
        for t in range(n):
            for k in range(n_hits[t] - 1):
                duplicate[t] |= longest[cells[t, k]] > n_hits[t]
    return Ntuplets(n_hits=n_hits, cells=cells, hits=hits, duplicate=duplicate), found


@kernel
def _beginnings(graph: CellGraph, starts: Array, anywhere: bool) -> Array:
    """Whether paths start with each cell, bool[n]: live ones on a starting layer pair; unless
    ``anywhere``, only those that no path leads into."""
    n = u64(len(graph.cell))
    begins = np.empty(n, np.bool_)
    for cell in range(n):
        begins[cell] = graph.alive[cell] & starts[graph.pair[cell]]
    if anywhere:
        return begins
    continues = np.zeros(n, np.bool_)
    for cell in range(n):
        for k in range(u64(graph.first[cell]), u64(graph.first[cell + u64(1)])):
            continues[u64(graph.neighbour[k])] |= begins[cell]
    for cell in range(n):
        begins[cell] &= not continues[cell]
    return begins


class Walk(NamedTuple):
    """State of a search.

    Attributes:
        path: int32[MAX_CELLS], cells of the path.
        next_one: int32[MAX_CELLS], next neighbour to try of each of them.
        extended: bool[MAX_CELLS], whether the path went on from each of them.
    """

    path: Array
    next_one: Array
    extended: Array


@shared
def walk(start: int, graph: Any, state: Walk, paths: Array, n: int, most: int) -> int:
    """Search depth-first from one cell; write the paths that cannot be continued to ``paths``.

    Args:
        start: the cell.
        graph: has ``first``, ``neighbour`` and ``alive`` of :class:`.CellGraph`.
        state: memory for the search.
        paths: int32[m, MAX_CELLS], -1 after the last cell.
        n: number of paths that are there already.
        most: number of paths above which the search ends.

    Returns:
        the number of paths now; those past the end of ``paths`` are only counted.
    """
    path, next_one, extended = state
    first, neighbour, alive = graph.first, graph.neighbour, graph.alive
    depth = 0
    path[0], next_one[0], extended[0] = start, first[start], False
    while depth >= 0 and n <= most:
        cell = path[depth]
        if depth + 1 < MAX_CELLS and next_one[depth] < first[cell + 1]:
            other = neighbour[next_one[depth]]
            next_one[depth] += 1
            if alive[other]:
                extended[depth] = True
                depth += 1
                path[depth], next_one[depth] = other, first[other]
                extended[depth] = False
            continue
        if depth > 0 and not extended[depth]:
            if n < len(paths):
                for k in range(MAX_CELLS):
                    paths[n, k] = path[k] if k <= depth else -1
            n += 1
        depth -= 1
    return n


@kernel
def _find_paths(graph: CellGraph, begins: Array, paths: Array, most: int) -> int:
    """Fill ``paths`` with as many as it has room for; return how many there are.

    It ends early above ``most``.
    """
    n = 0
    state = Walk(
        path=np.empty(MAX_CELLS, np.int32),
        next_one=np.empty(MAX_CELLS, np.int32),
        extended=np.empty(MAX_CELLS, np.bool_),
    )
    for start in range(len(graph.cell)):
        if begins[start]:
            n = walk(start, graph, state, paths, n, most)
    return n
