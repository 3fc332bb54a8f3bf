"""Numba's simulator of a GPU, with many changes of thread and with shared memory that is shared.

Where several threads ask for an array of shared memory at the same time, the simulator
(numba-cuda 0.30.4) may give each its own.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numba.cuda.simulator.kernelapi import FakeCUDAShared

from trackserve.device.cuda import SIMULATED


def _array(self: Any, shape: Any, dtype: Any, alignment: int | None = None) -> Any:
    frame = sys._getframe(1)
    return self._allocations.setdefault((frame.f_code, frame.f_lineno), np.empty(shape, dtype))


def prepare() -> None:
    """Call it once, before the first kernel."""
    assert SIMULATED
    sys.setswitchinterval(1e-5)  # a barrier takes this long
    FakeCUDAShared.array = _array
