"""Exa.TrkX on a CUDA device: one module per stage, with the same name as on a CPU.

Each stage works on a whole batch of events. Its kernels have the formulas of the CPU's module of
the same name. PyTorch sorts, and runs networks that are too wide for the kernels, on the same
memory and the same stream.
"""

from .pipeline import CudaExatrkx

__all__ = ["CudaExatrkx"]
