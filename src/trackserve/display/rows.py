"""Which hits belong to a particle."""

from __future__ import annotations

import numpy as np

from trackserve.edm.columns import OFFSET, Array, Ragged


def grouped(owner: Array, n: int) -> Ragged:
    """The rows of each of ``n`` owners.

    Args:
        owner: int[rows], owner of each row; -1 for none.
        n: number of owners.
    """
    return _by_owner(owner, n, np.argsort(owner, kind="stable"))


def outward(owner: Array, position: Array, start: Array) -> Ragged:
    """The rows of each owner, by their distance from where it starts.

    Args:
        owner: int[rows], owner of each row; -1 for none.
        position: float[rows, 3].
        start: float[owners, 3].
    """
    distance = np.zeros(len(owner))
    mine = owner >= 0
    distance[mine] = np.linalg.norm(position[mine] - start[owner[mine]], axis=1)
    return _by_owner(owner, len(start), np.lexsort((distance, owner)))


def _by_owner(owner: Array, n: int, order: Array) -> Ragged:
    offsets = np.zeros(n + 1, OFFSET)
    offsets[1:] = np.cumsum(np.bincount(owner[owner >= 0], minlength=n))
    return Ragged(offsets, order[owner[order] >= 0].astype(np.int32))
