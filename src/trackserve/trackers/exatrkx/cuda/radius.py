"""Pairs of points that are near each other in the embedding: a thread for each point.

Points are sorted into a grid over three dimensions, as on a CPU. Each event has its own cells. A
thread counts the earlier points near its own point; later it writes them down.
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

from ..doublets import Bounds, Places, is_doublet
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
    """The cells of each event of a batch; the last dimension is the fastest.

    Attributes:
        low, high: float32[events * dimensions], least and largest coordinates of each event.
        bad: int32[events], the first point of each event whose coordinates are not finite.
        axis: int32[events, 3], the three dimensions of the grid.
        extent: float64[events, 3], range of the coordinates along these dimensions.
        per_unit: float64[events, 3], cells per unit of length.
        chosen: float64[events, 3], number of cells.
        bins: int32[events, 3], number of cells.
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
        point: int32[n], number of each point in the batch.
        coordinates: float32[n, dimensions].
        places: where the points are; without doublet cuts it has no points.
    """

    start: Any
    point: Any
    coordinates: Any
    places: Places


class Search(NamedTuple):
    """All that the search for near points needs.

    Attributes:
        grid: the cells.
        by_cell: the points by cell.
        squared: float32, square of the radius.
        bounds: the doublet cuts, on the device.
    """

    grid: Grid
    by_cell: Sorted
    squared: Any
    bounds: Bounds


class BatchPairs(NamedTuple):
    """Pairs of near points, by the later point.

    Attributes:
        start: int32[n + 1], first pair of each point.
        found: int64[events], number of pairs; an event with too many has none of them here.
        later: int32[m], the later point of each pair.
        earlier: int32[m], the earlier point; those of one later point are in any order.
    """

    start: Any
    found: Any
    later: Any
    earlier: Any


def sort_by_cell(
    device: Device, points: BatchPoints, coordinates: Any, radius: float, bounds: Bounds
) -> Search:
    """Sort points into a grid for the search within ``radius``.

    Args:
        coordinates: float32[n, 3 or more].
        radius: in the units of the coordinates.
        bounds: the doublet cuts, on the device.
    """
    n, n_events = points.n, points.n_events
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
    device.launch(_choose, n_events, points, grid, n_dimensions, radius)
    key = device.array("grid.key", n, np.int32)
    device.launch(_find_cells, n, points, coordinates, grid, key)
    n_cells = CELLS_PER_POINT * n + LEAST_CELLS * n_events
    cells = device.scatter("grid.cells", key, n, n_cells)
    moved = device.array("grid.coordinates", n, np.float32, n_dimensions)
    n_places = n if len(bounds.most) else 0
    places = Places(*(device.array(f"grid.{k}", n_places, np.float32) for k in Places._fields))
    by_cell = Sorted(cells.start, cells.item, moved, places)
    device.launch(_gather, n, coordinates, by_cell, n)
    device.launch(_find_places, n_places, points, by_cell, n_places)
    return Search(grid, by_cell, f32(radius) * f32(radius), bounds)


def count_pairs(device: Device, points: BatchPoints, search: Search, max_edges: int) -> BatchPairs:
    """Count the pairs before each point; the result has no memory for the pairs.

    Args:
        max_edges: an event with more pairs counts as one without pairs.
    """
    pairs = BatchPairs(
        start=device.array("pairs.start", points.n + 1, np.int32),
        found=device.array("pairs.found", points.n_events, np.int64),
        later=device.array("pairs.later", 0, np.int32),
        earlier=device.array("pairs.earlier", 0, np.int32),
    )
    device.launch(_count, points.n, points, search, pairs)
    device.launch_blocks(_judge, points.n_events, points, pairs, max_edges)
    device.scan(pairs.start, points.n, pairs.start)
    return pairs


def fill_pairs(
    device: Device, points: BatchPoints, search: Search, pairs: BatchPairs, m: int
) -> BatchEdges:
    """Return the ``m`` pairs as edges in the order of the model.

    Edges are sorted by the later point, then by the earlier point.
    """
    pairs = pairs._replace(
        later=device.array("pairs.later", m, np.int32),
        earlier=device.array("pairs.earlier", m, np.int32),
    )
    device.launch(_fill, points.n, points, search, pairs)
    start = find_starts(device, "radius_edges", pairs.start, points.start, points.n_events)
    edges = make_edges(device, "radius_edges", start, points.n_events, m)
    device.launch(_orient, m, points, pairs, edges)
    return edges


@cuda_kernel
def _reset(grid: Grid, n_dimensions: int, n_events: int) -> None:
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        grid.bad[e] = _NOBODY
        for k in range(e * n_dimensions, (e + 1) * n_dimensions):
            grid.low[k], grid.high[k] = np.inf, -np.inf


@cuda_kernel
def _measure(points: BatchPoints, coordinates: Any, grid: Grid, n: int) -> None:
    """Find the extent of an event in a dimension; a block for each of these pairs."""
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
def _choose(points: BatchPoints, grid: Grid, n_dimensions: int, radius: float) -> None:
    """Choose the three widest dimensions of each event, the widest last."""
    for e in range(cuda.grid(1), points.n_events, cuda.gridsize(1)):
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
    """Return the cell of row ``i`` along dimension ``place`` of the grid."""
    axis = grid.axis[e, place]
    low: Any = np.float64(grid.low[e * n_dimensions + axis])
    return bin_of(coordinates[i, axis], low, grid.per_unit[e, place], grid.bins[e, place])


@device_function
def _first_cell(points: BatchPoints, e: int) -> int:
    return CELLS_PER_POINT * points.start[e] + LEAST_CELLS * e


@cuda_kernel
def _find_cells(points: BatchPoints, coordinates: Any, grid: Grid, key: Any) -> None:
    n_dimensions = coordinates.shape[1]
    for i in range(cuda.grid(1), points.n, cuda.gridsize(1)):
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


@cuda_kernel
def _find_places(points: BatchPoints, by_cell: Sorted, n: int) -> None:
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = by_cell.point[p]
        for column, k in ((by_cell.places.r, 0), (by_cell.places.phi, 1), (by_cell.places.z, 2)):
            column[p] = points.scaled[i, k] * points.scales[k]


@device_function
def _is_near(coordinates: Any, p: int, q: int, squared: float) -> bool:
    """Return whether the squared distance of two points is less than ``squared``.

    It is added up as on a CPU. The sum never falls, so it may end early.
    """
    total = f32(0)
    for k in range(coordinates.shape[1]):
        step = coordinates[q, k] - coordinates[p, k]
        total += product(step, step)
        if not total < squared:
            return False
    return True


@device_function
def _find_earlier(points: BatchPoints, search: Search, p: int, out: Any, first: int) -> int:
    """Return the number of earlier points near the one in place ``p``.

    Args:
        out: int32, takes these points.
        first: where they begin in ``out``; if it is negative, nothing is written.
    """
    grid, by_cell, squared = search.grid, search.by_cell, search.squared
    bounds, (rs, phis, zs) = search.bounds, by_cell.places
    all_pairs = len(bounds.most) == 0
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
                    if not all_pairs and not is_doublet(
                        bounds, rs[p], phis[p], zs[p], rs[q], phis[q], zs[q]
                    ):
                        continue
                    if first >= 0:
                        out[first + n] = j
                    n += 1
    return n


@cuda_kernel
def _count(points: BatchPoints, search: Search, pairs: BatchPairs) -> None:
    for p in range(cuda.grid(1), points.n, cuda.gridsize(1)):
        i = search.by_cell.point[p]
        pairs.start[i] = _find_earlier(points, search, p, pairs.earlier, -1)


@cuda_kernel
def _judge(points: BatchPoints, pairs: BatchPairs, max_edges: int) -> None:
    """Add up the pairs of each event, a block for each; drop those of an event with too many."""
    buffer = cuda.shared.array(THREADS, np.int64)
    for e in range(cuda.blockIdx.x, points.n_events, cuda.gridDim.x):
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
def _fill(points: BatchPoints, search: Search, pairs: BatchPairs) -> None:
    for p in range(cuda.grid(1), points.n, cuda.gridsize(1)):
        i = search.by_cell.point[p]
        first, last = pairs.start[i], pairs.start[i + 1]
        if first == last:
            continue
        _find_earlier(points, search, p, pairs.earlier, first)
        for k in range(first, last):
            pairs.later[k] = i


@cuda_kernel
def _orient(points: BatchPoints, pairs: BatchPairs, edges: BatchEdges) -> None:
    """Give each pair its place among those of its later point: the number of earlier points."""
    for k in range(cuda.grid(1), edges.n, cuda.gridsize(1)):
        i, j = pairs.later[k], pairs.earlier[k]
        first = pairs.start[i]
        place = first
        for other in range(first, pairs.start[i + 1]):
            if pairs.earlier[other] < j:
                place += 1
        edges.source[place], edges.target[place] = turned(points.place, i, j)
