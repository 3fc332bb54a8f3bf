"""CUDA kernels compiled for a CPU, as a grid of one thread: whole events in a second.

It shows that counting, scanning and filling agree and that nothing is read before it is
written; what threads do to each other is for the simulator, and PTX for the compiler.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numba import cuda, njit
from numba.cuda import libdevice
from numba.cuda.dispatcher import CUDADispatcher

from trackserve.device import cuda as layer
from trackserve.device.cache import of_these_sources
from trackserve.device.compile import of_any_number
from trackserve.edm.columns import Array
from trackserve.trackers.exatrkx.cuda import perceptrons

_GARBAGE = 0xCD


class Place(NamedTuple):
    x: int


@njit
def grid(dimensions: int) -> int:
    return 0


@njit
def gridsize(dimensions: int) -> int:
    return 1


@njit
def syncthreads() -> None:
    pass


@njit
def syncthreads_or(value: int) -> int:
    return value


@njit
def array(shape: Any, dtype: Any, alignment: int = 1) -> Array:
    return np.empty(shape, dtype)


@njit
def add(values: Array, i: int, value: int) -> Any:
    old = values[i]
    values[i] += value
    return old


@njit
def minimum(values: Array, i: int, value: int) -> Any:
    old = values[i]
    values[i] = min(old, value)
    return old


@njit
def maximum(values: Array, i: int, value: float) -> Any:
    old = values[i]
    values[i] = max(old, value)
    return old


@njit
def fmul_rn(a: float, b: float) -> float:
    return a * b


def _module(**names: Any) -> ModuleType:
    module = ModuleType("one_thread")
    vars(module).update(names)
    return module


_CUDA = _module(
    grid=grid,
    gridsize=gridsize,
    syncthreads=syncthreads,
    syncthreads_or=syncthreads_or,
    threadIdx=Place(0),
    blockIdx=Place(0),
    blockDim=Place(1),
    gridDim=Place(1),
    atomic=_module(add=add, min=minimum, max=maximum),
    local=_module(array=array),
    shared=_module(array=array),
)
_LIBDEVICE = _module(fmul_rn=fmul_rn)
_STAMP = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
_compiled: dict[Any, Any] = {}


def _compile(kernel: Any) -> Any:
    """The kernel, or a device function, with one thread in place of ``numba.cuda``.

    The code is kept on disk until a source of the kernel, or this file, changes.
    """
    if kernel not in _compiled:
        function = kernel.py_func
        names = dict(function.__globals__)
        for name in function.__code__.co_names:
            if names.get(name) is cuda:
                names[name] = _CUDA
            elif names.get(name) is libdevice:
                names[name] = _LIBDEVICE
            elif isinstance(names.get(name), CUDADispatcher):
                names[name] = _compile(names[name])
        if names["__name__"] == layer.__name__:
            names |= {"THREADS": 1, "TILE": layer.ITEMS}
        if names["__name__"] == perceptrons.__name__:
            names |= {"THREADS": 1, "SHARES": perceptrons.SHARES * layer.THREADS}
        same = FunctionType(function.__code__, names, function.__name__)
        same.__qualname__ = f"one_thread_{_STAMP}_{function.__name__}"
        compiled = njit(error_model="numpy", cache=True)(same)
        _compiled[kernel] = of_any_number(of_these_sources(compiled))
    return _compiled[kernel]


class OneThread(layer.Device):
    """A device of one thread."""

    n_blocks = 1
    stream = None

    def __init__(self) -> None:
        self._number = None
        self._stream: Any = SimpleNamespace(synchronize=lambda: None)
        self._arrays: dict[str, Any] = {}
        self._pinned: dict[str, Array] = {}
        self.synchronisations = 0

    def launch_blocks(self, kernel: Any, n: int, *arguments: Any) -> None:
        if n > 0:
            _compile(kernel)(*arguments)

    def scan(self, values: Any, n: int, out: Any) -> None:
        sums = np.empty(-(-n // layer.ITEMS) + 1, np.int32)
        for kernel, given in (
            (layer._sum_tiles, (layer.Values(values, out), n, sums)),
            (layer._scan_sums, (layer.Values(sums, out), len(sums) - 1, n)),
            (layer._scan_tiles, (layer.Values(values, out), n, sums)),
        ):
            self.launch_blocks(kernel, 1, *given)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        values = np.empty(shape, dtype)
        values.view(np.uint8).fill(_GARBAGE)
        return values

    def _allocate_pinned(self, n: int) -> Array:
        return np.empty(n, np.uint8)
