"""Arrays of Numba as tensors of PyTorch, on the same memory and the same stream."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trackserve.device.cuda import Device


def tensor(device: Device, array: Any, n: int) -> Tensor:
    """Return the first ``n`` rows of a device array as a tensor on the same memory."""
    where = "cpu" if device.stream is None else torch.device("cuda", torch.cuda.current_device())
    return torch.as_tensor(array, device=where)[:n]


@contextlib.contextmanager
def on_stream(device: Device, where: torch.device) -> Iterator[None]:
    """Let PyTorch work on the stream of ``device`` inside a ``with`` block.

    Args:
        device: the device.
        where: the same device, to PyTorch.
    """
    if device.stream is None:
        yield
        return
    external: Any = torch.cuda.ExternalStream
    # PyTorch's device first: at its end PyTorch sets the current device, but Numba pushes and pops
    with (
        torch.cuda.device(where),
        device.current(),
        torch.cuda.stream(external(device.stream, device=where)),
    ):
        yield
