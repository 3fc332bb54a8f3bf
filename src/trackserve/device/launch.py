"""Fast launches of kernels that were launched before.

At each launch Numba finds the type of each array in the arguments, and makes a description of it.
A pipeline passes about a thousand arrays per batch. The arrays stay from batch to batch. So here
each array keeps its description, and the types in the descriptions tell which compiled kernel to
launch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from cuda.core import LaunchConfig, Stream, launch
from numba.cuda.cudadrv.devicearray import DeviceNDArray
from numba.cuda.typing.typeof import Purpose, typeof

_SCALARS: dict[type, Callable[[Any], Any]] = {
    bool: bool,
    int: ctypes.c_int64,
    float: ctypes.c_double,
    np.float32: ctypes.c_float,
    np.int32: ctypes.c_int32,
    np.int64: ctypes.c_int64,
}


class Launcher:
    """Function that launches kernels on one stream.

    Numba does the first launch of a kernel with arguments of some types. If Numba makes the same
    parameters of them as this class, later launches go past Numba. Otherwise Numba does all.

    Args:
        stream: a stream of Numba.
        n_threads: threads of a block.
    """

    def __init__(self, stream: Any, n_threads: int) -> None:
        self._stream = stream
        self._core_stream = Stream.from_handle(int(stream))
        self._n_threads = n_threads
        self._compiled: dict[tuple[Any, ...], Any] = {}

    @property
    def past_numba(self) -> str:
        """Number of kernels, by types of arguments, that are launched past Numba, as text."""
        n = sum(compiled is not None for compiled in self._compiled.values())
        return f"{n} of {len(self._compiled)}"

    def __call__(self, kernel: Any, n_blocks: int, arguments: tuple[Any, ...]) -> None:
        """Start ``kernel`` with ``n_blocks`` blocks; do not wait for it."""
        types, parameters = flatten(arguments)
        key = (kernel, *types)
        compiled = self._compiled.get(key)
        if compiled is not None:
            config = LaunchConfig(grid=n_blocks, block=self._n_threads)
            launch(self._core_stream, config, compiled, *parameters)
            return
        kernel[n_blocks, self._n_threads, self._stream](*arguments)
        if key not in self._compiled:
            self._compiled[key] = _compiled(kernel, arguments, parameters)


def flatten(arguments: tuple[Any, ...]) -> tuple[list[Any], list[Any]]:
    """Return what identifies the types of arguments, and the parameters of the kernel for them."""
    types: list[Any] = []
    parameters: list[Any] = []
    _add(arguments, types, parameters)
    return types, parameters


def _add(values: tuple[Any, ...], types: list[Any], parameters: list[Any]) -> None:
    for value in values:
        if isinstance(value, DeviceNDArray):
            known = getattr(value, "_description", None)
            if known is None:
                known = value._description = _describe(value)
            types.append(known[0])
            parameters += known[1]
        elif isinstance(value, tuple):
            types.append((type(value), len(value)))
            _add(value, types, parameters)
        else:
            kind = type(value)
            types.append(kind)
            parameters.append(_SCALARS[kind](value))


def _describe(array: Any) -> tuple[Any, list[int]]:
    """Return the type of an array, and its parameters.

    These are 0 for the reference count, 0 for the owner, then the size, the bytes of an item, the
    address, the shape and the strides.
    """
    kind = array.dtype, array.ndim, array.is_c_contiguous()
    address = array.device_ctypes_pointer.value or 0
    parameters = [0, 0, array.size, array.dtype.itemsize, address, *array.shape, *array.strides]
    return kind, parameters


def _compiled(kernel: Any, arguments: tuple[Any, ...], parameters: list[Any]) -> Any:
    """Return the kernel that Numba has launched; None if Numba makes other parameters than ours."""
    try:
        types = tuple(typeof(value, Purpose.argument) for value in arguments)
        overload = kernel.overloads[types]
        theirs: list[Any] = []
        for kind, value in zip(types, arguments, strict=True):
            overload._prepare_args(kind, value, 0, [], theirs)
        same = [_plain(p) for p in theirs] == [_plain(p) for p in parameters]
        return overload._codelibrary.get_cufunc().kernel if same else None
    except (AttributeError, KeyError, TypeError):  # this version of Numba has other internals
        return None


def _plain(parameter: Any) -> tuple[Any, Any]:
    """Return the ctypes type of a parameter, or None, and its value."""
    value = getattr(parameter, "value", parameter)
    return (type(parameter) if value is not parameter else None), value
