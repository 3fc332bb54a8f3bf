"""Perceptrons on a CPU: tiles of a fixed number of rows, one instruction lane per row.

A tile is float32[width, TILE]: row ``l`` of the data is column ``l`` of the tile, so that every
operation is a vector instruction over rows, and a row's result comes from the same sequence
of operations whatever shares the tile. Nothing is stored per layer but two tiles, which stay
in the cache. Widths are padded with zeros to a multiple of four: the matrix product works on
blocks of four by four weights.
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
"""Rows. Longer tiles spread the loading of weights over more rows, until two tiles no longer
fit the cache."""

PITCH = TILE + 16
"""Columns of the array that holds a tile: were it a power of two, a row of the data would fall
into few sets of the cache."""

_ACTIVATIONS = {None: 0, "relu": 1, "tanh": 2, "silu": 3}
NORM_EPSILON = f32(1e-5)
"""Of PyTorch's LayerNorm."""


class Packed(NamedTuple):
    """A perceptron as the loops want it.

    Attributes:
        values: float32[n], all weights, widths padded.
        layers: int64[n_layers, 5]: padded inputs (0: no product, the layer only normalises and
            activates), padded outputs, outputs, activation, whether it normalises.
        starts: int64[n_layers, 4], where weights, biases, gains and shifts begin in ``values``.
        width: widest layer, padded.
    """

    values: Array
    layers: Array
    starts: Array
    width: int


class EdgePerceptron(NamedTuple):
    """A perceptron on rows [source, target, edge], its first product split in three.

    Attributes:
        project: from a node's inputs to its parts of the first layer: as source, as target.
        edge: float32[first width, edge inputs], padded; the edge's part.
        rest: what follows the first product.
    """

    project: Packed
    edge: Array
    rest: Packed


def pack(shape: Perceptron, weights: Mapping[str, Array], prefix: str) -> Packed:
    """Pack the perceptron whose weights have names that begin with ``prefix``."""
    layers = []
    for i in range(len(shape.widths)):
        norm = _norm(shape, weights, prefix, i)
        weight, bias = (weights[f"{prefix}layers.{i}.{part}"] for part in ("weight", "bias"))
        layers.append(_Layer(weight, bias, *norm, shape.activation))
    return _pack([*layers, *_last(shape, weights, prefix)])


def pack_edge(
    shape: Perceptron, weights: Mapping[str, Array], prefix: str, n_node: int
) -> EdgePerceptron:
    """Pack a perceptron on edges between nodes of ``n_node`` inputs."""
    first, bias = (weights[f"{prefix}layers.0.{part}"] for part in ("weight", "bias"))
    width = _padded(len(bias))
    project = np.zeros((2 * width, n_node), np.float32)
    project_bias = np.zeros(2 * width, np.float32)
    project[: len(bias)] = first[:, :n_node]
    project[width : width + len(bias)] = first[:, n_node : 2 * n_node]
    project_bias[: len(bias)] = bias
    layers = [_Layer(None, bias, *_norm(shape, weights, prefix, 0), shape.activation)]
    for i in range(1, len(shape.widths)):
        weight, bias = (weights[f"{prefix}layers.{i}.{part}"] for part in ("weight", "bias"))
        layers.append(_Layer(weight, bias, *_norm(shape, weights, prefix, i), shape.activation))
    return EdgePerceptron(
        _pack([_Layer(project, project_bias, None, None, None)]),
        _pad(first[:, 2 * n_node :]),
        _pack([*layers, *_last(shape, weights, prefix)]),
    )


class _Layer(NamedTuple):
    weight: Array | None
    bias: Array
    gain: Array | None
    shift: Array | None
    activation: str | None


def _norm(
    shape: Perceptron, weights: Mapping[str, Array], prefix: str, i: int
) -> tuple[Array | None, Array | None]:
    if not shape.norm:
        return None, None
    return weights[f"{prefix}norms.{i}.weight"], weights[f"{prefix}norms.{i}.bias"]


def _last(shape: Perceptron, weights: Mapping[str, Array], prefix: str) -> list[_Layer]:
    if shape.output is None:
        return []
    weight, bias = (weights[f"{prefix}last.{part}"] for part in ("weight", "bias"))
    return [_Layer(weight, bias, None, None, None)]


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
        np.concatenate(values), widths, np.array(starts, np.int64), int(widths[:, :2].max())
    )


@shared
def exp(x: float) -> float:
    """e^x in float32 within 2e-7, from 2^n 2^f with f in +-1/2 by its series."""
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
    """1 / (1 + e^-x)."""
    return f32(1) / (f32(1) + exp(-x))


@shared
def activated(x: float, activation: int) -> float:
    """relu (1), tanh (2), silu (3) or nothing (0)."""
    if activation == 1:
        return max(x, f32(0))
    if activation == 2:
        return f32(2) * sigmoid(f32(2) * x) - f32(1)
    return x * sigmoid(x) if activation == 3 else x


@fused_kernel
def accumulate(weight: Array, x: Array, out: Array) -> None:
    """``out += weight @ x`` for tiles; both sides of ``weight`` are multiples of four."""
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
    """LayerNorm of the first ``n`` values of each row of a tile; ``sums`` is float32[2, TILE]."""
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
    """:func:`activated` of the first ``n`` values of each row of a tile: a loop for each that has
    no branch."""
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
def run_tile(p: Packed, x: Array, spare: Array, sums: Array) -> Array:
    """The perceptron on a tile; the answer is in ``x`` or in ``spare``, whichever is returned."""
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
    """Rows from ``first`` on into a tile, beginning at its row ``at``; beyond the end the last
    one again, so that no lane meets anything that the data do not hold."""
    last = len(rows) - 1
    for lane in range(u64(TILE)):
        row = u64(min(first + np.int64(lane), last))
        for j in range(u64(rows.shape[1])):
            x[u64(at) + j, lane] = rows[row, j]


@fused_kernel
def store_rows(x: Array, rows: Array, first: int) -> None:
    """The opposite of :func:`load_rows`."""
    n = min(TILE, len(rows) - first)
    for lane in range(u64(n)):
        for j in range(u64(rows.shape[1])):
            rows[u64(first) + lane, j] = x[j, lane]


@fused_kernel
def load_edges(
    nodes: Array, source: Array, target: Array, first: int, width: int, x: Array
) -> None:
    """The parts of both nodes of each edge, added: projections as :class:`EdgePerceptron`
    makes them, float32[n, 2 width], into a tile."""
    last = len(source) - 1
    for lane in range(u64(TILE)):
        edge = u64(min(first + np.int64(lane), last))
        s, t = u64(source[edge]), u64(target[edge])
        for j in range(u64(width)):
            x[j, lane] = nodes[s, j] + nodes[t, u64(width) + j]


@fused_kernel
def run_rows(p: Packed, rows: Array, out: Array) -> None:
    """The perceptron on ``rows``, float32[n, inputs], into ``out``, float32[n, outputs]."""
    x = np.zeros((p.width, PITCH), np.float32)
    spare = np.zeros((p.width, PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    inputs = rows.shape[1]
    for first in range(0, len(rows), TILE):
        x[inputs : p.layers[0, 0]] = f32(0)
        load_rows(rows, first, x, 0)
        store_rows(run_tile(p, x, spare, sums), out, first)


@fused_kernel
def run_edges(
    p: EdgePerceptron, nodes: Array, source: Array, target: Array, edges: Array, out: Array
) -> None:
    """The perceptron on edges between ``nodes``, float32[n, inputs], with inputs of their own
    ``edges``, float32[m, k], into ``out``, float32[m, outputs]."""
    width = p.project.layers[0, 1] // 2
    projected = np.empty((len(nodes), 2 * width), np.float32)
    run_rows(p.project, nodes, projected)
    n_tiles_wide = max(p.rest.width, width)
    x = np.zeros((n_tiles_wide, PITCH), np.float32)
    spare = np.zeros((n_tiles_wide, PITCH), np.float32)
    own = np.zeros((p.edge.shape[1], PITCH), np.float32)
    sums = np.empty((2, PITCH), np.float32)
    for first in range(0, len(source), TILE):
        load_edges(projected, source, target, first, width, x)
        if len(own):
            load_rows(edges, first, own, 0)
            accumulate(p.edge, own, x)
        store_rows(run_tile(p.rest, x, spare, sums), out, first)
