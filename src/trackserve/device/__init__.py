"""Where code runs: how formulas and loops are compiled."""

from .compile import kernel, shared

__all__ = ["kernel", "shared"]
