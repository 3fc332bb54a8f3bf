"""Doublets to a graph, a thread for each cell; no cell is left out, unlike on a CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.compile import shared
from trackserve.device.cuda import Device, Group, cuda_kernel

from ..config import ConnectionCuts
from ..connect import (
    aligned,
    curvature_and_dca,
    from_beam_line,
    max_theta,
    same_direction,
)
from ..doublets import Cells, OrderedHits


class BatchGraph(NamedTuple):
    """Neighbours of the cells of a batch.

    Attributes:
        first: int32[cells + 1], where a cell's outer neighbours begin in ``neighbour``.
        neighbour: int32[m].
        used: bool[cells], whether it has a neighbour on either side.
        alive: bool[cells], not killed.
    """

    first: Any
    neighbour: Any
    used: Any
    alive: Any


def count_connections(
    device: Device,
    hits: OrderedHits,
    n_hits: int,
    cells: Cells,
    n_cells: int,
    cuts: ConnectionCuts,
) -> tuple[Group, BatchGraph]:
    """The cells that begin on each hit, and the graph, but for its neighbours."""
    outgoing = device.group("outgoing", cells.inner, n_cells, n_hits, cells.inner)
    graph = BatchGraph(
        first=device.array("graph.first", n_cells + 1, np.int32),
        neighbour=device.array("graph.neighbour", 0, np.int32),
        used=device.array("graph.used", n_cells, np.bool_),
        alive=device.array("graph.alive", n_cells, np.bool_),
    )
    device.launch(_reset, n_cells, graph, n_cells)
    device.launch(_count, n_cells, hits, cells, outgoing, graph, cuts, n_cells)
    device.scan(graph.first, n_cells, graph.first)
    return outgoing, graph


def fill_connections(
    device: Device,
    hits: OrderedHits,
    cells: Cells,
    n_cells: int,
    outgoing: Group,
    graph: BatchGraph,
    n: int,
    cuts: ConnectionCuts,
) -> BatchGraph:
    """The graph with its ``n`` neighbours."""
    graph = graph._replace(neighbour=device.array("graph.neighbour", n, np.int32))
    device.launch(_fill, n_cells, hits, cells, outgoing, graph, cuts, n_cells)
    return graph


def remove_fishbones(
    device: Device,
    hits: OrderedHits,
    cells: Cells,
    n_cells: int,
    graph: BatchGraph,
    min_cos2: float,
) -> None:
    """Kill the longer of two aligned cells that end on one hit, by the first of the two."""
    device.launch(_remove_fishbones, n_cells, hits, cells, graph, min_cos2, n_cells)


@shared
def _connected(
    hits: OrderedHits, cells: Cells, cell: int, other: int, cuts: ConnectionCuts
) -> bool:
    """Whether a cell goes on as one that begins on its outer hit."""
    a, b, c = cells.inner[cell], cells.outer[cell], cells.outer[other]
    if not aligned(
        *(hits.r[a], hits.z[a], hits.r[b], hits.z[b], hits.r[c], hits.z[c]),
        *(max_theta(hits.module[b], cuts), cuts.min_pt),
    ):
        return False
    curvature, dca = curvature_and_dca(
        hits.x[a], hits.y[a], hits.x[b], hits.y[b], hits.x[c], hits.y[c]
    )
    return from_beam_line(curvature, dca, hits.module[a], cuts)


@cuda_kernel
def _reset(graph: BatchGraph, n_cells: int) -> None:
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
        graph.used[cell], graph.alive[cell] = False, True


@cuda_kernel
def _count(
    hits: OrderedHits,
    cells: Cells,
    outgoing: Group,
    graph: BatchGraph,
    cuts: ConnectionCuts,
    n_cells: int,
) -> None:
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
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
def _fill(
    hits: OrderedHits,
    cells: Cells,
    outgoing: Group,
    graph: BatchGraph,
    cuts: ConnectionCuts,
    n_cells: int,
) -> None:
    for cell in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
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
    hits: OrderedHits, cells: Cells, graph: BatchGraph, i: int, min_cos2: float
) -> None:
    """Compare a cell with those after it that end on the same hit."""
    a, h = cells.inner[i], cells.outer[i]
    ax, ay, az = hits.x[a] - hits.x[h], hits.y[a] - hits.y[h], hits.z[a] - hits.z[h]
    length = ax * ax + ay * ay + az * az
    for j in range(i + 1, cells.start[h + 1]):
        b = cells.inner[j]
        if not graph.used[j] or hits.module[a] == hits.module[b]:
            continue
        bx, by, bz = hits.x[b] - hits.x[h], hits.y[b] - hits.y[h], hits.z[b] - hits.z[h]
        if not same_direction(ax, ay, az, bx, by, bz, min_cos2):
            continue
        if length > bx * bx + by * by + bz * bz:
            graph.alive[i] = False
            break
        graph.alive[j] = False


@cuda_kernel
def _remove_fishbones(
    hits: OrderedHits, cells: Cells, graph: BatchGraph, min_cos2: float, n_cells: int
) -> None:
    for i in range(cuda.grid(1), n_cells, cuda.gridsize(1)):
        if graph.used[i]:
            _fishbones_of_cell(hits, cells, graph, i, min_cos2)
