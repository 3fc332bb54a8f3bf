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
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import (
    f32,
    fused_kernel,
    i32,
    shared,
    u64,
    wide_vectors,
)
from trackserve.edm.columns import Array

from .architecture import Perceptron

TILE = 128
"""Rows of a tile. A longer tile loads the weights for more rows at once, but two tiles must fit
the cache."""

PITCH = TILE + 16
"""Columns of the array that holds a tile. It is no power of two: the values of one row would then
share few sets of the cache."""

_ACTIVATIONS = {None: 0, "relu": 1, "tanh": 2, "silu": 3}
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
        x: float32[width, PITCH], the tile that :func:`run_tile` takes.
        spare: float32[width, PITCH], a second tile.
        sums: float32[2, PITCH], means and variances of the rows.
    """

    x: Array
    spare: Array
    sums: Array


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


@fused_kernel
def accumulate(weight: Array, x: Array, out: Array) -> None:
    """Add ``weight @ x`` to the tile ``out``; both sides of ``weight`` are multiples of four."""
    wide_vectors()
    n_out, n_in = u64(weight.shape[0]), u64(weight.shape[1])
    one, two, three, four = u64(1), u64(2), u64(3), u64(4)
    for j in range(u64(0), n_out, four):
        for k in range(u64(0), n_in, four):
            a0, a1, a2, a3 = (
                weight[j, k], weight[j, k + one], weight[j, k + two], weight[j, k + three]
            )  # fmt: skip
            b0, b1, b2, b3 = (
                weight[j + one, k],
                weight[j + one, k + one],
                weight[j + one, k + two],
                weight[j + one, k + three],
            )
            c0, c1, c2, c3 = (
                weight[j + two, k],
                weight[j + two, k + one],
                weight[j + two, k + two],
                weight[j + two, k + three],
            )
            d0, d1, d2, d3 = (
                weight[j + three, k],
                weight[j + three, k + one],
                weight[j + three, k + two],
                weight[j + three, k + three],
            )
            for lane in range(u64(TILE)):
                x0, x1, x2, x3 = x[k, lane], x[k + one, lane], x[k + two, lane], x[k + three, lane]
                out[j, lane] = out[j, lane] + a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3
                out[j + one, lane] = out[j + one, lane] + b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3
                out[j + two, lane] = out[j + two, lane] + c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3
                out[j + three, lane] = out[j + three, lane] + d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3


@fused_kernel
def normalise(x: Array, n: int, gain: Array, shift: Array, sums: Array) -> None:
    """Apply LayerNorm to the first ``n`` values of each row of the tile ``x``.

    Args:
        sums: float32[2, PITCH], work memory.
    """
    size = f32(n)
    for lane in range(u64(TILE)):
        sums[0, lane] = f32(0)
        sums[1, lane] = f32(0)
    for j in range(u64(n)):
        for lane in range(u64(TILE)):
            sums[0, lane] += x[j, lane]
    for lane in range(u64(TILE)):
        sums[0, lane] /= size
    for j in range(u64(n)):
        for lane in range(u64(TILE)):
            difference = x[j, lane] - sums[0, lane]
            sums[1, lane] += difference * difference
    for lane in range(u64(TILE)):
        sums[1, lane] = f32(1) / f32(math.sqrt(sums[1, lane] / size + NORM_EPSILON))
    for j in range(u64(n)):
        g, b = gain[j], shift[j]
        for lane in range(u64(TILE)):
            x[j, lane] = (x[j, lane] - sums[0, lane]) * sums[1, lane] * g + b


@fused_kernel
def activate(x: Array, n: int, activation: int) -> None:
    """Apply :func:`activated` to the first ``n`` values of each row of a tile.

    Each activation has its own loop, without a branch inside.
    """
    if activation == 1:
        for j in range(u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 1)
    elif activation == 2:
        for j in range(u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 2)
    elif activation == 3:
        for j in range(u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 3)


@fused_kernel
def make_tiles(width: int) -> Tiles:
    """Return work arrays for a perceptron whose padded width is ``width``."""
    x = np.zeros((width, PITCH), np.float32)
    spare = np.zeros((width, PITCH), np.float32)
    return Tiles(x, spare, np.empty((2, PITCH), np.float32))


@fused_kernel
def run_tile(p: Packed, tiles: Tiles) -> Array:
    """Run the perceptron on the tile ``tiles.x``; return the tile that holds the result.

    That is ``tiles.x`` or ``tiles.spare``.
    """
    x, spare, sums = tiles
    for i in range(len(p.layers)):
        n_in, n_out, n = p.layers[i, 0], p.layers[i, 1], p.layers[i, 2]
        if n_in:
            weight = p.values[p.starts[i, 0] : p.starts[i, 0] + n_in * n_out]
            for j in range(u64(n_out)):
                bias = p.values[u64(p.starts[i, 1]) + j]
                for lane in range(u64(TILE)):
                    spare[j, lane] = bias
            accumulate(weight.reshape(n_out, n_in), x, spare)
            x, spare = spare, x
        if p.layers[i, 4]:
            gain = p.values[p.starts[i, 2] : p.starts[i, 2] + n]
            shift = p.values[p.starts[i, 3] : p.starts[i, 3] + n]
            normalise(x, n, gain, shift, sums)
        activate(x, n, p.layers[i, 3])
    return x


@fused_kernel
def load_rows(rows: Array, first: int, x: Array, at: int) -> None:
    """Copy TILE rows, from row ``first`` on, into the tile ``x``, from its row ``at`` on.

    Beyond the end of ``rows`` the last row is copied again: every lane has values of the data.
    """
    last = len(rows) - 1
    for lane in range(u64(TILE)):
        row = u64(min(first + np.int64(lane), last))
        for j in range(u64(rows.shape[1])):
            x[u64(at) + j, lane] = rows[row, j]


@fused_kernel
def store_rows(x: Array, rows: Array, first: int) -> None:
    """Copy the tile ``x`` into ``rows``, from row ``first`` on, as far as there are rows."""
    n = min(TILE, len(rows) - first)
    for lane in range(u64(n)):
        for j in range(u64(rows.shape[1])):
            rows[u64(first) + lane, j] = x[j, lane]


@fused_kernel
def load_edges(projected: Array, graph: NetworkGraph, first: int, x: Array) -> None:
    """Write the sum of the parts of both nodes, for TILE edges from ``first`` on, into ``x``.

    Args:
        projected: float32[n, 2 width], as :func:`project_nodes` returns it.
    """
    source, target = graph.source, graph.target
    width = projected.shape[1] // 2
    last = len(source) - 1
    for lane in range(u64(TILE)):
        edge = u64(min(first + np.int64(lane), last))
        s, t = u64(source[edge]), u64(target[edge])
        for j in range(u64(width)):
            x[j, lane] = projected[s, j] + projected[t, u64(width) + j]


@fused_kernel
def run_rows(p: Packed, rows: Array, out: Array) -> None:
    """Run the perceptron on ``rows``, float32[n, inputs]; fill ``out``, float32[n, outputs]."""
    tiles = make_tiles(p.width)
    inputs = rows.shape[1]
    for first in range(0, len(rows), TILE):
        tiles.x[inputs : p.layers[0, 0]] = f32(0)
        load_rows(rows, first, tiles.x, 0)
        store_rows(run_tile(p, tiles), out, first)


@fused_kernel
def project_nodes(p: EdgePerceptron, nodes: Array) -> Array:
    """Return the parts of the nodes in the first product of ``p``, float32[n, 2 width]."""
    projected = np.empty((len(nodes), p.project.layers[0, 1]), np.float32)
    run_rows(p.project, nodes, projected)
    return projected


@fused_kernel
def run_edges(p: EdgePerceptron, graph: NetworkGraph, out: Array) -> None:
    """Run the perceptron on the edges of ``graph``; fill ``out``, float32[m, outputs]."""
    projected = project_nodes(p, graph.nodes)
    tiles = make_tiles(p.rest.width)
    own = np.zeros((p.edge.shape[1], PITCH), np.float32)
    for first in range(0, len(graph.source), TILE):
        load_edges(projected, graph, first, tiles.x)
        if len(own):
            load_rows(graph.edges, first, own, 0)
            accumulate(p.edge, own, tiles.x)
        store_rows(run_tile(p.rest, tiles), out, first)
