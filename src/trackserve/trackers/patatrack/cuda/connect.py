"""Doublets to a graph, a thread for each cell; no cell is left out, unlike on a CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.layout import N_LAYERS
from trackserve.device.compile import shared
from trackserve.device.cuda import THREADS, Device, Group, cuda_kernel, scan_block

from ..config import ConnectionCuts
from ..connect import (
    aligned,
    curvature_and_dca,
    from_beam_line,
    in_rz,
    in_xy,
    max_theta,
    same_direction,
    squared_length,
    vector_between,
)
from ..doublets import OrderedHits
from .doublets import BatchCells, BatchOrderedHits
from .hits import BatchHits


class BatchGraph(NamedTuple):
    """Neighbours of the cells of a batch.

    Attributes:
        n: number of cells.
        first: int32[n + 1], first outer neighbour of each cell in ``neighbour``, and m.
        neighbour: int32[m], cells.
        used: bool[n], whether the cell has a neighbour on either side.
        alive: bool[n], whether the cell is not killed.
    """

    n: int
    first: Any
    neighbour: Any
    used: Any
    alive: Any


def count_connections(
    device: Device, hits: BatchOrderedHits, cells: BatchCells, cuts: ConnectionCuts
) -> tuple[Group, BatchGraph]:
    """Count the neighbours of each cell.

    Returns:
        the cells that begin on each hit; and the graph, with no memory for its neighbours.
    """
    n = cells.n
    outgoing = device.group("outgoing", cells.inner, n, hits.n, cells.inner)
    graph = BatchGraph(
        n=n,
        first=device.array("graph.first", n + 1, np.int32),
        neighbour=device.array("graph.neighbour", 0, np.int32),
        used=device.array("graph.used", n, np.bool_),
        alive=device.array("graph.alive", n, np.bool_),
    )
    device.launch(_reset, n, graph)
    device.launch(_count, n, hits.hits, cells, outgoing, graph, cuts)
    device.scan(graph.first, n, graph.first)
    return outgoing, graph


def count_triplets(device: Device, hits: BatchHits, cells: BatchCells, outgoing: Group) -> Any:
    """Return how many pairs of cells of each event share a hit, int64[events]."""
    found = device.array("graph.triplets", hits.n_events, np.int64)
    device.launch_blocks(_count_triplets, hits.n_events, hits, cells, outgoing, found)
    return found


def with_room(device: Device, graph: BatchGraph, m: int) -> BatchGraph:
    """Return the graph with memory for ``m`` neighbours."""
    return graph._replace(neighbour=device.array("graph.neighbour", m, np.int32))


def fill_connections(
    device: Device,
    hits: BatchOrderedHits,
    cells: BatchCells,
    outgoing: Group,
    graph: BatchGraph,
    cuts: ConnectionCuts,
) -> None:
    """Fill the neighbours of a graph of :func:`with_room`.

    Args:
        device: the device.
        hits: the hits.
        cells: the cells.
        outgoing: the cells that begin on each hit.
        graph: the graph.
        cuts: cuts on pairs of cells.
    """
    device.launch(_fill, cells.n, hits.hits, cells, outgoing, graph, cuts)


def remove_fishbones(
    device: Device, hits: BatchOrderedHits, cells: BatchCells, graph: BatchGraph, min_cos2: float
) -> None:
    """Kill the longer of two aligned cells that end on one hit, in ``graph.alive``."""
    device.launch(_remove_fishbones, cells.n, hits.hits, cells, graph, min_cos2)


@shared
def _connected(
    hits: OrderedHits, cells: BatchCells, cell: int, other: int, cuts: ConnectionCuts
) -> bool:
    """Whether ``other``, which begins on the outer hit of ``cell``, is its neighbour."""
    a, b, c = cells.inner[cell], cells.outer[cell], cells.outer[other]
    cut = max_theta(hits.module[b], cuts)
    if not aligned(in_rz(hits, a), in_rz(hits, b), in_rz(hits, c), cut, cuts.min_pt):
        return False
    curvature, dca = curvature_and_dca(in_xy(hits, a), in_xy(hits, b), in_xy(hits, c))
    return from_beam_line(curvature, dca, hits.module[a], hits.module[c], cuts)


@cuda_kernel
def _reset(graph: BatchGraph) -> None:
    for cell in range(cuda.grid(1), graph.n, cuda.gridsize(1)):
        graph.used[cell], graph.alive[cell] = False, True


@cuda_kernel
def _count(
    hits: OrderedHits, cells: BatchCells, outgoing: Group, graph: BatchGraph, cuts: ConnectionCuts
) -> None:
    for cell in range(cuda.grid(1), cells.n, cuda.gridsize(1)):
        n = 0
        b = cells.outer[cell]
        for k in range(outgoing.start[b], outgoing.start[b + 1]):
            other = outgoing.item[k]
            if _connected(hits, cells, cell, other, cuts):
                n += 1
                graph.used[other] = True
        if n > 0:
            graph.used[cell] = True
        graph.first[cell] = n


@cuda_kernel
def _count_triplets(hits: BatchHits, cells: BatchCells, outgoing: Group, found: Any) -> None:
    """Add up the pairs of each event, a block for each."""
    buffer = cuda.shared.array(THREADS, np.int64)
    for e in range(cuda.blockIdx.x, hits.n_events, cuda.gridDim.x):
        first, last = hits.start[e * N_LAYERS], hits.start[(e + 1) * N_LAYERS]
        n: Any = np.int64(0)
        for b in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
            n_outgoing = outgoing.start[b + 1] - outgoing.start[b]
            n += np.int64(cells.start[b + 1] - cells.start[b]) * np.int64(n_outgoing)
        scan_block(buffer, n)
        if cuda.threadIdx.x == 0:
            found[e] = buffer[cuda.blockDim.x - 1]
        cuda.syncthreads()


@cuda_kernel
def _fill(
    hits: OrderedHits, cells: BatchCells, outgoing: Group, graph: BatchGraph, cuts: ConnectionCuts
) -> None:
    for cell in range(cuda.grid(1), cells.n, cuda.gridsize(1)):
        n = graph.first[cell]
        if n == graph.first[cell + 1]:
            continue
        b = cells.outer[cell]
        for k in range(outgoing.start[b], outgoing.start[b + 1]):
            other = outgoing.item[k]
            if _connected(hits, cells, cell, other, cuts):
                graph.neighbour[n] = other
                n += 1


@shared
def _fishbones_of_cell(
    hits: OrderedHits, cells: BatchCells, graph: BatchGraph, i: int, min_cos2: float
) -> None:
    """Compare a cell with those after it that end on the same hit."""
    a, h = cells.inner[i], cells.outer[i]
    vector_i = vector_between(hits, h, a)
    for j in range(i + 1, cells.start[h + 1]):
        b = cells.inner[j]
        if not graph.used[j] or hits.module[a] == hits.module[b]:
            continue
        vector_j = vector_between(hits, h, b)
        if not same_direction(vector_i, vector_j, min_cos2):
            continue
        if squared_length(vector_i) > squared_length(vector_j):
            graph.alive[i] = False
            break
        graph.alive[j] = False


@cuda_kernel
def _remove_fishbones(
    hits: OrderedHits, cells: BatchCells, graph: BatchGraph, min_cos2: float
) -> None:
    for i in range(cuda.grid(1), cells.n, cuda.gridsize(1)):
        if graph.used[i]:
            _fishbones_of_cell(hits, cells, graph, i, min_cos2)
