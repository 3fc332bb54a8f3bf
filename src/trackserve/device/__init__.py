"""Where code runs: how formulas and loops are compiled."""

from .compile import f32, i32, kernel, shared, u64

__all__ = ["f32", "i32", "kernel", "shared", "u64"]
