"""Cells to ntuplets, a thread for each cell that paths begin with."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import MAX_HITS

from ..config import NtupletRules
from ..ntuplets import (
    MAX_CELLS,
    Ntuplets,
    Walk,
    walk,
)
from .connect import BatchGraph
from .doublets import BatchCells, LayerPairs


class Beginnings(NamedTuple):
    """Cells that paths begin with.

    Attributes:
        begins: bool[cells], whether the cell is live and on a starting layer pair.
        continues: bool[cells], whether a path leads into the cell.
        first: int32[cells + 1], number of paths that begin with the cell; then with those before.
        longest: int32[cells], hits of the longest path through the cell.
    """

    begins: Any
    continues: Any
    first: Any
    longest: Any


class BatchNtuplets(NamedTuple):
    """Ntuplets of a batch, by first cell.

    Attributes:
        n: number of ntuplets.
        columns: the ntuplets; hits and cells are those of the batch.
    """

    n: int
    columns: Ntuplets


def count_ntuplets(
    device: Device,
    cells: BatchCells,
    graph: BatchGraph,
    pairs: LayerPairs,
    rules: NtupletRules,
    most: int,
) -> Beginnings:
    """Count the ntuplets that begin with each cell; the last of ``first`` is their number.

    Args:
        device: the device.
        cells: the cells.
        graph: their neighbours.
        pairs: layer pairs.
        rules: which paths are kept.
        most: number of ntuplets of a cell above which they are not counted further.
    """
    n = graph.n
    beginnings = Beginnings(
        begins=device.array("ntuplets.begins", n, np.bool_),
        continues=device.array("ntuplets.continues", n, np.bool_),
        first=device.array("ntuplets.first", n + 1, np.int32),
        longest=device.array("ntuplets.longest", n, np.int32),
    )
    device.launch(_begin, n, cells, graph, pairs.starts, beginnings)
    if not rules.only_longest:
        device.launch(_mark_continued, n, graph, beginnings)
    device.launch(_count, n, graph, beginnings, most)
    device.scan(beginnings.first, n, beginnings.first)
    return beginnings


def fill_ntuplets(
    device: Device,
    cells: BatchCells,
    graph: BatchGraph,
    beginnings: Beginnings,
    n: int,
    rules: NtupletRules,
) -> BatchNtuplets:
    """Find the ntuplets of a batch.

    Args:
        device: the device.
        cells: the cells.
        graph: their neighbours.
        beginnings: the answer of :func:`count_ntuplets`.
        n: the last value of its ``first``.
        rules: which paths are kept.
    """
    ntuplets = BatchNtuplets(
        n=n,
        columns=Ntuplets(
            n_hits=device.array("ntuplets.n_hits", n, np.int8),
            cells=device.array("ntuplets.cells", n, np.int32, MAX_CELLS),
            hits=device.array("ntuplets.hits", n, np.int32, MAX_HITS),
            duplicate=device.array("ntuplets.duplicate", n, np.bool_),
        ),
    )
    device.launch(_fill, graph.n, graph, beginnings, ntuplets)
    device.launch(_find_hits, n, cells, beginnings, ntuplets)
    if rules.only_longest:
        device.launch(_mark_duplicates, n, beginnings, ntuplets)
    return ntuplets


@cuda_kernel
def _begin(cells: BatchCells, graph: BatchGraph, starts: Any, beginnings: Beginnings) -> None:
    for cell in range(cuda.grid(1), graph.n, cuda.gridsize(1)):
        beginnings.begins[cell] = graph.alive[cell] and starts[cells.pair[cell]]
        beginnings.continues[cell] = False
        beginnings.longest[cell] = 0


@cuda_kernel
def _mark_continued(graph: BatchGraph, beginnings: Beginnings) -> None:
    for cell in range(cuda.grid(1), graph.n, cuda.gridsize(1)):
        if beginnings.begins[cell]:
            for k in range(graph.first[cell], graph.first[cell + 1]):
                beginnings.continues[graph.neighbour[k]] = True


@cuda_kernel
def _count(graph: BatchGraph, beginnings: Beginnings, most: int) -> None:
    no_room = cuda.local.array((1, MAX_CELLS), np.int32)[:0]
    state = Walk(
        path=cuda.local.array(MAX_CELLS, np.int32),
        next_one=cuda.local.array(MAX_CELLS, np.int32),
        extended=cuda.local.array(MAX_CELLS, np.bool_),
    )
    for cell in range(cuda.grid(1), graph.n, cuda.gridsize(1)):
        n = 0
        if beginnings.begins[cell] and not beginnings.continues[cell]:
            n = walk(cell, graph, state, no_room, 0, most)
        beginnings.first[cell] = n


@cuda_kernel
def _fill(graph: BatchGraph, beginnings: Beginnings, ntuplets: BatchNtuplets) -> None:
    state = Walk(
        path=cuda.local.array(MAX_CELLS, np.int32),
        next_one=cuda.local.array(MAX_CELLS, np.int32),
        extended=cuda.local.array(MAX_CELLS, np.bool_),
    )
    for cell in range(cuda.grid(1), graph.n, cuda.gridsize(1)):
        first, last = beginnings.first[cell], beginnings.first[cell + 1]
        if first < last:
            walk(cell, graph, state, ntuplets.columns.cells[first:last], 0, last - first)


@cuda_kernel
def _find_hits(cells: BatchCells, beginnings: Beginnings, ntuplets: BatchNtuplets) -> None:
    columns = ntuplets.columns
    for t in range(cuda.grid(1), ntuplets.n, cuda.gridsize(1)):
        length = 1
        columns.hits[t, 0] = cells.inner[columns.cells[t, 0]]
        for k in range(MAX_CELLS):
            cell = columns.cells[t, k]
            columns.hits[t, k + 1] = cells.outer[cell] if cell >= 0 else -1
            length += 1 if cell >= 0 else 0
        columns.n_hits[t], columns.duplicate[t] = length, False
        for k in range(length - 1):
            cuda.atomic.max(beginnings.longest, columns.cells[t, k], length)


@cuda_kernel
def _mark_duplicates(beginnings: Beginnings, ntuplets: BatchNtuplets) -> None:
    columns = ntuplets.columns
    for t in range(cuda.grid(1), ntuplets.n, cuda.gridsize(1)):
        duplicate = False
        for k in range(columns.n_hits[t] - 1):
            duplicate |= beginnings.longest[columns.cells[t, k]] > columns.n_hits[t]
        columns.duplicate[t] = duplicate
