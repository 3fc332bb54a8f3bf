"""The Patatrack pipeline on a CUDA device: a module per stage, named as on a CPU.

Each stage launches its kernels over a whole batch of events; its formulas are those of the
CPU's module of the same name.
"""

from .pipeline import CudaPatatrack

__all__ = ["CudaPatatrack"]
