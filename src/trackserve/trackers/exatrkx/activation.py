"""Activations, by the number that a packed layer has for them."""

from __future__ import annotations

import math

import numpy as np

from trackserve.device.compile import f32, fused_kernel, i32, shared, u64, wide_vectors
from trackserve.device.lanes import TILE
from trackserve.edm.columns import Array


@shared
def exp(x: float) -> float:
    """Return e^x in float32, to within 2e-7: 2^n times the series of 2^f, with f in +-1/2."""
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
    """Return 1 / (1 + e^-x)."""
    return f32(1) / (f32(1) + exp(-x))


@shared
def activated(x: float, activation: int) -> float:
    """Return relu (1), tanh (2) or silu (3) of ``x``, or ``x`` itself (0)."""
    if activation == 1:
        return max(x, f32(0))
    if activation == 2:
        return f32(2) * sigmoid(f32(2) * x) - f32(1)
    return x * sigmoid(x) if activation == 3 else x


@fused_kernel
def activate(x: Array, first: int, n: int, activation: int) -> None:
    """Apply :func:`activated` to ``n`` rows of a tile, from row ``first`` on.

    Each activation has its own loop, without a branch inside.
    """
    wide_vectors()
    if activation == 1:
        for j in range(u64(first), u64(first) + u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 1)
    elif activation == 2:
        for j in range(u64(first), u64(first) + u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 2)
    elif activation == 3:
        for j in range(u64(first), u64(first) + u64(n)):
            for lane in range(u64(TILE)):
                x[j, lane] = activated(x[j, lane], 3)
