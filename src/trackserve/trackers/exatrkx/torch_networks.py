"""The networks on a device of PyTorch: the modules of :mod:`.modules`, over a whole batch."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from trackserve.edm.columns import Array
from trackserve.errors import InputError

from .model import Model
from .modules import modules_of
from .perceptrons import NetworkGraph

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
FILTER_EDGES = 1 << 20
"""Most edges that the filter takes at a time; it bounds the memory that the filter needs."""


def find_device(name: str) -> torch.device:
    """Return the device that PyTorch calls ``name``.

    Raises:
        InputError: PyTorch has no such device here.
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


class TensorNetworks:
    """The networks on tensors of ``device``.

    Sums over edges may differ in their last bits from run to run. With a precision below fp32,
    the matrix products of filter and graph network have that precision. The states of nodes and
    edges, norms and sums stay fp32. So does the embedding, because distances need it.
    """

    def __init__(self, model: Model, device: torch.device, precision: str) -> None:
        self._device = device
        self._dtype = _DTYPES[precision]
        self._modules = modules_of(model)
        for module in self._modules:
            module.eval().requires_grad_(False).to(device)

    def embed(self, nodes: Tensor) -> Tensor:
        return cast(Tensor, self._modules.embedding(nodes))

    def filter(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        with self._reduced():
            return cast(Tensor, self._modules.filter(nodes, source, target, edges)).float()

    def gnn(self, nodes: Tensor, source: Tensor, target: Tensor, edges: Tensor) -> Tensor:
        with self._reduced():
            return cast(Tensor, self._modules.gnn(nodes, source, target, edges)).float()

    def _reduced(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, self._dtype, enabled=self._dtype is not torch.float32
        )


class TorchNetworks:
    """:class:`TensorNetworks` on arrays of numpy.

    Raises:
        InputError: the device does not exist.
    """

    def __init__(self, model: Model, device: str, precision: str = "fp32") -> None:
        self._device = find_device(device)
        self._networks = TensorNetworks(model, self._device, precision)

    def embed(self, nodes: Array) -> Array:
        return self._array(self._networks.embed(self._tensor(nodes)))

    def filter(self, graph: NetworkGraph) -> Array:
        nodes = self._tensor(graph.nodes)
        logits = [np.empty(0, np.float32)]
        for first in range(0, len(graph.source), FILTER_EDGES):
            part = slice(first, first + FILTER_EDGES)
            edges = (self._tensor(array[part]) for array in graph[1:])
            logits.append(self._array(self._networks.filter(nodes, *edges)))
        return np.concatenate(logits)

    def gnn(self, graph: NetworkGraph) -> Array:
        return self._array(self._networks.gnn(*(self._tensor(array) for array in graph)))

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    def _array(self, tensor: Tensor) -> Array:
        return tensor.contiguous().cpu().numpy()
