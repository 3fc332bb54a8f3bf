"""Sorting and searching in compiled code, on the first ``n`` items of longer arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compile import i32, kernel, shared, u64


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


_FEW = 32
"""Rows of a bucket up to which an insertion sort is faster than merging."""


@kernel
def sort_spread(
    key: NDArray[Any], rows: NDArray[Any], other: NDArray[Any], low: float, high: float
) -> None:
    """Sort ``rows`` by rising ``key[row]``; equal keys keep their order.

    It takes a time that grows as the number of rows, if the keys are spread between ``low`` and
    ``high``. As many buckets as rows come in order; then each row goes back to its place, which
    is near.

    Args:
        key: floats, the key of each row.
        rows: integers, rows of ``key``; they are sorted in place.
        other: work memory like ``rows``.
        low, high: where the keys lie; others are sorted too.
    """
    n = len(rows)
    scale = n / (high - low)
    start = np.zeros(n + 2, np.int32)
    for i in range(u64(n)):
        start[_bucket(key[u64(rows[i])], low, scale, n) + u64(2)] += 1
    most = i32(0)
    for b in range(u64(n)):
        most = max(most, start[b + u64(1)])
        start[b + u64(1)] += start[b]
    for i in range(u64(n)):
        b = _bucket(key[u64(rows[i])], low, scale, n) + u64(1)
        other[u64(start[b])] = rows[i]
        start[b] += 1
    if most > _FEW:
        for b in range(n):
            first, end = start[b], start[b + 1]
            if end - first > _FEW:
                sort_by(key, other[first:end], rows[first:end], end - first)
    for i in range(u64(n)):  # all at once: how many are in a bucket cannot be predicted
        row, place = other[i], i
        while place > u64(0) and key[u64(rows[place - u64(1)])] > key[u64(row)]:
            rows[place] = rows[place - u64(1)]
            place -= u64(1)
        rows[place] = row


@shared
def _bucket(key: float, low: float, scale: float, n: int) -> int:
    """Return the bucket, of ``n``, of a key; a higher key has no lower bucket."""
    return u64(min(max((key - low) * scale, 0.0), n - 1.0))


@shared
def lower_bound(values: NDArray[Any], n: int, value: float) -> int:
    """Return how many of the first ``n`` ``values``, in rising order, are less than ``value``.

    It has no branch, since a processor cannot predict where a value is.
    """
    low, left = u64(0), u64(n)
    while left > u64(0):
        half = (left + u64(1)) >> u64(1)
        low += half * u64(values[low + half - u64(1)] < value)
        left -= half
    return low
