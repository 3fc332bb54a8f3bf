"""Exa.TrkX on a CUDA device: a module per stage, named as on a CPU.

Each stage works on a whole batch of events. Its kernels have the formulas of the CPU's module
of the same name; the networks, and sorting, are PyTorch's, on the same memory and stream.
"""

from .pipeline import CudaExatrkx

__all__ = ["CudaExatrkx"]
