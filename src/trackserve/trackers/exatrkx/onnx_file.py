"""Networks in ONNX files: their weights by name, and the graph, run by ONNX' own evaluator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trackserve.edm.columns import Array
from trackserve.errors import MissingExtraError
from trackserve.install import install_command

_WEIGHT = re.compile(r"(.*\d+)\.(weight|bias)")
_SUMS = ("Gemm", "MatMul", "Add")
"""What makes up a linear layer."""


def read_onnx(
    path: Path,
) -> tuple[dict[str, Array], Any, Mapping[str, Any], set[str]]:
    """Read a file whose weights have the names that they had in PyTorch.

    Returns:
        float32 arrays by name; a function from tensors to the first output; no settings; and the
        names of the linear layers that a LayerNorm without named weights follows.

    Raises:
        MissingExtraError: the package onnx is not installed.
    """
    try:
        import onnx
        from onnx.reference import ReferenceEvaluator
    except ImportError:
        needs = f"to read ONNX files, onnx is needed: {install_command('onnx')}"
        raise MissingExtraError(needs) from None
    model = onnx.load(str(path))
    arrays = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    weights = {
        name: array.astype(np.float32) for name, array in arrays.items() if _WEIGHT.fullmatch(name)
    }
    weights |= _transposed(model.graph, arrays, weights)
    evaluator: Any = ReferenceEvaluator(model)
    names = [one.name for one in model.graph.input if one.name not in arrays]

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        given = zip(names, tensors, strict=True)
        answer = evaluator.run(None, {name: tensor.numpy() for name, tensor in given})[0]
        return torch.from_numpy(np.asarray(answer))

    return weights, run, {}, _followed_by_norm(model.graph, weights)


def _transposed(
    graph: Any, arrays: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
    """Weights that were stored transposed, without their names: those of their biases tell them."""
    products = {
        node.output[0]: node.input[1]
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in arrays and node.input[1] not in weights
    }
    found = {}
    for node in graph.node:
        if node.op_type == "Add":
            for product, bias in (node.input, reversed(node.input)):
                match = _WEIGHT.fullmatch(bias)
                if product in products and match and match[2] == "bias":
                    weight = arrays[products[product]]
                    found[f"{match[1]}.weight"] = np.ascontiguousarray(weight.T, np.float32)
    return found


def _followed_by_norm(graph: Any, weights: Mapping[str, Array]) -> set[str]:
    """Names of the linear layers that a LayerNorm without named weights follows."""
    layer_of: dict[str, str] = {}
    followed = set()
    for node in graph.node:
        mine = next((found for found in map(layer_of.get, node.input) if found), None)
        if node.op_type in _SUMS:
            names = (_WEIGHT.fullmatch(name) for name in node.input if name in weights)
            mine = next((match[1] for match in names if match), mine)
            if mine:
                layer_of[node.output[0]] = mine
        elif mine and node.op_type == "LayerNormalization" and node.input[1] not in weights:
            followed.add(mine)
    return followed
