"""What imports of published networks share: weights by our names, and what a file may stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import ModelError

from .architecture import Activation
from .network_files import Layer

ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
INPUTS = ("r", "phi", "z")
"""Inputs of a point of all published networks."""


class Candidate(NamedTuple):
    """A network that a file may stand for.

    Attributes:
        spec: its architecture.
        weights: float32 arrays by our names.
    """

    spec: Any
    weights: Mapping[str, Array]


def renamed(layers: Sequence[Layer], prefix: str, has_last: bool, path: str) -> dict[str, Array]:
    """Return the weights of a perceptron by our names.

    Args:
        layers: its layers.
        prefix: beginning of the names.
        has_last: whether the last layer is only linear.
        path: the file, for the error.

    Raises:
        ModelError: the last layer is not only linear.
    """
    hidden = layers[:-1] if has_last else layers
    if has_last and layers[-1].norm is not None:
        raise ModelError("the last layer has a LayerNorm", file=path, at=prefix)
    weights: dict[str, Array] = {}
    for i, layer in enumerate(hidden):
        weights |= _pair(f"{prefix}layers.{i}", layer.linear)
        if layer.norm is not None:
            weights |= _pair(f"{prefix}norms.{i}", layer.norm)
    if has_last:
        weights |= _pair(f"{prefix}last", layers[-1].linear)
    return weights


def reordered(layers: Sequence[Layer], parts: Sequence[slice]) -> list[Layer]:
    """Return the layers with the inputs of the first one in another order.

    Args:
        layers: of a perceptron.
        parts: places of the inputs in the published order, in our order.
    """
    weight, bias = layers[0].linear
    weight = np.concatenate([weight[:, part] for part in parts], axis=1)
    return [layers[0]._replace(linear=(weight, bias)), *layers[1:]]


def swapped(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers of a perceptron on both nodes of an edge with the nodes exchanged."""
    half = layers[0].linear[0].shape[1] // 2
    return reordered(layers, [slice(half, None), slice(half)])


def _pair(name: str, pair: tuple[Array, Array]) -> dict[str, Array]:
    return {f"{name}.weight": pair[0], f"{name}.bias": pair[1]}
