"""Large work arrays that one event after the other uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .lanes import ITEM, LINE

Array = NDArray[Any]

MOST_KEPT = 256 << 20
"""Bytes that one event may leave to the next one."""


class Reserve:
    """Memory for arrays of float32 that lasts from event to event.

    The allocator gives blocks of more than 32 MiB back to the system. Then the next event would
    wait until the system has filled every page with zeros. Here as many blocks remain as there were
    events at the same time.
    """

    def __init__(self) -> None:
        self._free: list[Array] = []

    @contextmanager
    def lend(self, *shapes: tuple[int, int]) -> Iterator[list[Array]]:
        """Lend arrays of these shapes; each begins with a line of the cache and has any values."""
        sizes = [-(-rows * columns // LINE) * LINE for rows, columns in shapes]
        wanted = sum(sizes) + LINE
        try:
            memory = self._free.pop()
        except IndexError:
            memory = np.empty(0, np.float32)
        if len(memory) < wanted:
            del memory
            memory = np.empty(wanted, np.float32)
        place = -memory.ctypes.data // ITEM % LINE
        arrays = []
        for (rows, columns), size in zip(shapes, sizes, strict=True):
            arrays.append(memory[place : place + rows * columns].reshape(rows, columns))
            place += size
        try:
            yield arrays
        finally:
            if memory.nbytes <= MOST_KEPT:
                self._free.append(memory)
