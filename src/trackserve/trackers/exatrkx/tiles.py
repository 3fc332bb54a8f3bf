"""Tiles of rows: one vector lane per row, so that an operation is a vector instruction over rows.

A tile is float32[width, TILE]. Row ``l`` of the data is column ``l`` of the tile. The result of a
row comes from the same sequence of operations, whatever other rows share its tile.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.device.compile import LANES, fused_kernel, shared, shared_step, u64
from trackserve.device.lanes import (
    ITEM,
    LINE,
    TILE,
    add_product,
    load,
    load_first,
    store,
    store_first,
    transpose,
)
from trackserve.edm.columns import Array


class Tiles(NamedTuple):
    """Work arrays of one perceptron.

    Attributes:
        x: float32[2 half, TILE], two tiles, one in each half.
        rows: float32[LANES, half], some rows of data.
    """

    x: Array
    rows: Array


class Weights(NamedTuple):
    """The weights of a product, float32[n_out, n_in], from ``start`` on in ``values``."""

    values: Array
    start: int
    n_out: int
    n_in: int


class At(NamedTuple):
    """A tile: the rows from ``first`` on of an array, float32[., TILE]."""

    rows: Array
    first: int


@shared_step
def multiply(weights: Weights, source: At, target: At) -> None:
    """Add the product of ``weights`` and the tile ``source`` to the tile ``target``."""
    add_product(
        weights.values,
        u64(weights.start),
        u64(weights.n_out),
        u64(weights.n_in),
        source.rows,
        u64(source.first),
        target.rows,
        u64(target.first),
    )


@fused_kernel
def make_tiles(width: int) -> Tiles:
    """Return work arrays for a perceptron whose padded width is ``width``."""
    half = rounded(width) + LANES
    n_x, n_rows = 2 * half * TILE, LANES * half
    memory = np.zeros(n_x + n_rows + LINE, np.float32)
    first = -np.int64(memory.ctypes.data) // ITEM % LINE
    x, rows = memory[first : first + n_x], memory[first + n_x : first + n_x + n_rows]
    return Tiles(x.reshape((2 * half, TILE)), rows.reshape((LANES, half)))


@shared
def rounded(width: int) -> int:
    """Return ``width`` rounded up to whole vectors."""
    return -(-width // LANES) * LANES


@shared_step
def load_rows(rows: Array, first: int, tiles: Tiles, at: int) -> None:
    """Copy TILE rows, from row ``first`` on, into the tile ``tiles.x``, from its row ``at`` on.

    The tile gets zeros up to a whole vector of rows. Beyond the end of ``rows`` lanes have values
    of other rows.
    """
    width, pitch = u64(rows.shape[1]), u64(tiles.rows.shape[1])
    for group in range(0, TILE, LANES):
        n = min(LANES, len(rows) - first - group)
        for r in range(u64(max(n, 0))):
            begin = (u64(first + group) + r) * width
            for j in range(u64(0), width, u64(LANES)):
                store(tiles.rows, r * pitch + j, load_first(rows, begin + j, width - j))
        to_tile(tiles, width, u64(at) * u64(TILE) + u64(group))


@shared
def to_tile(tiles: Tiles, width: int, place: int) -> None:
    """Copy the rows ``tiles.rows`` to lanes of the tile ``tiles.x``, from ``place`` on."""
    for j in range(u64(0), u64(width), u64(LANES)):
        transpose(
            tiles.rows, j, u64(tiles.rows.shape[1]), tiles.x, place + j * u64(TILE), u64(TILE)
        )


@shared
def to_rows(x: Array, first: int, group: int, width: int, rows: Array) -> None:
    """Copy lanes from ``group`` on of a tile of ``x``, from row ``first`` on, to ``rows``."""
    for j in range(u64(0), u64(width), u64(LANES)):
        place = (u64(first) + j) * u64(TILE) + u64(group)
        transpose(x, place, u64(TILE), rows, j, u64(rows.shape[1]))


@shared_step
def store_rows(tiles: Tiles, at: int, width: int, rows: Array, first: int, column: int) -> None:
    """Copy ``width`` rows of a tile, from row ``at`` on, into ``rows``.

    They become columns from ``column`` on, of rows from ``first`` on as far as there are rows.
    """
    all_columns, pitch = u64(rows.shape[1]), u64(tiles.rows.shape[1])
    for group in range(0, min(TILE, len(rows) - first), LANES):
        to_rows(tiles.x, at, group, width, tiles.rows)
        for r in range(u64(min(LANES, len(rows) - first - group))):
            begin = (u64(first + group) + r) * all_columns + u64(column)
            for j in range(u64(0), u64(width), u64(LANES)):
                store_first(rows, begin + j, u64(width) - j, load(tiles.rows, r * pitch + j))


@shared_step
def add_rows(tiles: Tiles, at: int, rows: Array, first: int) -> None:
    """Add a tile, from its row ``at`` on, to ``rows``, from row ``first`` on."""
    width, pitch = u64(rows.shape[1]), u64(tiles.rows.shape[1])
    for group in range(0, min(TILE, len(rows) - first), LANES):
        to_rows(tiles.x, at, group, width, tiles.rows)
        for r in range(u64(min(LANES, len(rows) - first - group))):
            begin = (u64(first + group) + r) * width
            for j in range(u64(0), width, u64(LANES)):
                old = load_first(rows, begin + j, width - j)
                store_first(rows, begin + j, width - j, old + load(tiles.rows, r * pitch + j))
