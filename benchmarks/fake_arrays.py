"""Device arrays without a device: what Numba asks of them before a launch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numba.cuda.cudadrv.devicearray import DeviceNDArray


def fake_array(shape: Any, dtype: Any, address: int = 1 << 20, step: int = 1) -> Any:
    """Every ``step``-th row of an array at ``address``."""
    like = np.empty(shape, dtype)[::step]
    memory = SimpleNamespace(device_ctypes_pointer=SimpleNamespace(value=address))
    return DeviceNDArray(like.shape, like.strides, like.dtype, gpu_data=memory)
