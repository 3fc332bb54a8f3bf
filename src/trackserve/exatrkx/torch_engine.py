"""The networks on a device of PyTorch: the plain modules, over a whole batch at a time."""

from __future__ import annotations

import numpy as np
import torch

from ..edm.columns import Array
from ..errors import InputError
from .model import Model

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_FILTER_EDGES = 1 << 20
"""That the filter judges at once, to bound its memory."""


class TorchEngine:
    """The networks on ``device``; sums over edges may differ in their last bits between runs.

    With a precision below fp32 the matrix products of filter and graph network take it; the
    states of nodes and edges, norms and sums remain fp32, and so does the embedding, whose
    distances need it.

    Raises:
        InputError: there is no such device.
    """

    def __init__(self, model: Model, device: str, precision: str = "fp32") -> None:
        try:
            self._device = torch.device(device)
            torch.empty(1, device=self._device).cpu()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise InputError("no such device", found=device, reason=reason) from None
        self._dtype = _DTYPES[precision]
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
            with self._reduced():
                logits.append(self._array(self._networks.filter(x, *arguments)))
        return np.concatenate(logits)

    def gnn(self, nodes: Array, source: Array, target: Array, edges: Array) -> Array:
        arguments = (self._tensor(array) for array in (nodes, source, target, edges))
        with self._reduced():
            return self._array(self._networks.gnn(*arguments))

    def _reduced(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, self._dtype, enabled=self._dtype is not torch.float32
        )

    def _tensor(self, array: Array) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)

    def _array(self, tensor: torch.Tensor) -> Array:
        return tensor.float().contiguous().cpu().numpy()
