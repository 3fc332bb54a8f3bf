"""The networks on a device of PyTorch: the plain modules, over a whole batch at a time."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from trackserve.edm.columns import Array
from trackserve.errors import InputError

from .model import Model

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FILTER_EDGES = 1 << 20
"""That the filter judges at once, to bound its memory."""


def find_device(name: str) -> torch.device:
    """The device of PyTorch that is called ``name``.

    Raises:
        InputError: there is no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("no such device", found=name, reason=reason) from None
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


class TorchNetworks:
    """The networks on tensors of ``device``; sums over edges may differ in their last bits
    between runs.

    With a precision below fp32 the matrix products of filter and graph network take it; the
    states of nodes and edges, norms and sums remain fp32, and so does the embedding, whose
    distances need it.
    """

    def __init__(self, model: Model, device: torch.device, precision: str) -> None:
        self._device = device
        self._dtype = _DTYPES[precision]
        self._networks = model.networks()
        for network in self._networks:
            network.eval().requires_grad_(False).to(device)

    def embed(self, nodes: Tensor) -> Tensor:
        return cast(Tensor, self._networks.embedding(nodes))

    def filter(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        with self._reduced():
            return cast(Tensor, self._networks.filter(nodes, source, target, edges)).float()

    def gnn(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        with self._reduced():
            return cast(Tensor, self._networks.gnn(nodes, source, target, edges)).float()

    def _reduced(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, self._dtype, enabled=self._dtype is not torch.float32
        )


class TorchEngine:
    """:class:`TorchNetworks` on numpy's arrays.

    Raises:
        InputError: there is no such device.
    """

    def __init__(self, model: Model, device: str, precision: str = "fp32") -> None:
        self._device = find_device(device)
        self._networks = TorchNetworks(model, self._device, precision)

    def embed(self, nodes: Array) -> Array:
        return self._array(self._networks.embed(self._tensor(nodes)))

    def filter(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        x = self._tensor(nodes)
        logits = [np.empty(0, np.float32)]
        for first in range(0, len(source), FILTER_EDGES):
            part = slice(first, first + FILTER_EDGES)
            arguments = (self._tensor(array[part]) for array in (source, target, edges))
            logits.append(self._array(self._networks.filter(x, *arguments)))
        return np.concatenate(logits)

    def gnn(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        arguments = (self._tensor(array) for array in (nodes, source, target, edges))
        return self._array(self._networks.gnn(*arguments))

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _array(self, tensor: Tensor) -> Array:
        return tensor.contiguous().cpu().numpy()
