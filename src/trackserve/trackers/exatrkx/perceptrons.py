"""Perceptrons on a CPU: all layers work on the same two tiles, which stay in the cache."""

from __future__ import annotations

from typing import Any, NamedTuple

from trackserve.device.compile import LANES, f32, fused_kernel, shared, shared_step, u64
from trackserve.device.lanes import TILE, fma, load, positive, root, splat, store
from trackserve.device.reserve import Reserve
from trackserve.edm.columns import Array

from .activation import activate
from .packing import RELU, EdgePerceptron, Packed
from .tiles import (
    At,
    Tiles,
    Weights,
    load_rows,
    make_tiles,
    multiply,
    rounded,
    store_rows,
    to_tile,
)

WORK = Reserve()
"""Memory of the networks."""
NORM_EPSILON = f32(1e-5)
"""Number that LayerNorm adds to a variance, as in PyTorch."""


class NetworkGraph(NamedTuple):
    """The nodes and edges that a network takes.

    Attributes:
        nodes: float32[n, node inputs].
        source, target: int32[m], the rows of ``nodes`` that each edge joins.
        edges: float32[m, edge inputs].
    """

    nodes: Array
    source: Array
    target: Array
    edges: Array


@shared_step
def _begin(p: Packed, i: int, x: Array, first: int) -> None:
    """Fill the tile of the results of layer ``i`` with its biases."""
    start, first = u64(p.starts[i, 1]), u64(first)
    for j in range(u64(p.layers[i, 1])):
        bias = splat(p.values[start + j])
        for lane in range(u64(0), u64(TILE), u64(LANES)):
            store(x, (first + j) * u64(TILE) + lane, bias)


@shared_step
def normalise(p: Packed, i: int, x: Array, first: int) -> None:
    """Apply LayerNorm of layer ``i``, and relu if it has that, to the tile from row ``first`` on.

    Sums over a row are in the order of its values; four vectors of rows are side by side.
    """
    n, size = u64(p.layers[i, 2]), splat(f32(p.layers[i, 2]))
    gains, shifts = u64(p.starts[i, 2]), u64(p.starts[i, 3])
    relu = p.layers[i, 3] == RELU
    begin, v1, v2, v3 = u64(first * TILE), u64(LANES), u64(2 * LANES), u64(3 * LANES)
    m0 = m1 = m2 = m3 = splat(f32(0))
    for j in range(n):
        at = begin + j * u64(TILE)
        m0, m1 = m0 + load(x, at), m1 + load(x, at + v1)
        m2, m3 = m2 + load(x, at + v2), m3 + load(x, at + v3)
    m0, m1, m2, m3 = m0 / size, m1 / size, m2 / size, m3 / size
    s0 = s1 = s2 = s3 = splat(f32(0))
    for j in range(n):
        at = begin + j * u64(TILE)
        d0, d1 = load(x, at) - m0, load(x, at + v1) - m1
        d2, d3 = load(x, at + v2) - m2, load(x, at + v3) - m3
        s0, s1, s2, s3 = fma(d0, d0, s0), fma(d1, d1, s1), fma(d2, d2, s2), fma(d3, d3, s3)
    s0, s1, s2, s3 = _scale(s0, size), _scale(s1, size), _scale(s2, size), _scale(s3, size)
    for j in range(n):
        at = begin + j * u64(TILE)
        gain, shift = splat(p.values[gains + j]), splat(p.values[shifts + j])
        y0 = fma((load(x, at) - m0) * s0, gain, shift)
        y1 = fma((load(x, at + v1) - m1) * s1, gain, shift)
        y2 = fma((load(x, at + v2) - m2) * s2, gain, shift)
        y3 = fma((load(x, at + v3) - m3) * s3, gain, shift)
        if relu:
            y0, y1, y2, y3 = positive(y0), positive(y1), positive(y2), positive(y3)
        store(x, at, y0)
        store(x, at + v1, y1)
        store(x, at + v2, y2)
        store(x, at + v3, y3)


@shared
def _scale(squares: Any, size: Any) -> Any:
    """Return what normalises values with this sum of the squares of their deviations."""
    return splat(f32(1)) / root(squares / size + splat(NORM_EPSILON))


@shared_step
def run_tile(p: Packed, tiles: Tiles) -> int:
    """Run the perceptron on the tile in the first half of ``tiles.x``.

    Returns:
        the first row of the result; it is that of one of the halves.
    """
    x = tiles.x
    here, there = 0, len(x) // 2
    for i in range(len(p.layers)):
        n_in, n_out = p.layers[i, 0], p.layers[i, 1]
        if n_in:
            _begin(p, i, x, there)
            multiply(Weights(p.values, p.starts[i, 0], n_out, n_in), At(x, here), At(x, there))
            here, there = there, here
        if p.layers[i, 4]:
            normalise(p, i, x, here)
        if p.layers[i, 3] and not (p.layers[i, 4] and p.layers[i, 3] == RELU):
            activate(x, here, p.layers[i, 2], p.layers[i, 3])
    return here


@shared_step
def load_edges(projected: Array, graph: NetworkGraph, first: int, tiles: Tiles) -> None:
    """Write the sum of the parts of both nodes, for TILE edges from ``first`` on, into a tile.

    Beyond the last edge lanes have values of other edges.

    Args:
        projected: float32[n, 2 width], as :func:`project_nodes` returns it.
    """
    source, target = graph.source, graph.target
    pitch, width = u64(tiles.rows.shape[1]), u64(projected.shape[1]) // u64(2)
    last = len(source)
    for group in range(0, TILE, LANES):
        begin = first + group
        for r in range(u64(max(min(LANES, last - begin), 0))):
            edge = u64(begin) + r
            s = u64(source[edge]) * u64(2) * width
            t = u64(target[edge]) * u64(2) * width + width
            for j in range(u64(0), width, u64(LANES)):
                store(tiles.rows, r * pitch + j, load(projected, s + j) + load(projected, t + j))
        to_tile(tiles, width, u64(group))


@fused_kernel
def run_rows(p: Packed, rows: Array, out: Array) -> None:
    """Run the perceptron on ``rows``, float32[n, inputs]; fill ``out``, float32[n, outputs]."""
    tiles = make_tiles(p.width)
    for first in range(0, len(rows), TILE):
        load_rows(rows, first, tiles, 0)
        store_rows(tiles, run_tile(p, tiles), out.shape[1], out, first, 0)


def projection(p: EdgePerceptron, n: int) -> tuple[int, int]:
    """Return the shape of what :func:`project_nodes` makes of ``n`` nodes."""
    width = int(p.rest.layers[0, 1])
    return n, 2 * rounded.py_func(width)  # type: ignore[attr-defined]


@fused_kernel
def project_nodes(p: EdgePerceptron, nodes: Array, projected: Array) -> None:
    """Fill in the parts of the nodes in the first product of ``p``, float32[n, 2 width].

    The width is that of the layer, rounded up to whole vectors.
    """
    tiles = make_tiles(p.project.width)
    for first in range(0, len(nodes), TILE):
        project_tile(p.project, nodes, first, tiles, projected)


@shared_step
def project_tile(project: Packed, nodes: Array, first: int, tiles: Tiles, projected: Array) -> None:
    """Do :func:`project_nodes` for TILE nodes from ``first`` on."""
    n_out = project.layers[0, 1] // 2
    load_rows(nodes, first, tiles, 0)
    at = run_tile(project, tiles)
    store_rows(tiles, at, n_out, projected, first, 0)
    store_rows(tiles, at + n_out, n_out, projected, first, rounded(n_out))


@shared_step
def start_edges(
    p: EdgePerceptron, graph: NetworkGraph, projected: Array, first: int, tiles: Tiles
) -> None:
    """Do the first product of TILE edges from ``first`` on; their own inputs are in ``graph``."""
    load_edges(projected, graph, first, tiles)
    n_out, n_in = p.edge.shape
    if n_in:
        own = len(tiles.x) // 2
        load_rows(graph.edges, first, tiles, own)
        multiply(Weights(p.edge, 0, n_out, n_in), At(tiles.x, own), At(tiles.x, 0))


def run_edges(p: EdgePerceptron, graph: NetworkGraph, out: Array) -> None:
    """Run the perceptron on the edges of ``graph``; fill ``out``, float32[m, outputs]."""
    with WORK.lend(projection(p, len(graph.nodes))) as (projected,):
        project_nodes(p, graph.nodes, projected)
        _run_edges(p, graph, projected, out)


@fused_kernel
def _run_edges(p: EdgePerceptron, graph: NetworkGraph, projected: Array, out: Array) -> None:
    tiles = make_tiles(max(p.rest.width, p.edge.shape[1]))
    for first in range(0, len(graph.source), TILE):
        start_edges(p, graph, projected, first, tiles)
        store_rows(tiles, run_tile(p.rest, tiles), out.shape[1], out, first, 0)
