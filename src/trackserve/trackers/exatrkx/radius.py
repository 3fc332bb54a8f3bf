"""Pairs of points that are near each other in the embedding: a search with a fixed radius.

Points are sorted into a grid over the three dimensions in which they spread most. Cells are a
quarter of the radius wide in the last of these dimensions, and one radius in the others. Points
of cells that follow each other in the last dimension are contiguous. So the neighbours of a point
are in a few ranges. A range is tested in blocks of vector lanes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import (
    LANES,
    bit,
    f32,
    kernel,
    shared,
    u32,
    u64,
    with_bit,
)
from trackserve.device.lanes import store
from trackserve.edm.columns import Array
from trackserve.edm.limits import check_limit
from trackserve.errors import EventError

from .doublets import Bounds, DoubletCuts, Places, cells_of, keeps

BINS_PER_RADIUS = 4
"""Cells per radius in the last dimension of the grid."""
CELLS_PER_POINT = 4
"""Most cells per point: so a small event has no large, empty grid."""
LEAST_CELLS = 64
"""Cells that every grid may have, however few its points are."""
_MOST_BINS = 1e15
_FIRST_ROOM = 16
"""Pairs per point for which the first arrays have room."""


class Pairs(NamedTuple):
    """Pairs of points, by source, then target.

    Attributes:
        source: int32[m], the later point of each pair.
        target: int32[m], the earlier one.
    """

    source: Array
    target: Array

    @classmethod
    def empty(cls) -> Pairs:
        return cls(np.empty(0, np.int32), np.empty(0, np.int32))


class _Axes(NamedTuple):
    """The three dimensions of a grid, the widest last.

    Attributes:
        number: int64[3], which dimension of the coordinates it is.
        low: float64[3], least coordinate.
        extent: float64[3], range of the coordinates.
    """

    number: Array
    low: Array
    extent: Array


class _Grid(NamedTuple):
    """Points sorted by cell; the last dimension is the fastest.

    Attributes:
        point: int32[n], row of each point.
        coordinates: float32[dimensions, n + LANES]; the dimensions are padded with zeros to a
            multiple of four.
        start: int32[cells + 1], first point of each cell.
        cell: int32[n, 3], cell of each point along each dimension.
        bins: int64[3], number of cells along each dimension.
    """

    point: Array
    coordinates: Array
    start: Array
    cell: Array
    bins: Array


def find_pairs(
    coordinates: Array,
    radius: float,
    max_edges: int,
    event: int,
    cuts: DoubletCuts | None = None,
) -> Pairs:
    """Return all pairs of points nearer than ``radius``, each once.

    The squared distance is the sum over the dimensions, in their order, in float32 without fused
    operations. It must be less than the square of ``radius`` in float32.

    Args:
        coordinates: float32[n, d].
        radius: largest distance, in the units of the coordinates.
        max_edges: most pairs that the event may have; memory for little more is allocated.
        event: number of the event, for the error.
        cuts: which of these pairs are wanted; None: all.

    Raises:
        LimitExceeded: there are more pairs.
        EventError: a coordinate is not finite.
    """
    bounds, places = cuts or DoubletCuts.none()
    n_points = len(coordinates)
    if n_points < 2:
        return Pairs.empty()
    finite = np.isfinite(coordinates).all(axis=1)
    if not finite.all():
        raise not_finite(event, int(finite.argmin()))
    padded, axes = _choose_axes(coordinates)
    most = max(LEAST_CELLS, CELLS_PER_POINT * n_points)
    grid = _Grid(*_make_grid(padded, axes, most, radius))
    places = Places(*(_in_grid(grid, column) for column in places))
    squared = f32(radius) * f32(radius)
    # room for all that one point can add to as many as are allowed
    most_room = max_edges + 2 * n_points + LANES
    room = min(_FIRST_ROOM * n_points, most_room)
    pairs = Pairs(np.empty(room, np.int32), np.empty(room, np.int32))
    done, n = _append_pairs(grid, squared, bounds, places, 0, 0, pairs)
    while done < n_points and n <= max_edges:
        room = min(2 * room, most_room)
        pairs = Pairs(*(_longer(array, room, n) for array in pairs))
        done, n = _append_pairs(grid, squared, bounds, places, done, n, pairs)
    check_limit("radius_edges", n, max_edges, exact=False, event=event)
    return _order_pairs(n_points, pairs.source[:n], pairs.target[:n])


def not_finite(event: int, point: int) -> EventError:
    """Return the error of an event whose ``point`` has no finite coordinates."""
    return EventError("embedding of a point is not finite", event=event, point=point)


def orient(place: Array, pairs: Pairs) -> tuple[Array, Array]:
    """Return sources and targets of edges, int32[m]: the source has the larger ``place``.

    Args:
        place: int32[n], place of each point.
        pairs: the points of each edge, in any order.
    """
    return _orient(place, pairs)


def _in_grid(grid: _Grid, column: Array) -> Array:
    """Return a column of the points in the order of the grid, LANES more; an empty one as it is."""
    if not len(column):
        return column
    sorted_ = np.zeros(len(column) + LANES, np.float32)
    np.take(column, grid.point, out=sorted_[: len(column)])
    return sorted_


def _longer(array: Array, room: int, n: int) -> Array:
    longer = np.empty(room, np.int32)
    longer[:n] = array[:n]
    return longer


@shared
def cells_per_unit(radius: float) -> tuple[float, float, float]:
    """Return cells per unit of length along the three dimensions of the finest grid.

    Cells are a hair wider than the radius: rounding must not put a neighbour two cells away.
    """
    width = radius * (1 + 1e-4)
    return 1 / width, 1 / width, BINS_PER_RADIUS / width


@shared
def choose_bins(extent: Array, per_unit: Array, bins: Array, most: int) -> None:
    """Fill ``bins``; halve ``per_unit`` as long as there are more than ``most`` cells.

    Args:
        extent: float64[3], extent of the points of an event.
        per_unit: float64[3], as :func:`cells_per_unit` returns it.
        bins: float64[3], number of cells along each dimension.
        most: most cells of the grid.
    """
    for k in range(3):
        bins[k] = _bins(extent[k], per_unit[k])
    while bins[0] * bins[1] * bins[2] > most:
        widest = 0
        for k in range(1, 3):
            if bins[k] > bins[widest]:
                widest = k
        per_unit[widest] /= 2
        bins[widest] = _bins(extent[widest], per_unit[widest])


@shared
def _bins(extent: float, per_unit: float) -> int:
    """Return the number of cells along a dimension; it is limited to what an integer holds."""
    return math.floor(min(extent * per_unit, _MOST_BINS)) + 1


@shared
def bin_of(value: float, low: float, per_unit: float, bins: int) -> int:
    """Return the number of the cell, of ``bins`` cells along a dimension, that holds ``value``."""
    place = int((np.float64(value) - low) * per_unit)
    return min(max(place, 0), bins - 1)


@shared
def turned(place: Array, one: int, other: int) -> tuple[int, int]:
    """Return source and target of an edge: the source has the larger ``place``."""
    if place[one] > place[other]:
        return one, other
    return other, one


def _choose_axes(coordinates: Array) -> tuple[Array, _Axes]:
    """Return the coordinates, float32[padded dimensions, n], and the dimensions of the grid."""
    n_points, n_dimensions = coordinates.shape
    padded = np.zeros((max(4, -(-n_dimensions // 4) * 4), n_points), np.float32)
    padded[:n_dimensions] = coordinates.T
    spread = padded.std(axis=1)
    number = np.argsort(-spread, kind="stable")[2::-1].astype(np.int64)
    low = padded[number].min(axis=1).astype(np.float64)
    return padded, _Axes(number, low, extent=padded[number].max(axis=1) - low)


@kernel
def _make_grid(
    padded: Array, axes: _Axes, most: int, radius: float
) -> tuple[Array, Array, Array, Array, Array]:
    """Return the columns of :class:`_Grid`, with at most ``most`` cells."""
    n_dimensions, n = padded.shape
    per_unit = np.array(cells_per_unit(radius))
    chosen = np.empty(3, np.float64)
    choose_bins(axes.extent, per_unit, chosen, most)
    bins = chosen.astype(np.int64)
    number = np.empty(n, np.int32)
    unsorted = np.empty((n, 3), np.int32)
    start = np.zeros(bins[0] * bins[1] * bins[2] + 1, np.int32)
    for i in range(n):
        key = 0
        for k in range(3):
            place = bin_of(padded[axes.number[k], i], axes.low[k], per_unit[k], bins[k])
            unsorted[i, k] = place
            key = key * bins[k] + place
        number[i] = key
        start[key + 1] += 1
    for c in range(len(start) - 1):
        start[c + 1] += start[c]
    filled = start[:-1].copy()
    point = np.empty(n, np.int32)
    cell = np.empty((n, 3), np.int32)
    coordinates = np.zeros((n_dimensions, n + LANES), np.float32)
    for i in range(n):
        place = filled[number[i]]
        filled[number[i]] += 1
        point[place] = i
        for k in range(3):
            cell[place, k] = unsorted[i, k]
        for k in range(n_dimensions):
            coordinates[k, place] = padded[k, i]
    return point, coordinates, start, cell, bins


@kernel
def _append_pairs(
    grid: _Grid,
    squared: float,
    bounds: Bounds,
    places: Places,
    first: int,
    n_found: int,
    pairs: Pairs,
) -> tuple[int, int]:
    """Append the pairs of points from ``first`` on with later ones, in the order of the grid.

    ``places`` are in that order too, with LANES more at the end. Returns the first point whose
    pairs had no room, and the number of pairs.
    """
    source, target = pairs
    c = grid.coordinates
    n_dimensions = u64(len(c))
    distance = np.empty(LANES, np.float32)
    cells = np.empty(LANES, np.float32)
    all_pairs = len(bounds.most) == 0
    n = u64(n_found)
    for a in range(first, len(grid.point)):
        i = u64(a)
        n_before = n
        cell_0, cell_1, cell_2 = grid.cell[a, 0], grid.cell[a, 1], grid.cell[a, 2]
        left = max(cell_2 - BINS_PER_RADIUS, 0)
        right = min(cell_2 + BINS_PER_RADIUS, grid.bins[2] - 1)
        x0, x1, x2, x3 = c[0, i], c[1, i], c[2, i], c[3, i]
        for row in range(5):
            # the row of the point itself, the next row, and three rows of the next plane:
            # points of other rows have met this point already
            at_0 = cell_0 + (row >= 2)
            at_1 = cell_1 + (row if row < 2 else row - 3)
            if at_0 >= grid.bins[0] or at_1 < 0 or at_1 >= grid.bins[1]:
                continue
            base = (at_0 * grid.bins[1] + at_1) * grid.bins[2]
            begin = u64(grid.start[base + left]) if row else i + u64(1)
            end = u64(grid.start[base + right + 1])
            if end <= begin:
                continue
            if n + (end - begin) + u64(LANES) > u64(len(source)):
                return a, int(np.int64(n_before))
            for block in range(begin, end, u64(LANES)):
                bits = u32(0)
                n_left = u32(end - block)
                for lane in range(u64(LANES)):
                    j = block + lane
                    d0, d1, d2, d3 = c[0, j] - x0, c[1, j] - x1, c[2, j] - x2, c[3, j] - x3
                    sum_ = ((d0 * d0 + d1 * d1) + d2 * d2) + d3 * d3
                    distance[lane] = sum_
                    bits = with_bit(bits, lane, (sum_ < squared) & (u32(lane) < n_left))
                for k in range(u64(4), n_dimensions, u64(4)):
                    if bits == 0:
                        break
                    k1, k2, k3 = k + u64(1), k + u64(2), k + u64(3)
                    y0, y1, y2, y3 = c[k, i], c[k1, i], c[k2, i], c[k3, i]
                    bits = u32(0)
                    for lane in range(u64(LANES)):
                        j = block + lane
                        d0, d1, d2, d3 = c[k, j] - y0, c[k1, j] - y1, c[k2, j] - y2, c[k3, j] - y3
                        sum_ = (((distance[lane] + d0 * d0) + d1 * d1) + d2 * d2) + d3 * d3
                        distance[lane] = sum_
                        bits = with_bit(bits, lane, (sum_ < squared) & (u32(lane) < n_left))
                if bits and not all_pairs:
                    near, bits = bits, u32(0)
                    r, phi, z = places.r[i], places.phi[i], places.z[i]
                    store(cells, u64(0), cells_of(bounds, r, z, places, block))
                    for lane in range(u64(min(n_left, u32(LANES)))):
                        if bit(near, lane):
                            j = block + lane
                            cell = int(cells[lane])
                            there_r, there_phi = places.r[j], places.phi[j]
                            there_z = places.z[j]
                            good = keeps(bounds, cell, r, phi, z, there_r, there_phi, there_z)
                            bits = with_bit(bits, lane, good)
                if bits:
                    here = grid.point[i]
                    for lane in range(u64(min(n_left, u32(LANES)))):
                        there = grid.point[block + lane]
                        source[n], target[n] = max(here, there), min(here, there)
                        n += bit(bits, lane)
    return len(grid.point), int(np.int64(n))


def _order_pairs(n_points: int, source: Array, target: Array) -> Pairs:
    """Return the pairs by source, then target: two counting sorts, by target first."""
    target, source = _order_by(n_points, target, source)
    return Pairs(*_order_by(n_points, source, target))


@kernel
def _order_by(n_keys: int, key: Array, other: Array) -> tuple[Array, Array]:
    """Return both arrays in the order of ``key``; items with the same key keep their order."""
    start = np.zeros(n_keys + 1, np.int32)
    for e in range(len(key)):
        start[key[e] + 1] += 1
    for k in range(n_keys):
        start[k + 1] += start[k]
    sorted_key = np.empty(len(key), np.int32)
    sorted_other = np.empty(len(key), np.int32)
    for e in range(len(key)):
        place = start[key[e]]
        start[key[e]] += 1
        sorted_key[place], sorted_other[place] = key[e], other[e]
    return sorted_key, sorted_other


@kernel
def _orient(place: Array, pairs: Pairs) -> tuple[Array, Array]:
    one, other = pairs
    source = np.empty_like(one)
    target = np.empty_like(one)
    for e in range(len(one)):
        source[e], target[e] = turned(place, one[e], other[e])
    return source, target
