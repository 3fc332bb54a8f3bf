"""Sorting and searching in compiled code, on the first ``n`` items of longer arrays."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from .compile import kernel, shared


@kernel
def sort_by(key: NDArray[Any], rows: NDArray[Any], other: NDArray[Any], n: int) -> None:
    """Sort the first ``n`` of ``rows`` by rising ``key[row]``; equal keys keep their order.

    Args:
        key: any type, the key of each row.
        rows: integers, rows of ``key``; they are sorted in place.
        other: work memory like ``rows``.
        n: how many rows to sort.
    """
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            i, middle = start, min(start + width, n)
            j, end = middle, min(start + 2 * width, n)
            for k in range(start, end):
                if j >= end or (i < middle and key[rows[i]] <= key[rows[j]]):
                    other[k] = rows[i]
                    i += 1
                else:
                    other[k] = rows[j]
                    j += 1
        for k in range(n):
            rows[k] = other[k]
        width *= 2


@shared
def lower_bound(values: NDArray[Any], n: int, value: float) -> int:
    """Return how many of the first ``n`` ``values``, in rising order, are less than ``value``."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low
