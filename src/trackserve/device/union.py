"""Sets of items that kernels unite, however many threads do it at a time.

``parent``, int32[n], is at first ``parent[i] = i``; the root of a set is its first item.
"""

from __future__ import annotations

from typing import Any

from numba import cuda

from .cuda import device_function


@device_function
def find_root(parent: Any, i: int) -> int:
    """The first item of a set. (Halving paths, as on a CPU, would race with uniting.)"""
    while parent[i] != i:
        i = parent[i]
    return i


@device_function
def unite(parent: Any, i: int, j: int) -> None:
    """Hang the later root below the earlier one."""
    while True:
        i, j = find_root(parent, i), find_root(parent, j)
        if i == j:
            return
        if i < j:
            i, j = j, i
        old = cuda.atomic.min(parent, i, j)
        if old == i:
            return
        i = old  # another thread was faster: what it hung i below belongs here as well
