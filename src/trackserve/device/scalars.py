"""Scalar types of compiled code; constants of these types need no compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

f32: Any = np.float32
i16: Any = np.int16
i32: Any = np.int32
u8: Any = np.uint8
u32: Any = np.uint32
u64: Any = np.uint64
"""An unsigned index is not tested for being negative: so the compiler can vectorise the innermost
loops."""
