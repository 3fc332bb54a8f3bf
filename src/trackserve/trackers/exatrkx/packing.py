"""The weights of perceptrons as the compiled loops take them.

Widths are padded with zeros to a multiple of four: a product makes four outputs at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array

from .architecture import Perceptron

RELU = 1
_ACTIVATIONS = {None: 0, "relu": RELU, "tanh": 2, "silu": 3}


class Packed(NamedTuple):
    """A perceptron as the compiled loops take it.

    Attributes:
        values: float32[n], all weights, with padded widths.
        layers: int64[n_layers, 5], for each layer its padded inputs, padded outputs, outputs,
            activation (see :func:`.activation.activated`) and whether it normalises. A layer with
            0 inputs has no product: it only normalises and activates.
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
