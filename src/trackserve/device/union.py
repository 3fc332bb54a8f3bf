"""Sets of items that the threads of a kernel unite, on a CUDA device.

``parent`` is int32[n]. At first ``parent[i]`` is ``i``: each item is a set. The root of a set is
its first item.
"""

from __future__ import annotations

from typing import Any

from numba import cuda

from .cuda import device_function


@device_function
def find_root(parent: Any, i: int) -> int:
    """Return the first item of the set of item ``i``.

    It does not shorten the path, as a CPU may: other threads unite sets at the same time.
    """
    while parent[i] != i:
        i = parent[i]
    return i


@device_function
def unite(parent: Any, i: int, j: int) -> None:
    """Unite the sets of items ``i`` and ``j``: the later root gets the earlier one as parent."""
    while True:
        i, j = find_root(parent, i), find_root(parent, j)
        if i == j:
            return
        if i < j:
            i, j = j, i
        old = cuda.atomic.min(parent, i, j)
        if old == i:
            return
        i = old  # another thread was faster: the parent that it gave to i belongs to this set, too
