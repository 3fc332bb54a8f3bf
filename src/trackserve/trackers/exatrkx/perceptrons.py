"""Perceptrons on a CPU: tiles of a fixed number of rows, one vector lane per row.

A tile is float32[width, TILE]. Row ``l`` of the data is column ``l`` of the tile, so every
operation is a vector instruction over rows. The result of a row comes from the same sequence of
operations, whatever other rows share its tile. All layers work on the same two tiles, which stay
in the cache. Widths are padded with zeros to a multiple of four, because the matrix product works
on blocks of four by four weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from trackserve.device.compile import (
    LANES,
    f32,
    fused_kernel,
    i32,
    shared,
    shared_step,
    u64,
    wide_vectors,
)
from trackserve.device.lanes import (
    LINE,
    TILE,
    add_product,
    fma,
    load,
    load_first,
    positive,
    root,
    splat,
    store,
    store_first,
    transpose,
)
from trackserve.device.reserve import Reserve
from trackserve.edm.columns import Array

from .architecture import Perceptron

WORK = Reserve()
"""Memory of the networks."""
RELU = 1
_ACTIVATIONS = {None: 0, "relu": RELU, "tanh": 2, "silu": 3}
NORM_EPSILON = f32(1e-5)
"""Number that LayerNorm adds to a variance, as in PyTorch."""


class Packed(NamedTuple):
    """A perceptron as the compiled loops take it.

    Attributes:
        values: float32[n], all weights, with padded widths.
        layers: int64[n_layers, 5], for each layer its padded inputs, padded outputs, outputs,
            activation (see :func:`activated`) and whether it normalises. A layer with 0 inputs
            has no product: it only normalises and activates.
        starts: int64[n_layers, 4], where the weights, biases, gains and shifts of each layer
            begin in ``values``.
        width: padded width of the widest layer.
    """

    values: Array
    layers: Array
    starts: Array
    width: int


class EdgePerceptron(NamedTuple):
    """A perceptron on rows [source, target, edge]; its first product is split in three.

    Attributes:
        project: makes two parts of the first product from the inputs of a node: the part of the
            node as a source, then its part as a target.
        edge: float32[first width, edge inputs], padded; weights of the part of the edge itself.
        rest: the layers after the first product.
    """

    project: Packed
    edge: Array
    rest: Packed


def pack(shape: Perceptron, weights: Mapping[str, Array], prefix: str) -> Packed:
    """Pack the perceptron whose weights have names that begin with ``prefix``."""
    layers = [_layer(shape, weights, prefix, i) for i in range(len(shape.widths))]
    return _pack([*layers, *_last(shape, weights, prefix)])


def pack_edge(
    shape: Perceptron, weights: Mapping[str, Array], prefix: str, n_node: int
) -> EdgePerceptron:
    """Pack a perceptron on edges between nodes with ``n_node`` inputs each."""
    first, bias = (weights[f"{prefix}layers.0.{part}"] for part in ("weight", "bias"))
    width = _padded(len(bias))
    project = np.zeros((2 * width, n_node), np.float32)
    project_bias = np.zeros(2 * width, np.float32)
    project[: len(bias)] = first[:, :n_node]
    project[width : width + len(bias)] = first[:, n_node : 2 * n_node]
    project_bias[: len(bias)] = bias
    layers = [_layer(shape, weights, prefix, i) for i in range(len(shape.widths))]
    layers[0] = layers[0]._replace(weight=None)
    return EdgePerceptron(
        project=_pack([_Layer(project, project_bias)]),
        edge=_pad(first[:, 2 * n_node :]),
        rest=_pack([*layers, *_last(shape, weights, prefix)]),
    )


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


class _Layer(NamedTuple):
    weight: Array | None
    bias: Array
    gain: Array | None = None
    shift: Array | None = None
    activation: str | None = None


def _layer(shape: Perceptron, weights: Mapping[str, Array], prefix: str, i: int) -> _Layer:
    linear, norm = f"{prefix}layers.{i}", f"{prefix}norms.{i}"
    return _Layer(
        weight=weights[f"{linear}.weight"],
        bias=weights[f"{linear}.bias"],
        gain=weights[f"{norm}.weight"] if shape.norm else None,
        shift=weights[f"{norm}.bias"] if shape.norm else None,
        activation=shape.activation_of(i),
    )


def _last(shape: Perceptron, weights: Mapping[str, Array], prefix: str) -> list[_Layer]:
    if shape.output is None:
        return []
    return [_Layer(weights[f"{prefix}last.weight"], weights[f"{prefix}last.bias"])]


def _padded(width: int) -> int:
    return -(-width // 4) * 4


def _pad(weight: Array) -> Array:
    padded = np.zeros([_padded(n) for n in weight.shape], np.float32)
    padded[tuple(slice(n) for n in weight.shape)] = weight
    return padded


def _pack(layers: list[_Layer]) -> Packed:
    values: list[Array] = []
    shapes, starts, begin = [], [], 0
    for layer in layers:
        n_in = 0 if layer.weight is None else _padded(layer.weight.shape[1])
        n_out = len(layer.bias)
        starts_of = []
        for array in (layer.weight, layer.bias, layer.gain, layer.shift):
            starts_of.append(begin)
            if array is not None:
                values.append(_pad(array).ravel())
                begin += len(values[-1])
        starts.append(starts_of)
        activation = _ACTIVATIONS[layer.activation]
        shapes.append((n_in, _padded(n_out), n_out, activation, layer.gain is not None))
    widths = np.array(shapes, np.int64)
    return Packed(
        values=np.concatenate(values),
        layers=widths,
        starts=np.array(starts, np.int64),
        width=int(widths[:, :2].max()),
    )


@shared
def exp(x: float) -> float:
    """Return e^x in float32, to within 2e-7: 2^n times the series of 2^f, with f in +-1/2."""
    y = min(max(x, f32(-87)), f32(87)) * f32(1.4426950408889634)
    n = f32(math.floor(y + f32(0.5)))
    f = (y - n) * f32(0.6931471805599453)
    p = f32(1) + f * f32(1 / 7)
    p = f32(1) + f * f32(1 / 6) * p
    p = f32(1) + f * f32(1 / 5) * p
    p = f32(1) + f * f32(1 / 4) * p
    p = f32(1) + f * f32(1 / 3) * p
    p = f32(1) + f * f32(1 / 2) * p
    p = f32(1) + f * p
    return p * i32((i32(n) + i32(127)) << i32(23)).view(np.float32)


@shared
def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
    return f32(1) / (f32(1) + exp(-x))


@shared
def activated(x: float, activation: int) -> float:
    """Return relu (1), tanh (2) or silu (3) of ``x``, or ``x`` itself (0)."""
    if activation == 1:
        return max(x, f32(0))
    if activation == 2:
        return f32(2) * sigmoid(f32(2) * x) - f32(1)
    return x * sigmoid(x) if activation == 3 else x


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


@fused_kernel
def activate(x: Array, first: int, n: int, activation: int) -> None:
    """Apply :func:`activated` to ``n`` rows of a tile, from row ``first`` on.

    Each activation has its own loop, without a branch inside.
    """
    wide_vectors()
    if activation == 1:
        for j in range(u64(first), u64(first) + u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 1)
    elif activation == 2:
        for j in range(u64(first), u64(first) + u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 2)
    elif activation == 3:
        for j in range(u64(first), u64(first) + u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 3)


@fused_kernel
def make_tiles(width: int) -> Tiles:
    """Return work arrays for a perceptron whose padded width is ``width``."""
    half = rounded(width) + LANES
    n_x, n_rows = 2 * half * TILE, LANES * half
    memory = np.zeros(n_x + n_rows + LINE, np.float32)
    first = -np.int64(memory.ctypes.data) // 4 % LINE
    x, rows = memory[first : first + n_x], memory[first + n_x : first + n_x + n_rows]
    return Tiles(x.reshape((2 * half, TILE)), rows.reshape((LANES, half)))


@shared
def rounded(width: int) -> int:
    """Return ``width`` rounded up to whole vectors."""
    return -(-width // LANES) * LANES


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
    return n, 2 * rounded(int(p.rest.layers[0, 1]))


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
