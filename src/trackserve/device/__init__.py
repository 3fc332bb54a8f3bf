"""Where code runs: how formulas and loops are compiled, and how memory is kept."""

from .compile import LANES, bit, f32, i16, i32, kernel, shared, u32, u64, with_bit
from .memory import keep_freed_memory

__all__ = [
    "LANES",
    "bit",
    "f32",
    "i16",
    "i32",
    "keep_freed_memory",
    "kernel",
    "shared",
    "u32",
    "u64",
    "with_bit",
]
