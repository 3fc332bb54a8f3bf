"""Where code runs: how formulas and loops are compiled."""

from .compile import (
    LANES,
    bit,
    f32,
    fused_kernel,
    i16,
    i32,
    kernel,
    shared,
    u32,
    u64,
    wide_vectors,
    with_bit,
)
from .sort import lower_bound, sort_by

__all__ = [
    "LANES",
    "bit",
    "f32",
    "fused_kernel",
    "i16",
    "i32",
    "kernel",
    "lower_bound",
    "shared",
    "sort_by",
    "u32",
    "u64",
    "wide_vectors",
    "with_bit",
]
