"""Perceptrons on a CUDA device: a block runs all layers on a tile of rows in its shared memory.

Nothing is stored per layer: a row's inputs are read once, and its outputs written once. A row's
result comes from one sequence of operations, whatever shares the tile and however many threads
there are, so an event has the same bits alone and in a batch. The product is that of every book:
a thread has four rows by four columns of it in registers, and weights are staged some inputs at a
time.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.device.compile import f32, u32, u64
from trackserve.device.cuda import (
    SIMULATED,
    THREADS,
    Device,
    Group,
    inlined_function,
    tile_kernel,
)

from ..architecture import Perceptron
from ..tiles import (
    NORM_EPSILON,
    EdgePerceptron,
    Packed,
    activated,
)
from .edges import BatchEdges

ROWS = 64
"""Of a tile; half of them where a layer is wider than ``NARROW``."""
NARROW, WIDEST = 64, 128
"""Layer, or what a node gives to both of its roles in an edge."""
MOST_INPUTS = 144
"""Of a perceptron, or of an edge's own. Tile and staged weights take the 48 kB of shared memory
that every device has."""
SIDE = 4
"""Rows, and columns, of a share of a product; each has its place in a thread's registers."""
SHARES = -(-(ROWS // SIDE) * (NARROW // SIDE) // THREADS)
"""Of a product that one thread has."""
STAGED = 16
"""Inputs whose weights are in shared memory at a time."""
PITCH = ROWS + SIDE
"""Floats from one column of the tile to the next: fewer bank conflicts than with ``ROWS``."""
TILE, WEIGHTS = MOST_INPUTS * PITCH, STAGED * WIDEST
"""Floats in shared memory."""
ALIGNMENT = None if SIMULATED else 4 * SIDE
"""Of shared memory, in bytes: four floats are read at a time."""
index = int if SIMULATED else u64
"""Of the innermost loop: a signed one would be tested for being negative. Plain numpy makes floats
of both together."""
PARTS = 4
"""Of a row's sums for LayerNorm, which are added up by as many threads."""


class OnEdges(NamedTuple):
    """:class:`..tiles.EdgePerceptron` on the device.

    Attributes:
        project: from a node's inputs to its parts of the first layer: as source, as target.
        own: float32[width * n_own], the edge's part.
        n_own: inputs of the edge, padded.
        width: of the first layer, padded.
        rest: what follows the first product.
    """

    project: Packed
    own: Any
    n_own: int
    width: int
    rest: Packed


class Neighbours(NamedTuple):
    """Edges by the node at which they arrive, and by that from which they leave, in order."""

    arriving: Group
    leaving: Group


def fits(shape: Perceptron, n_node: int = 0) -> bool:
    """Whether a perceptron on rows, or on edges of nodes with ``n_node`` inputs, is narrow enough
    for these kernels."""
    outputs = 1 if shape.output is None else shape.output
    first = 2 * shape.widths[0] if n_node else 0
    inputs = max(n_node, shape.inputs - 2 * n_node)
    return inputs <= MOST_INPUTS and max(*shape.widths, outputs, first) <= WIDEST


def upload_on_edges(device: Device, p: EdgePerceptron) -> OnEdges:
    """A perceptron on edges on the device, to stay there."""
    width, n_own = p.edge.shape
    return OnEdges(
        project=device.table(p.project),
        own=device.resident(p.edge.ravel()),
        n_own=n_own,
        width=width,
        rest=device.table(p.rest),
    )


def run_rows(device: Device, p: Packed, rows: Any, n: int, out: Any) -> None:
    """The perceptron on the first ``n`` of ``rows``, float32[., inputs], into ``out``,
    float32[., outputs]; what ``out`` has more columns is set to 0."""
    device.launch_blocks(_run_rows, _blocks(device, n), p, rows, out, n)


def run_edges(
    device: Device,
    p: OnEdges,
    nodes: Any,
    n: int,
    edges: BatchEdges,
    own: Any,
    part: tuple[int, int],
    out: Any,
    add: bool = False,
) -> None:
    """The perceptron on edges between ``n`` nodes.

    Args:
        nodes: float32[., inputs].
        own: float32[., k], inputs of the edges themselves.
        part: the first edge, and how many; the first has the first row of ``own`` and ``out``.
        out: float32[., outputs]; may be ``own``.
        add: whether to add to it.
    """
    first, m = part
    projected = device.array(f"projected.{p.width}", n, np.float32, 2 * p.width)
    run_rows(device, p.project, nodes, n, projected)
    ends = edges.source[first:], edges.target[first:]
    device.launch_blocks(_run_edges, _blocks(device, m), p, projected, ends, own, out, m, add)


def find_neighbours(device: Device, edges: BatchEdges, m: int, n: int) -> Neighbours:
    """The ends of ``m`` edges between ``n`` nodes."""
    return Neighbours(
        arriving=device.group("arriving", edges.target, m, n, edges.target),
        leaving=device.group("leaving", edges.source, m, n, edges.source),
    )


def update_nodes(
    device: Device, p: Packed, nodes: Any, n: int, neighbours: Neighbours, edge_states: Any
) -> None:
    """Add to each node's state what ``p`` makes of it and of the sums of the states of the edges
    that arrive and that leave, which are added up in the order of the edges."""
    device.launch_blocks(_update_nodes, _blocks(device, n), p, nodes, neighbours, edge_states, n)


def _blocks(device: Device, n: int) -> int:
    """Many rounds of blocks, since few fit at a time: so the last round leaves little idle."""
    return min(-(-n // ROWS), 8 * device.n_blocks)


@inlined_function
def _rows_of(p: Packed) -> int:
    """Of a tile."""
    return ROWS if p.width <= NARROW else ROWS // 2


@inlined_function
def _share(s: int, n_rows: int) -> tuple[int, int]:
    """First row and column of a thread's share ``s``: a warp has eight groups of rows by four of
    columns."""
    share = cuda.threadIdx.x + s * THREADS
    if n_rows < ROWS:
        return SIDE * (share % 8), SIDE * (share // 8)
    return SIDE * (share % 8 + share // 128 * 8), SIDE * (share // 8 % 16)


@inlined_function
def _multiply(
    weight: Any, first: int, n_in: int, n_out: int, n_rows: int, x: Any, staged: Any, sums: Any
) -> None:
    """``sums += x @ weight.T``; the weights, [n_out, n_in], begin at ``first``."""
    for begin in range(0, n_in, STAGED):
        n = min(STAGED, n_in - begin)
        i = cuda.threadIdx.x
        while i < STAGED * n_out:
            k, j = i % STAGED, i // STAGED
            if k < n:
                staged[k * WIDEST + j] = weight[first + j * n_in + begin + k]
            i += cuda.blockDim.x
        cuda.syncthreads()
        for s in range(SHARES):
            row, column = _share(s, n_rows)
            if column < n_out:
                at = index(begin * PITCH + row)
                _multiply_share(at, index(column), index(n), x, staged, sums, s)
        cuda.syncthreads()


@inlined_function
def _multiply_share(
    row: int, column: int, n_in: int, x: Any, staged: Any, sums: Any, s: int
) -> None:
    for first in range(index(0), n_in, index(SIDE)):
        for k in range(first, first + index(SIDE)):
            for a in range(index(SIDE)):
                for b in range(index(SIDE)):
                    value = x[k * index(PITCH) + row + a]
                    sums[s, a, b] += value * staged[k * index(WIDEST) + column + b]


@inlined_function
def _store(sums: Any, n_out: int, n_rows: int, x: Any) -> None:
    for s in range(SHARES):
        row, column = _share(s, n_rows)
        if column < n_out:
            for b in range(SIDE):
                for a in range(SIDE):
                    x[(column + b) * PITCH + row + a] = sums[s, a, b]
    cuda.syncthreads()


@inlined_function
def _normalise(
    x: Any, n: int, values: Any, gain: int, shift: int, activation: int, parts: Any
) -> None:
    """LayerNorm and activation of the first ``n`` columns; gains and shifts begin at ``gain`` and
    ``shift``."""
    size = f32(n)
    i = cuda.threadIdx.x
    while i < ROWS * PARTS:
        row, total = i % ROWS, f32(0)
        for j in range(i // ROWS, n, PARTS):
            total += x[j * PITCH + row]
        parts[i] = total
        i += cuda.blockDim.x
    cuda.syncthreads()
    i = cuda.threadIdx.x
    while i < ROWS * PARTS:
        row, total = i % ROWS, f32(0)
        mean = _total(parts, row) / size
        for j in range(i // ROWS, n, PARTS):
            difference = x[j * PITCH + row] - mean
            total += difference * difference
        parts[PARTS * ROWS + i] = total
        i += cuda.blockDim.x
    cuda.syncthreads()
    i = cuda.threadIdx.x
    while i < ROWS * PARTS:
        row = i % ROWS
        mean = _total(parts, row) / size
        spread = _total(parts, PARTS * ROWS + row) / size
        scale = f32(1) / f32(math.sqrt(spread + NORM_EPSILON))
        for j in range(i // ROWS, n, PARTS):
            at = j * PITCH + row
            value = (x[at] - mean) * scale * values[gain + j] + values[shift + j]
            x[at] = activated(value, activation)
        i += cuda.blockDim.x
    cuda.syncthreads()


@inlined_function
def _total(parts: Any, at: int) -> float:
    return (parts[at] + parts[at + ROWS]) + (parts[at + 2 * ROWS] + parts[at + 3 * ROWS])


@inlined_function
def _run_layers(p: Packed, n_rows: int, x: Any, staged: Any, sums: Any) -> None:
    """All layers of ``p`` on the tile ``x``, in place."""
    for i in range(len(p.layers)):
        n_in, n_out, n = p.layers[i, 0], p.layers[i, 1], p.layers[i, 2]
        activation, norm = p.layers[i, 3], p.layers[i, 4]
        if n_in > 0:
            for s in range(SHARES):
                _, column = _share(s, n_rows)
                if column < n_out:
                    for b in range(SIDE):
                        bias = p.values[p.starts[i, 1] + column + b]
                        for a in range(SIDE):
                            sums[s, a, b] = bias
            _multiply(p.values, p.starts[i, 0], n_in, n_out, n_rows, x, staged, sums)
            _store(sums, n_out, n_rows, x)
        if norm:
            gain, shift = p.starts[i, 2], p.starts[i, 3]
            _normalise(x, n, p.values, gain, shift, activation, staged)
        elif activation:
            item = cuda.threadIdx.x
            while item < ROWS * n:
                at = item // ROWS * PITCH + item % ROWS
                x[at] = activated(x[at], activation)
                item += cuda.blockDim.x
            cuda.syncthreads()


@inlined_function
def _divide(i: int, n: int) -> tuple[int, int]:
    """Quotient and remainder, in 32 bits: 64 would take several times as long."""
    quotient: Any = np.int64(u32(i) // u32(n))
    return quotient, i - quotient * n


@inlined_function
def _next(row: int, j: int, step: tuple[int, int], width: int) -> tuple[int, int]:
    """Row and column ``step`` further on in rows of ``width``, without a division."""
    row, j = row + step[0], j + step[1]
    return (row, j) if j < width else (row + 1, j - width)


@inlined_function
def _load_rows(rows: Any, first: int, n: int, n_rows: int, x: Any, padded: int) -> None:
    """Rows from ``first`` on, the last of ``n`` again beyond the end, into ``padded`` columns."""
    width = rows.shape[1]
    row, j = _divide(cuda.threadIdx.x, padded)
    step = _divide(cuda.blockDim.x, padded)
    while row < n_rows:
        value = rows[min(first + row, n - 1), j] if j < width else f32(0)
        x[j * PITCH + row] = value
        row, j = _next(row, j, step, padded)


@inlined_function
def _write_rows(x: Any, n_out: int, first: int, n: int, n_rows: int, rows: Any, add: bool) -> None:
    width = rows.shape[1]
    row, j = _divide(cuda.threadIdx.x, width)
    step = _divide(cuda.blockDim.x, width)
    while row < min(n_rows, n - first):
        value = x[j * PITCH + row] if j < n_out else f32(0)
        rows[first + row, j] = rows[first + row, j] + value if add else value
        row, j = _next(row, j, step, width)
    cuda.syncthreads()


@inlined_function
def _sum(of_nodes: Group, node: int, edges: Any, j: int) -> float:
    total = f32(0)
    for place in range(of_nodes.start[node], of_nodes.start[node + 1]):
        total += edges[of_nodes.item[place], j]
    return total


@tile_kernel
def _run_rows(p: Packed, rows: Any, out: Any, n: int) -> None:
    x = cuda.shared.array(TILE, np.float32, ALIGNMENT)
    staged = cuda.shared.array(WEIGHTS, np.float32, ALIGNMENT)
    sums = cuda.local.array((SHARES, SIDE, SIDE), np.float32)
    n_out, n_rows = p.layers[len(p.layers) - 1, 2], _rows_of(p)
    for first in range(cuda.blockIdx.x * n_rows, n, cuda.gridDim.x * n_rows):
        _load_rows(rows, first, n, n_rows, x, p.layers[0, 0])
        _run_layers(p, n_rows, x, staged, sums)
        _write_rows(x, n_out, first, n, n_rows, out, False)


@tile_kernel
def _run_edges(
    p: OnEdges, projected: Any, ends: Any, own: Any, out: Any, m: int, add: bool
) -> None:
    x = cuda.shared.array(TILE, np.float32, ALIGNMENT)
    staged = cuda.shared.array(WEIGHTS, np.float32, ALIGNMENT)
    sums = cuda.local.array((SHARES, SIDE, SIDE), np.float32)
    source, target = ends
    n_out, n_rows = p.rest.layers[len(p.rest.layers) - 1, 2], _rows_of(p.rest)
    for first in range(cuda.blockIdx.x * n_rows, m, cuda.gridDim.x * n_rows):
        if p.n_own > 0:
            _load_rows(own, first, m, n_rows, x, p.n_own)
        for s in range(SHARES):
            row, column = _share(s, n_rows)
            if column < p.width:
                for a in range(SIDE):
                    edge = min(first + row + a, m - 1)
                    outgoing, incoming = source[edge], target[edge]
                    for b in range(SIDE):
                        as_source = projected[outgoing, column + b]
                        sums[s, a, b] = as_source + projected[incoming, p.width + column + b]
        _multiply(p.own, 0, p.n_own, p.width, n_rows, x, staged, sums)
        _store(sums, p.width, n_rows, x)
        _run_layers(p.rest, n_rows, x, staged, sums)
        _write_rows(x, n_out, first, m, n_rows, out, add)


@tile_kernel
def _update_nodes(p: Packed, nodes: Any, neighbours: Neighbours, edges: Any, n: int) -> None:
    x = cuda.shared.array(TILE, np.float32, ALIGNMENT)
    staged = cuda.shared.array(WEIGHTS, np.float32, ALIGNMENT)
    sums = cuda.local.array((SHARES, SIDE, SIDE), np.float32)
    hidden = nodes.shape[1]
    step = _divide(cuda.blockDim.x, hidden)
    for first in range(cuda.blockIdx.x * ROWS, n, cuda.gridDim.x * ROWS):
        _load_rows(nodes, first, n, ROWS, x, hidden)
        row, j = _divide(cuda.threadIdx.x, hidden)
        while row < ROWS:
            node = min(first + row, n - 1)
            x[(hidden + j) * PITCH + row] = _sum(neighbours.arriving, node, edges, j)
            x[(2 * hidden + j) * PITCH + row] = _sum(neighbours.leaving, node, edges, j)
            row, j = _next(row, j, step, hidden)
        i = cuda.threadIdx.x
        while i < ROWS * (p.layers[0, 0] - 3 * hidden):
            x[(3 * hidden + i // ROWS) * PITCH + i % ROWS] = f32(0)
            i += cuda.blockDim.x
        _run_layers(p, ROWS, x, staged, sums)
        _write_rows(x, hidden, first, n, ROWS, nodes, True)
