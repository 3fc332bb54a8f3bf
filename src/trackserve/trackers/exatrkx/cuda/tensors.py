"""Numba's arrays as PyTorch's tensors: the same memory, and the same stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trackserve.device.cuda import Device


def tensor(device: Device, array: Any, n: int) -> Tensor:
    """The first ``n`` rows of a device array, as a tensor on the same memory."""
    where = "cpu" if device.stream is None else torch.device("cuda", torch.cuda.current_device())
    return torch.as_tensor(array, device=where)[:n]


@contextlib.contextmanager
def on_stream(device: Device, where: torch.device) -> Iterator[None]:
    """Inside it, PyTorch works on the stream of ``device``, which is the CUDA device ``where``."""
    if device.stream is None:
        yield
        return
    external: Any = torch.cuda.ExternalStream
    # PyTorch's device first: leaving that, it sets what is current, where Numba pushes and pops
    with (
        torch.cuda.device(where),
        device.current(),
        torch.cuda.stream(external(device.stream, device=where)),
    ):
        yield
