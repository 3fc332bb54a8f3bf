"""The networks on a device of PyTorch: the plain modules, over a whole batch at a time."""

from __future__ import annotations

import numpy as np
import torch

from ..edm.columns import Array
from ..errors import InputError
from .model import Model

_FILTER_EDGES = 1 << 20
"""That the filter judges at once, to bound its memory."""


class TorchEngine:
    """The networks on ``device``; sums over edges may differ in their last bits between runs.

    Raises:
        InputError: there is no such device.
    """

    def __init__(self, model: Model, device: str) -> None:
        try:
            self._device = torch.device(device)
            torch.empty(1, device=self._device).cpu()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise InputError("no such device", found=device, reason=reason) from None
        self._networks = model.networks()
        for network in self._networks:
            network.eval().requires_grad_(False).to(self._device)

    def embed(self, nodes: Array) -> Array:
        return self._array(self._networks.embedding(self._tensor(nodes)))

    def filter(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        x = self._tensor(nodes)
        logits = [np.empty(0, np.float32)]
        for first in range(0, len(source), _FILTER_EDGES):
            part = slice(first, first + _FILTER_EDGES)
            arguments = (self._tensor(array[part]) for array in (source, target, edges))
            logits.append(self._array(self._networks.filter(x, *arguments)))
        return np.concatenate(logits)

    def gnn(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        arguments = (self._tensor(array) for array in (nodes, source, target, edges))
        return self._array(self._networks.gnn(*arguments))

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)

    def _array(self, tensor: torch.Tensor) -> Array:
        return tensor.contiguous().cpu().numpy()
