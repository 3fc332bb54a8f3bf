"""Perceptrons on a CUDA device: a block runs all layers on a tile of rows in shared memory.

The inputs of a row are read once, and its outputs are written once. The result of a row comes from
one sequence of operations, whatever other rows share its tile, and however many threads there are.
So an event has the same bits alone and in a batch. The matrix product is the usual one: a thread
has four rows by four columns of it in registers, and the weights of some inputs at a time are in
shared memory.
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

from ..activation import activated
from ..architecture import Perceptron
from ..packing import EdgePerceptron, Packed
from ..perceptrons import NORM_EPSILON

ROWS = 64
"""Rows of a tile; a tile has half of them if a layer is wider than ``NARROW``."""
NARROW, WIDEST = 64, 128
"""Widths of layers; two parts of the first layer of a perceptron on edges count as one layer."""
MOST_INPUTS = 144
"""Most inputs of a perceptron, or of an edge itself. The tile and the staged weights then take the
48 kB of shared memory that every device has."""
SIDE = 4
"""Rows, and columns, of a share of a product; a thread has a share in its registers."""
SHARES = -(-(ROWS // SIDE) * (NARROW // SIDE) // THREADS)
"""Shares of a product that one thread has."""
STAGED = 16
"""Inputs whose weights are in shared memory at one time."""
PITCH = ROWS + SIDE
"""Floats from one column of the tile to the next; with ``ROWS`` there were more bank conflicts."""
TILE, WEIGHTS = MOST_INPUTS * PITCH, STAGED * WIDEST
"""Floats of the tile and of the staged weights in shared memory."""
ALIGNMENT = None if SIMULATED else 4 * SIDE
"""Alignment of shared memory in bytes: four floats are read at a time."""
index = int if SIMULATED else u64
"""Type of the index of the innermost loop: a signed index is tested for being negative. The
simulator has plain integers, because numpy makes a float of a signed and an unsigned one."""
PARTS = 4
"""Threads that add up the sums of one row for LayerNorm, each a part."""


class OnEdges(NamedTuple):
    """The perceptron of :class:`..perceptrons.EdgePerceptron` on the device.

    Attributes:
        project: makes two parts of the first product from the inputs of a node: the part of the
            node as a source, then its part as a target.
        own: float32[width * n_own], weights of the part of the edge itself.
        n_own: padded number of inputs of the edge itself.
        width: padded width of the first layer.
        rest: the layers after the first product.
    """

    project: Packed
    own: Any
    n_own: int
    width: int
    rest: Packed


class NetworkGraph(NamedTuple):
    """The nodes and edges of a batch that a network takes; arrays may have more rows.

    Attributes:
        nodes: float32[n, node inputs].
        n: number of nodes.
        source, target: int32[m], the nodes of each edge.
        edges: float32[m, edge inputs].
        m: number of edges.
    """

    nodes: Any
    n: int
    source: Any
    target: Any
    edges: Any
    m: int


class EdgesByNode(NamedTuple):
    """The edges of each node, in the order of the edges.

    Attributes:
        arriving: edges whose target is the node.
        leaving: edges whose source is the node.
    """

    arriving: Group
    leaving: Group


class _Work(NamedTuple):
    """The memory of a block for one tile.

    Attributes:
        x: float32[TILE], shared; column ``j`` of the tile begins at ``j * PITCH``.
        staged: float32[WEIGHTS], shared; weights of some inputs, or sums of rows.
        sums: float32[SHARES, SIDE, SIDE], the shares of this thread.
        n_rows: rows of the tile.
    """

    x: Any
    staged: Any
    sums: Any
    n_rows: int


class _Matrix(NamedTuple):
    """Weights of a linear layer, [n_out, n_in].

    Attributes:
        values: float32, the array that holds them.
        first: where they begin in it.
        n_in, n_out: padded numbers of inputs and outputs.
    """

    values: Any
    first: int
    n_in: int
    n_out: int


def fits(shape: Perceptron, n_node: int = 0) -> bool:
    """Return whether a perceptron is narrow enough for these kernels.

    Args:
        shape: the perceptron.
        n_node: number of inputs of a node, for a perceptron on edges; 0 for one on rows.
    """
    outputs = 1 if shape.output is None else shape.output
    first = 2 * shape.widths[0] if n_node else 0
    inputs = max(n_node, shape.inputs - 2 * n_node)
    return inputs <= MOST_INPUTS and max(*shape.widths, outputs, first) <= WIDEST


def upload_on_edges(device: Device, p: EdgePerceptron) -> OnEdges:
    """Copy a perceptron on edges to the device, to stay there."""
    width, n_own = p.edge.shape
    return OnEdges(
        project=device.table(p.project),
        own=device.resident(p.edge.ravel()),
        n_own=n_own,
        width=width,
        rest=device.table(p.rest),
    )


def run_rows(device: Device, p: Packed, rows: Any, n: int, out: Any) -> None:
    """Run the perceptron on the first ``n`` of ``rows``, float32[., inputs]; fill ``out``.

    Args:
        out: float32[., outputs or more]; columns after the outputs become 0.
    """
    device.launch_blocks(_run_rows, _blocks(device, n), p, rows, out, n)


def run_edges(device: Device, p: OnEdges, graph: NetworkGraph, out: Any, add: bool = False) -> None:
    """Run the perceptron on the edges of ``graph``; fill ``out``, float32[m, outputs].

    Args:
        out: may be ``graph.edges``.
        add: whether to add to what ``out`` holds.
    """
    projected = device.array(f"projected.{p.width}", graph.n, np.float32, 2 * p.width)
    run_rows(device, p.project, graph.nodes, graph.n, projected)
    graph = graph._replace(nodes=projected)
    device.launch_blocks(_run_edges, _blocks(device, graph.m), p, graph, out, add)


def group_edges(device: Device, graph: NetworkGraph) -> EdgesByNode:
    """Return the edges of each node."""
    return EdgesByNode(
        arriving=device.group("arriving", graph.target, graph.m, graph.n, graph.target),
        leaving=device.group("leaving", graph.source, graph.m, graph.n, graph.source),
    )


def update_nodes(device: Device, p: Packed, graph: NetworkGraph, by_node: EdgesByNode) -> None:
    """Add ``p`` of [state of the node, sum of arriving, sum of leaving] to each node's state.

    The sums are over the states of the edges, in the order of the edges.

    Args:
        graph: with the states of nodes and edges.
        by_node: the edges of each node.
    """
    device.launch_blocks(_update_nodes, _blocks(device, graph.n), p, graph, by_node)


def _blocks(device: Device, n: int) -> int:
    """Return the number of blocks: many rounds, so that the last round leaves little idle."""
    return min(-(-n // ROWS), 8 * device.n_blocks)


@inlined_function
def _rows_of(p: Packed) -> int:
    """Return the number of rows of a tile."""
    return ROWS if p.width <= NARROW else ROWS // 2


@inlined_function
def _share(s: int, n_rows: int) -> tuple[int, int]:
    """Return the first row and column of share ``s`` of this thread.

    A warp has eight groups of rows by four groups of columns.
    """
    share = cuda.threadIdx.x + s * THREADS
    if n_rows < ROWS:
        return SIDE * (share % 8), SIDE * (share // 8)
    return SIDE * (share % 8 + share // 128 * 8), SIDE * (share // 8 % 16)


@inlined_function
def _multiply(weights: _Matrix, work: _Work) -> None:
    """Do ``sums += x @ weights.T``."""
    n_in, n_out, staged = weights.n_in, weights.n_out, work.staged
    for begin in range(0, n_in, STAGED):
        n = min(STAGED, n_in - begin)
        i = cuda.threadIdx.x
        while i < STAGED * n_out:
            k, j = i % STAGED, i // STAGED
            if k < n:
                staged[k * WIDEST + j] = weights.values[weights.first + j * n_in + begin + k]
            i += cuda.blockDim.x
        cuda.syncthreads()
        for s in range(SHARES):
            row, column = _share(s, work.n_rows)
            if column < n_out:
                at = index(begin * PITCH + row)
                _multiply_share(at, index(column), index(n), s, work)
        cuda.syncthreads()


@inlined_function
def _multiply_share(row: int, column: int, n_in: int, s: int, work: _Work) -> None:
    x, staged, sums = work.x, work.staged, work.sums
    for first in range(index(0), n_in, index(SIDE)):
        for k in range(first, first + index(SIDE)):
            for a in range(index(SIDE)):
                for b in range(index(SIDE)):
                    value = x[k * index(PITCH) + row + a]
                    sums[s, a, b] += value * staged[k * index(WIDEST) + column + b]


@inlined_function
def _store(n_out: int, work: _Work) -> None:
    """Copy the sums into the tile."""
    for s in range(SHARES):
        row, column = _share(s, work.n_rows)
        if column < n_out:
            for b in range(SIDE):
                for a in range(SIDE):
                    work.x[(column + b) * PITCH + row + a] = work.sums[s, a, b]
    cuda.syncthreads()


@inlined_function
def _normalise(p: Packed, layer: int, work: _Work) -> None:
    """Apply LayerNorm and the activation of a layer to the tile."""
    x, parts, values = work.x, work.staged, p.values
    n, activation = p.layers[layer, 2], p.layers[layer, 3]
    gain, shift = p.starts[layer, 2], p.starts[layer, 3]
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
def _run_layers(p: Packed, work: _Work) -> None:
    """Run all layers of ``p`` on the tile, in place."""
    for i in range(len(p.layers)):
        n_in, n_out, n = p.layers[i, 0], p.layers[i, 1], p.layers[i, 2]
        activation, norm = p.layers[i, 3], p.layers[i, 4]
        if n_in > 0:
            for s in range(SHARES):
                _, column = _share(s, work.n_rows)
                if column < n_out:
                    for b in range(SIDE):
                        bias = p.values[p.starts[i, 1] + column + b]
                        for a in range(SIDE):
                            work.sums[s, a, b] = bias
            _multiply(_Matrix(p.values, p.starts[i, 0], n_in, n_out), work)
            _store(n_out, work)
        if norm:
            _normalise(p, i, work)
        elif activation:
            item = cuda.threadIdx.x
            while item < ROWS * n:
                at = item // ROWS * PITCH + item % ROWS
                work.x[at] = activated(work.x[at], activation)
                item += cuda.blockDim.x
            cuda.syncthreads()


@inlined_function
def _divide(i: int, n: int) -> tuple[int, int]:
    """Return quotient and remainder; with 64 bits it would take several times as long."""
    quotient: Any = np.int64(u32(i) // u32(n))
    return quotient, i - quotient * n


@inlined_function
def _next(row: int, j: int, step: tuple[int, int], width: int) -> tuple[int, int]:
    """Return row and column ``step`` further on in rows of ``width``, without a division."""
    row, j = row + step[0], j + step[1]
    return (row, j) if j < width else (row + 1, j - width)


@inlined_function
def _load_rows(rows: Any, first: int, n: int, padded: int, work: _Work) -> None:
    """Copy rows from ``first`` on into ``padded`` columns; after ``n`` rows the last one again."""
    width = rows.shape[1]
    row, j = _divide(cuda.threadIdx.x, padded)
    step = _divide(cuda.blockDim.x, padded)
    while row < work.n_rows:
        value = rows[min(first + row, n - 1), j] if j < width else f32(0)
        work.x[j * PITCH + row] = value
        row, j = _next(row, j, step, padded)


@inlined_function
def _write_rows(work: _Work, n_out: int, first: int, n: int, rows: Any, add: bool) -> None:
    """Copy ``n_out`` columns of the tile into ``rows`` from ``first`` on, or add them."""
    width = rows.shape[1]
    row, j = _divide(cuda.threadIdx.x, width)
    step = _divide(cuda.blockDim.x, width)
    while row < min(work.n_rows, n - first):
        value = work.x[j * PITCH + row] if j < n_out else f32(0)
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
    """Run a perceptron on rows."""
    work = _Work(
        cuda.shared.array(TILE, np.float32, ALIGNMENT),
        cuda.shared.array(WEIGHTS, np.float32, ALIGNMENT),
        cuda.local.array((SHARES, SIDE, SIDE), np.float32),
        _rows_of(p),
    )
    n_out, n_rows = p.layers[len(p.layers) - 1, 2], work.n_rows
    for first in range(cuda.blockIdx.x * n_rows, n, cuda.gridDim.x * n_rows):
        _load_rows(rows, first, n, p.layers[0, 0], work)
        _run_layers(p, work)
        _write_rows(work, n_out, first, n, out, False)


@tile_kernel
def _run_edges(p: OnEdges, graph: NetworkGraph, out: Any, add: bool) -> None:
    """Run a perceptron on edges; the nodes of ``graph`` are projected."""
    work = _Work(
        cuda.shared.array(TILE, np.float32, ALIGNMENT),
        cuda.shared.array(WEIGHTS, np.float32, ALIGNMENT),
        cuda.local.array((SHARES, SIDE, SIDE), np.float32),
        _rows_of(p.rest),
    )
    projected, source, target, m = graph.nodes, graph.source, graph.target, graph.m
    n_out, n_rows = p.rest.layers[len(p.rest.layers) - 1, 2], work.n_rows
    for first in range(cuda.blockIdx.x * n_rows, m, cuda.gridDim.x * n_rows):
        if p.n_own > 0:
            _load_rows(graph.edges, first, m, p.n_own, work)
        for s in range(SHARES):
            row, column = _share(s, n_rows)
            if column < p.width:
                for a in range(SIDE):
                    edge = min(first + row + a, m - 1)
                    outgoing, incoming = source[edge], target[edge]
                    for b in range(SIDE):
                        as_source = projected[outgoing, column + b]
                        work.sums[s, a, b] = as_source + projected[incoming, p.width + column + b]
        _multiply(_Matrix(p.own, 0, p.n_own, p.width), work)
        _store(p.width, work)
        _run_layers(p.rest, work)
        _write_rows(work, n_out, first, m, out, add)


@tile_kernel
def _update_nodes(p: Packed, graph: NetworkGraph, by_node: EdgesByNode) -> None:
    """Add the perceptron of state, sum of arriving and sum of leaving to each node's state."""
    work = _Work(
        cuda.shared.array(TILE, np.float32, ALIGNMENT),
        cuda.shared.array(WEIGHTS, np.float32, ALIGNMENT),
        cuda.local.array((SHARES, SIDE, SIDE), np.float32),
        ROWS,
    )
    x, nodes, edges, n = work.x, graph.nodes, graph.edges, graph.n
    hidden = nodes.shape[1]
    step = _divide(cuda.blockDim.x, hidden)
    for first in range(cuda.blockIdx.x * ROWS, n, cuda.gridDim.x * ROWS):
        _load_rows(nodes, first, n, hidden, work)
        row, j = _divide(cuda.threadIdx.x, hidden)
        while row < ROWS:
            node = min(first + row, n - 1)
            x[(hidden + j) * PITCH + row] = _sum(by_node.arriving, node, edges, j)
            x[(2 * hidden + j) * PITCH + row] = _sum(by_node.leaving, node, edges, j)
            row, j = _next(row, j, step, hidden)
        i = cuda.threadIdx.x
        while i < ROWS * (p.layers[0, 0] - 3 * hidden):
            x[(3 * hidden + i // ROWS) * PITCH + i % ROWS] = f32(0)
            i += cuda.blockDim.x
        _run_layers(p, work)
        _write_rows(work, hidden, first, n, nodes, True)
