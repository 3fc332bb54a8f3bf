"""Pairs of points that are near each other in the embedding, a thread for each point.

As on a CPU points are sorted into a grid over three dimensions, here with the event as part of
the cell's number. A thread counts the earlier points near its own, then writes them down.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.compile import f32
from trackserve.device.cuda import (
    THREADS,
    Device,
    cuda_kernel,
    device_function,
    product,
    scan_block,
)

from ..radius import (
    BINS_PER_RADIUS,
    CELLS_PER_POINT,
    LEAST_CELLS,
    bin_of,
    cells_per_unit,
    choose_bins,
    turned,
)
from .edges import BatchEdges, find_starts, make_edges
from .features import BatchPoints

_NOBODY = 0x7FFFFFFF


class Grid(NamedTuple):
    """Cells of the events of a batch, each event's own, last dimension fastest.

    Attributes:
        low, high: float32[events * dimensions], of an event's points.
        bad: int32[events], the first point of an event whose coordinates are not finite.
        axis: int32[events, 3], dimensions of the grid.
        extent, per_unit, chosen: float64[events, 3], of these; cells in each.
        bins: int32[events, 3], cells in each.
    """

    low: Any
    high: Any
    bad: Any
    axis: Any
    extent: Any
    per_unit: Any
    chosen: Any
    bins: Any


class Sorted(NamedTuple):
    """Points by cell.

    Attributes:
        start: int32[cells + 1], first point of each cell.
        point: int32[n], which point of the batch it is.
        coordinates: float32[n, dimensions].
    """

    start: Any
    point: Any
    coordinates: Any


class Pairs(NamedTuple):
    """Pairs of near points by the later one.

    Attributes:
        start: int32[n + 1], first pair of each point.
        found: int64[events], number of pairs; those of an event with too many are not there.
        later, earlier: int32[m], a point's earlier ones in any order.
    """

    start: Any
    found: Any
    later: Any
    earlier: Any


def sort_by_cell(
    device: Device, points: BatchPoints, coordinates: Any, n_events: int, n: int, radius: float
) -> tuple[Grid, Sorted]:
    """Points with ``coordinates``, float32[n, 3 or more], in a grid for ``radius``."""
    n_dimensions = coordinates.shape[1]

    def array(name: str, dtype: Any, *row: int) -> Any:
        return device.array(f"grid.{name}", n_events, dtype, *row)

    flat = n_events * n_dimensions
    grid = Grid(
        low=device.array("grid.low", flat, np.float32),
        high=device.array("grid.high", flat, np.float32),
        bad=array("bad", np.int32),
        axis=array("axis", np.int32, 3),
        extent=array("extent", np.float64, 3),
        per_unit=array("per_unit", np.float64, 3),
        chosen=array("chosen", np.float64, 3),
        bins=array("bins", np.int32, 3),
    )
    device.launch(_reset, n_events, grid, n_dimensions, n_events)
    device.launch_blocks(_measure, flat, points, coordinates, grid, flat)
    device.launch(_choose, n_events, points, grid, n_dimensions, radius, n_events)
    key = device.array("grid.key", n, np.int32)
    device.launch(_find_cells, n, points, coordinates, grid, key, n)
    n_cells = CELLS_PER_POINT * n + LEAST_CELLS * n_events
    cells = device.scatter("grid.cells", key, n, n_cells)
    moved = device.array("grid.coordinates", n, np.float32, n_dimensions)
    found = Sorted(cells.start, cells.item, moved)
    device.launch(_gather, n, coordinates, found, n)
    return grid, found


def count_pairs(
    device: Device,
    points: BatchPoints,
    grid: Grid,
    by_cell: Sorted,
    n_events: int,
    n: int,
    radius: float,
    max_edges: int,
) -> Pairs:
    """Pairs before each point, without room for them; none of an event of over ``max_edges``."""
    nothing = device.array("pairs.later", 0, np.int32)
    pairs = Pairs(
        start=device.array("pairs.start", n + 1, np.int32),
        found=device.array("pairs.found", n_events, np.int64),
        later=nothing,
        earlier=device.array("pairs.earlier", 0, np.int32),
    )
    squared = f32(radius) * f32(radius)
    device.launch(_count, n, points, grid, by_cell, pairs, squared, n)
    device.launch_blocks(_judge, n_events, points, pairs, max_edges, n_events)
    device.scan(pairs.start, n, pairs.start)
    return pairs


def fill_pairs(
    device: Device,
    points: BatchPoints,
    grid: Grid,
    by_cell: Sorted,
    pairs: Pairs,
    n_events: int,
    n_points: int,
    n: int,
    radius: float,
) -> BatchEdges:
    """The ``n`` pairs as edges in the model's order, by the later point, then the earlier one."""
    pairs = pairs._replace(
        later=device.array("pairs.later", n, np.int32),
        earlier=device.array("pairs.earlier", n, np.int32),
    )
    squared = f32(radius) * f32(radius)
    device.launch(_fill, n_points, points, grid, by_cell, pairs, squared, n_points)
    start = find_starts(device, "radius_edges", pairs.start, points.start, n_events)
    edges = make_edges(device, "radius_edges", start, n)
    device.launch(_orient, n, points, pairs, edges, n)
    return edges


@cuda_kernel
def _reset(grid: Grid, n_dimensions: int, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        grid.bad[e] = _NOBODY
        for k in range(e * n_dimensions, (e + 1) * n_dimensions):
            grid.low[k], grid.high[k] = np.inf, -np.inf


@cuda_kernel
def _measure(points: BatchPoints, coordinates: Any, grid: Grid, n: int) -> None:
    """Extent of an event in a dimension, by a block for each."""
    n_dimensions = coordinates.shape[1]
    for item in range(cuda.blockIdx.x, n, cuda.gridDim.x):
        e, k = item // n_dimensions, item % n_dimensions
        first, low, high = points.start[e], f32(np.inf), f32(-np.inf)
        for i in range(first + cuda.threadIdx.x, points.start[e + 1], cuda.blockDim.x):
            value = coordinates[i, k]
            if abs(value) < f32(np.inf):
                low, high = min(low, value), max(high, value)
            else:
                cuda.atomic.min(grid.bad, e, i - first)
        cuda.atomic.min(grid.low, item, low)
        cuda.atomic.max(grid.high, item, high)


@cuda_kernel
def _choose(
    points: BatchPoints, grid: Grid, n_dimensions: int, radius: float, n_events: int
) -> None:
    """The three widest dimensions of each event, the widest last."""
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        if grid.bad[e] != _NOBODY or points.start[e] == points.start[e + 1]:
            continue
        units = cells_per_unit(radius)
        for place in range(2, -1, -1):
            widest: Any = -1.0
            axis = 0
            for k in range(n_dimensions):
                item = e * n_dimensions + k
                extent = np.float64(grid.high[item]) - np.float64(grid.low[item])
                taken = False
                for other in range(place + 1, 3):
                    taken = taken or grid.axis[e, other] == k
                if not taken and extent > widest:
                    widest, axis = extent, k
            grid.axis[e, place], grid.extent[e, place] = axis, widest
            grid.per_unit[e, place] = units[place]
        n_points = points.start[e + 1] - points.start[e]
        most = CELLS_PER_POINT * n_points + LEAST_CELLS
        choose_bins(grid.extent[e], grid.per_unit[e], grid.chosen[e], most)
        for place in range(3):
            grid.bins[e, place] = int(grid.chosen[e, place])


@device_function
def _bin(grid: Grid, e: int, place: int, coordinates: Any, i: int, n_dimensions: int) -> int:
    """In which of the cells along dimension ``place`` of the grid row ``i`` is."""
    axis = grid.axis[e, place]
    low: Any = np.float64(grid.low[e * n_dimensions + axis])
    return bin_of(coordinates[i, axis], low, grid.per_unit[e, place], grid.bins[e, place])


@device_function
def _first_cell(points: BatchPoints, e: int) -> int:
    return CELLS_PER_POINT * points.start[e] + LEAST_CELLS * e


@cuda_kernel
def _find_cells(points: BatchPoints, coordinates: Any, grid: Grid, key: Any, n: int) -> None:
    n_dimensions = coordinates.shape[1]
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        e = points.event[i]
        cell = 0
        if grid.bad[e] == _NOBODY:
            for place in range(3):
                along = _bin(grid, e, place, coordinates, i, n_dimensions)
                cell = cell * grid.bins[e, place] + along
        key[i] = _first_cell(points, e) + cell


@cuda_kernel
def _gather(coordinates: Any, by_cell: Sorted, n: int) -> None:
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = by_cell.point[p]
        for k in range(coordinates.shape[1]):
            by_cell.coordinates[p, k] = coordinates[i, k]


@device_function
def _is_near(coordinates: Any, p: int, q: int, squared: float) -> bool:
    """Whether the squared distance, added up as on a CPU, is less than ``squared``; it never
    falls as more is added."""
    total = f32(0)
    for k in range(coordinates.shape[1]):
        step = coordinates[q, k] - coordinates[p, k]
        total += product(step, step)
        if not total < squared:
            return False
    return True


@device_function
def _find_earlier(
    points: BatchPoints, grid: Grid, by_cell: Sorted, p: int, squared: float, out: Any, first: int
) -> int:
    """Number of earlier points near the one in place ``p``.

    Args:
        out: int32, they are written there from ``first`` on, unless that is negative.
    """
    c, i = by_cell.coordinates, by_cell.point[p]
    e = points.event[i]
    n = 0
    if grid.bad[e] != _NOBODY:
        return n
    n_dimensions = c.shape[1]
    bins_0, bins_1, bins_2 = grid.bins[e, 0], grid.bins[e, 1], grid.bins[e, 2]
    at_0 = _bin(grid, e, 0, c, p, n_dimensions)
    at_1 = _bin(grid, e, 1, c, p, n_dimensions)
    at_2 = _bin(grid, e, 2, c, p, n_dimensions)
    left, right = max(at_2 - BINS_PER_RADIUS, 0), min(at_2 + BINS_PER_RADIUS, bins_2 - 1)
    for cell_0 in range(max(at_0 - 1, 0), min(at_0 + 2, bins_0)):
        for cell_1 in range(max(at_1 - 1, 0), min(at_1 + 2, bins_1)):
            row = _first_cell(points, e) + (cell_0 * bins_1 + cell_1) * bins_2
            for q in range(by_cell.start[row + left], by_cell.start[row + right + 1]):
                j = by_cell.point[q]
                if j < i and _is_near(c, p, q, squared):
                    if first >= 0:
                        out[first + n] = j
                    n += 1
    return n


@cuda_kernel
def _count(
    points: BatchPoints, grid: Grid, by_cell: Sorted, pairs: Pairs, squared: float, n: int
) -> None:
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = by_cell.point[p]
        pairs.start[i] = _find_earlier(points, grid, by_cell, p, squared, pairs.earlier, -1)


@cuda_kernel
def _judge(points: BatchPoints, pairs: Pairs, max_edges: int, n_events: int) -> None:
    """Add up the pairs of an event, by a block for each; forget those of one with too many."""
    buffer = cuda.shared.array(THREADS, np.int64)
    for e in range(cuda.blockIdx.x, n_events, cuda.gridDim.x):
        first, last = points.start[e] + cuda.threadIdx.x, points.start[e + 1]
        total = 0
        for i in range(first, last, cuda.blockDim.x):
            total += pairs.start[i]
        scan_block(buffer, total)
        total = buffer[cuda.blockDim.x - 1]
        if total > max_edges:
            for i in range(first, last, cuda.blockDim.x):
                pairs.start[i] = 0
        if cuda.threadIdx.x == 0:
            pairs.found[e] = total
        cuda.syncthreads()


@cuda_kernel
def _fill(
    points: BatchPoints, grid: Grid, by_cell: Sorted, pairs: Pairs, squared: float, n: int
) -> None:
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = by_cell.point[p]
        first, last = pairs.start[i], pairs.start[i + 1]
        if first == last:
            continue
        _find_earlier(points, grid, by_cell, p, squared, pairs.earlier, first)
        for k in range(first, last):
            pairs.later[k] = i


@cuda_kernel
def _orient(points: BatchPoints, pairs: Pairs, edges: BatchEdges, n: int) -> None:
    """Each pair's place among those of its later point: the number of earlier ones."""
    for k in range(cuda.grid(1), n, cuda.gridsize(1)):
        i, j = pairs.later[k], pairs.earlier[k]
        first = pairs.start[i]
        place = first
        for other in range(first, pairs.start[i + 1]):
            if pairs.earlier[other] < j:
                place += 1
        edges.source[place], edges.target[place] = turned(points.place, i, j)
