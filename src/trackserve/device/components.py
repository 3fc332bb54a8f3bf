"""Connected components of a graph, on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compile import kernel

Array = NDArray[Any]


def connected_components(n_points: int, source: Array, target: Array) -> Array:
    """Return the component of every point, isolated points included.

    Args:
        n_points: number of points.
        source, target: integer[m], the two points of each edge.

    Returns:
        int64[n_points]; components have numbers from 0, in the order of their first points.
    """
    return _components(
        n_points,
        np.ascontiguousarray(source, np.int32),
        np.ascontiguousarray(target, np.int32),
    )


@kernel
def _components(n_points: int, source: Array, target: Array) -> Array:
    parent = np.arange(n_points).astype(np.int32)
    for e in range(len(source)):
        a, b = source[e], target[e]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        # the smaller one is the root: then a root is the first point of its component
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    labels = np.empty(n_points, np.int64)
    n = 0
    for i in range(n_points):
        if parent[i] == i:
            labels[i] = n
            n += 1
        else:
            labels[i] = labels[parent[i]]
    return labels
