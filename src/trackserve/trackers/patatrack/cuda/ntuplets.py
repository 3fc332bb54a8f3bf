"""Cells to ntuplets, a thread for each cell that paths begin with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import MAX_HITS

from ..config import NtupletRules
from ..doublets import Cells
from ..ntuplets import (
    MAX_CELLS,
    Ntuplets,
    Walk,
    walk,
)
from .connect import BatchGraph
from .doublets import LayerPairs


class Beginnings(NamedTuple):
    """Which cells paths begin with.

    Attributes:
        begins: bool[cells], live and on a starting layer pair.
        continues: bool[cells], whether a path leads into it.
        first: int32[cells + 1], number of paths that begin with it; then with those before.
        longest: int32[cells], hits of the longest path through it.
    """

    begins: Any
    continues: Any
    first: Any
    longest: Any


def count_ntuplets(
    device: Device,
    cells: Cells,
    graph: BatchGraph,
    n_cells: int,
    pairs: LayerPairs,
    rules: NtupletRules,
) -> Beginnings:
    """Find how many ntuplets begin with each cell: the last of ``first`` is their number."""
    beginnings = Beginnings(
        begins=device.array("ntuplets.begins", n_cells, np.bool_),
        continues=device.array("ntuplets.continues", n_cells, np.bool_),
        first=device.array("ntuplets.first", n_cells + 1, np.int32),
        longest=device.array("ntuplets.longest", n_cells, np.int32),
    )
    device.launch(_begin, n_cells, cells.pair, graph.alive, pairs.starts, beginnings, n_cells)
    if not rules.only_longest:
        device.launch(_mark_continued, n_cells, graph, beginnings, n_cells)
    device.launch(_count, n_cells, graph, beginnings, n_cells)
    device.scan(beginnings.first, n_cells, beginnings.first)
    return beginnings


def fill_ntuplets(
    device: Device,
    cells: Cells,
    graph: BatchGraph,
    n_cells: int,
    beginnings: Beginnings,
    n: int,
    rules: NtupletRules,
) -> Ntuplets:
    """The ``n`` ntuplets of a batch, by first cell."""
    ntuplets = Ntuplets(
        n_hits=device.array("ntuplets.n_hits", n, np.int8),
        cells=device.array("ntuplets.cells", n, np.int32, MAX_CELLS),
        hits=device.array("ntuplets.hits", n, np.int32, MAX_HITS),
        duplicate=device.array("ntuplets.duplicate", n, np.bool_),
    )
    device.launch(_fill, n_cells, graph, beginnings, ntuplets, n_cells)
    device.launch(_find_hits, n, cells, beginnings, ntuplets, n)
    if rules.only_longest:
        device.launch(_mark_duplicates, n, beginnings, ntuplets, n)
    return ntuplets


@cuda_kernel
def _begin(pair: Any, alive: Any, starts: Any, beginnings: Beginnings, n_cells: int) -> None:
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
        beginnings.begins[cell] = alive[cell] and starts[pair[cell]]
        beginnings.continues[cell] = False
        beginnings.longest[cell] = 0


@cuda_kernel
def _mark_continued(graph: BatchGraph, beginnings: Beginnings, n_cells: int) -> None:
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
        if beginnings.begins[cell]:
            for k in range(graph.first[cell], graph.first[cell + 1]):
                beginnings.continues[graph.neighbour[k]] = True


@cuda_kernel
def _count(graph: BatchGraph, beginnings: Beginnings, n_cells: int) -> None:
    no_room = cuda.local.array((1, MAX_CELLS), np.int32)[:0]
    state = Walk(
        cuda.local.array(MAX_CELLS, np.int32),
        cuda.local.array(MAX_CELLS, np.int32),
        cuda.local.array(MAX_CELLS, np.bool_),
    )
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
        n = 0
        if beginnings.begins[cell] and not beginnings.continues[cell]:
            n = walk(cell, graph.first, graph.neighbour, graph.alive, state, no_room, 0)
        beginnings.first[cell] = n


@cuda_kernel
def _fill(graph: BatchGraph, beginnings: Beginnings, ntuplets: Ntuplets, n_cells: int) -> None:
    state = Walk(
        cuda.local.array(MAX_CELLS, np.int32),
        cuda.local.array(MAX_CELLS, np.int32),
        cuda.local.array(MAX_CELLS, np.bool_),
    )
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
        first, last = beginnings.first[cell], beginnings.first[cell + 1]
        if first < last:
            paths = ntuplets.cells[first:last]
            walk(cell, graph.first, graph.neighbour, graph.alive, state, paths, 0)


@cuda_kernel
def _find_hits(cells: Cells, beginnings: Beginnings, ntuplets: Ntuplets, n: int) -> None:
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        length = 1
        ntuplets.hits[t, 0] = cells.inner[ntuplets.cells[t, 0]]
        for k in range(MAX_CELLS):
            cell = ntuplets.cells[t, k]
            ntuplets.hits[t, k + 1] = cells.outer[cell] if cell >= 0 else -1
            length += 1 if cell >= 0 else 0
        ntuplets.n_hits[t], ntuplets.duplicate[t] = length, False
        for k in range(length - 1):
            cuda.atomic.max(beginnings.longest, ntuplets.cells[t, k], length)


@cuda_kernel
def _mark_duplicates(beginnings: Beginnings, ntuplets: Ntuplets, n: int) -> None:
    for t in range(cuda.grid(1), n, cuda.gridsize(1)):
        duplicate = False
        for k in range(ntuplets.n_hits[t] - 1):
            duplicate |= beginnings.longest[ntuplets.cells[t, k]] > ntuplets.n_hits[t]
        ntuplets.duplicate[t] = duplicate
