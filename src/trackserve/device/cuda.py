"""One CUDA stream: its memory, copies, launches, scans and sorts.

Kernels take their arrays in named tuples. Memory stays from batch to batch under a name, so an
array may have more rows than are in use. A kernel gets the number of rows, or reads it on the
device. A thread takes items that are one grid apart, so every size of the grid works.

Each array in the arguments of a launch takes time. So a kernel that needs one array of a tuple gets
only that array.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trackserve.errors import InputError, MissingExtraError
from trackserve.install import install_command

from .cache import add_last_place, of_these_sources

try:
    from numba import cuda
    from numba.cuda import libdevice
    from numba.cuda.core import caching, config
except ImportError:
    raise MissingExtraError(
        f"to reconstruct on a GPU, numba-cuda is needed: {install_command('gpu')}"
    ) from None

# numba-cuda 0.30.4 needs it when it first compiles, but numpy 2.5 does not have it
vars(np).setdefault("row_stack", np.vstack)
add_last_place(caching)

SIMULATED = bool(config.ENABLE_CUDASIM)
"""Whether kernels run in Numba's simulator, where each thread is one of Python."""
THREADS = 4 if SIMULATED else 256
"""Threads of a block."""
ITEMS = 8
"""Items that a thread adds up in a scan: a sector of memory."""
TILE = ITEMS * THREADS
"""Items that a block adds up at a time in a scan."""
LARGEST = 0x7FFFFFFF
"""Largest sum of :meth:`Device.scan`; a sum that is larger becomes this."""
_MAX_BLOCKS = 2 if SIMULATED else 4096
_ALIGNMENT = 256

config.CUDA_LOW_OCCUPANCY_WARNINGS = 0  # small batches are no mistake
Array = NDArray[Any]
F = TypeVar("F", bound=Callable[..., object])


def choose_device(number: int) -> None:
    """Make a GPU the device "cuda" of this thread, by its number."""
    cuda.select_device(number)
    if torch := sys.modules.get("torch"):
        torch.cuda.set_device(number)


def cuda_kernel(function: F) -> F:
    """Compile a kernel for the device, at its first launch; the code is cached on disk."""
    return cast(F, of_these_sources(cuda.jit(cache=True)(function)))


def tile_kernel(function: F) -> F:
    """Compile a kernel whose blocks keep a tile in registers and in shared memory.

    A multiprocessor has room for few such blocks: the registers are limited so that three fit.
    """
    options = {} if SIMULATED else {"launch_bounds": (THREADS, 3)}
    return cast(F, of_these_sources(cuda.jit(cache=True, **options)(function)))


def device_function(function: F) -> F:
    """Compile a function that kernels call; formulas for every device are ``shared`` instead."""
    return cast(F, cuda.jit(device=True)(function))


def inlined_function(function: F) -> F:
    """Compile a function that is copied into each caller: its arrays then stay in registers."""
    options = {} if SIMULATED else {"forceinline": True}
    return cast(F, cuda.jit(device=True, **options)(function))


class Group(NamedTuple):
    """Items by key.

    Attributes:
        start: int32[keys + 1], where each key's items begin in ``item``.
        item: int32[items].
    """

    start: Any
    item: Any


class Device:
    """A stream of a CUDA device, with its own memory.

    Only one thread at a time may use it. If it has a number, all uses must be inside
    :meth:`current`.

    Args:
        number: number of the device; None: the current device.

    Raises:
        InputError: there is no CUDA device, or no device with that number.
    """

    def __init__(self, number: int | None = None) -> None:
        if not cuda.is_available():
            raise InputError("no CUDA device can be used: see 'trackserve doctor'")
        if number is not None and number >= len(cuda.gpus):
            raise InputError("no such device", found=number, bound=len(cuda.gpus))
        self._number = number
        with self.current():
            self._stream: Any = cuda.stream()
        self._start = _launcher(self._stream)
        self._arrays: dict[str, Any] = {}
        self._pinned: dict[str, Array] = {}
        self.synchronisations = 0
        """Number of times that the host has waited for the device."""

    @property
    def n_blocks(self) -> int:
        """Number of blocks that fill the device some times."""
        if SIMULATED:
            return _MAX_BLOCKS
        return 4 * int(cuda.get_current_device().MULTIPROCESSOR_COUNT)

    @property
    def stream(self) -> int | None:
        """The stream as other libraries take it; None if arrays are numpy's."""
        return None if SIMULATED else int(self._stream)

    @property
    def past_numba(self) -> str:
        """Number of kernels that are launched past Numba, as text: see :mod:`.launch`."""
        return getattr(self._start, "past_numba", "none")

    def current(self) -> AbstractContextManager[Any]:
        """Return a context in which the device is the current one of this thread."""
        if SIMULATED or self._number is None:
            return contextlib.nullcontext()
        return cast(AbstractContextManager[Any], cuda.gpus[self._number])

    def wait(self) -> None:
        """Wait for the device."""
        self._stream.synchronize()
        self.synchronisations += 1

    def release(self) -> None:
        """Wait for the device, then free its memory; resident arrays stay."""
        self.wait()
        self._arrays.clear()

    def array(self, name: str, n: int, dtype: DTypeLike, *row: int) -> Any:
        """Return a device array with at least ``n`` rows; its content is undefined.

        The same name gives the same memory. So a name is for one purpose in a batch.

        Args:
            name: name of the memory.
            n: number of rows.
            dtype: type of the values.
            row: shape of a row.

        Raises:
            OverflowError: the memory of the device is full.
        """
        if name not in self._arrays or self._arrays[name].shape[0] < n:
            self._arrays.pop(name, None)  # first free the shorter array
            shape = (max(1, n + n // 4), *row)
            try:
                self._arrays[name] = self._allocate(shape, np.dtype(dtype))
            except Exception as error:
                if "OUT_OF_MEMORY" not in str(error):
                    raise
                self._arrays.clear()
                raise OverflowError("not enough memory on the device") from error
        return self._arrays[name]

    def table(self, table: Any) -> Any:
        """Copy the arrays of a named tuple to the device, to stay there; keep its scalars."""
        return type(table)(*(self.resident(v) if isinstance(v, np.ndarray) else v for v in table))

    def resident(self, values: Array) -> Any:
        """Copy ``values`` to the device, to stay there."""
        array = self._allocate(values.shape, values.dtype)
        if values.size:
            _copy(array, np.ascontiguousarray(values), self._stream)
            self._stream.synchronize()
        return array

    def upload(self, name: str, values: Array) -> Any:
        """Copy ``values`` to the device array ``name``, through pinned memory; do not wait."""
        target = self.array(name, len(values), values.dtype, *values.shape[1:])
        staged = self.pinned(f"up.{name}", values.nbytes).view(values.dtype)
        staged = staged[: values.size].reshape(values.shape)
        staged[...] = values
        self.send(target, staged)
        return target

    def send(self, target: Any, staged: Array) -> None:
        """Copy pinned memory to the beginning of a device array; do not wait."""
        if len(staged):
            _copy(target[: len(staged)], staged, self._stream)

    def download(self, parts: Mapping[str, tuple[Any, int]]) -> dict[str, Array]:
        """Wait for the device, then return the first rows of arrays.

        Args:
            parts: an array and a number of rows, by name.

        Returns:
            the rows by name, in pinned memory that the next download overwrites.
        """
        sizes = {key: n * _row_bytes(array) for key, (array, n) in parts.items()}
        room = sum(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes.values())
        pinned = self.pinned("down", room)
        place, found = 0, {}
        for key, (array, n) in parts.items():
            values = pinned[place : place + sizes[key]].view(array.dtype)
            found[key] = values.reshape((n, *array.shape[1:]))
            if n:
                _copy(found[key], array[:n], self._stream)
            place += -(-sizes[key] // _ALIGNMENT) * _ALIGNMENT
        self.wait()
        return found

    def read(self, array: Any, index: int) -> int:
        """Wait for the device, then return one value of a one-dimensional array.

        Raises:
            OverflowError: the value is the sum of a scan, and the sum does not fit.
        """
        return total(self.download({"": (array[index:], 1)})[""])

    def gather(self, name: str, values: Any, index: Any, n: int) -> Any:
        """Return ``values[index[i]]`` for i from 0 to ``n`` - 1, int32.

        Args:
            name: name of the memory.
            values: int32.
            index: int32[n].
            n: number of values.
        """
        found = self.array(name, n, np.int32)
        self.launch(_gather, n, Values(values, found), index, n)
        return found

    def pinned(self, name: str, n_bytes: int) -> Array:
        """Return pinned memory, uint8[n_bytes or more]; its content is lost when it grows."""
        found = self._pinned.get(name)
        if found is None or len(found) < n_bytes:
            room = -(-max(1, n_bytes + n_bytes // 4) // _ALIGNMENT) * _ALIGNMENT
            found = self._pinned[name] = self._allocate_pinned(room)
        return found

    def launch(self, kernel: Any, n: int, *arguments: Any) -> None:
        """Start ``kernel`` with a thread for each of ``n`` items, up to the largest grid."""
        if n > 0:
            self.launch_blocks(kernel, min(-(-n // THREADS), _MAX_BLOCKS), *arguments)

    def launch_blocks(self, kernel: Any, n: int, *arguments: Any) -> None:
        """Start ``kernel`` with ``n`` blocks."""
        if n > 0:
            self._start(kernel, n, arguments)

    def fill(self, array: Any, n: int, value: int) -> None:
        """Set the first ``n`` values of a one-dimensional array to ``value``."""
        self.launch(_fill, n, Values(array, array), n, value)

    def scan(self, values: Any, n: int, out: Any) -> None:
        """Fill ``out[i]`` with the sum of ``values[:i]``, for i from 0 to ``n``.

        The values are int32, so the sums do not depend on the order. A sum of :data:`LARGEST` or
        more becomes that.

        Args:
            values: int32[n].
            out: int32[n + 1]; it may be ``values``.
        """
        n_tiles = -(-n // TILE)
        sums = self.array("scan.sums", n_tiles + 1, np.int32)
        arrays = Values(values, out)
        self.launch_blocks(_sum_tiles, min(n_tiles, _MAX_BLOCKS), arrays, n, sums)
        self.launch_blocks(_scan_sums, 1, Values(sums, out), n_tiles, n)
        self.launch_blocks(_scan_tiles, min(n_tiles, _MAX_BLOCKS), arrays, n, sums)

    def group(self, name: str, key: Any, n: int, n_keys: int, within: Any) -> Group:
        """Sort ``n`` items by (``key``, ``within``, item).

        Args:
            name: name of the memory.
            key: int32[n], from 0 to ``n_keys`` - 1.
            within: int32[n].
        """
        loose = self.scatter(name, key, n, n_keys)
        found = Group(loose.start, self.array(f"{name}.sorted", n, np.int32))
        self.launch(_rank, n, Values(key, within), loose, found, n)
        return found

    def scatter(self, name: str, key: Any, n: int, n_keys: int) -> Group:
        """Group ``n`` items by ``key``, int32[n]; items of one key are in any order."""
        start = self.array(f"{name}.start", n_keys + 1, np.int32)
        cursor = self.array(f"{name}.cursor", n_keys + 1, np.int32)
        found = Group(start, self.array(f"{name}.item", n, np.int32))
        self.fill(start, n_keys, 0)
        self.launch(_count_keys, n, Values(key, start), n)
        self.scan(start, n_keys, start)
        self.launch(_copy_values, n_keys, Values(start, cursor), n_keys)
        self.launch(_place, n, Values(key, cursor), found.item, n)
        return found

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        # compiled formulas do not take the arrays that the simulator gives to kernels
        return np.empty(shape, dtype) if SIMULATED else cuda.device_array(shape, dtype)

    def _allocate_pinned(self, n: int) -> Array:
        pinned: Array = cuda.pinned_array(n, np.uint8)
        return pinned


def total(before: Array) -> int:
    """The last of the sums of a :meth:`Device.scan`.

    Raises:
        OverflowError: it does not fit.
    """
    value = int(before[-1])
    if value == LARGEST:
        raise OverflowError("more items than 32 bits can count")
    return value


class Values(NamedTuple):
    """An input array and an output array."""

    source: Any
    target: Any


if SIMULATED:

    @device_function
    def product(a: float, b: float) -> float:
        return a * b

else:

    @device_function
    def product(a: float, b: float) -> float:
        """Return ``a * b`` in float32, rounded before an addition, as on a CPU."""
        return libdevice.fmul_rn(a, b)


def _launcher(stream: Any) -> Callable[[Any, int, tuple[Any, ...]], None]:
    """Return the function that starts a kernel; Numba does it if its internals are unknown."""
    if not SIMULATED:
        try:
            from .launch import Launcher

            return Launcher(stream, THREADS)
        except (ImportError, AttributeError):
            pass
    return lambda kernel, n_blocks, arguments: kernel[n_blocks, THREADS, stream](*arguments)


def _row_bytes(array: Any) -> int:
    return int(np.prod(array.shape[1:], dtype=np.int64)) * int(array.dtype.itemsize)


def _copy(target: Any, source: Any, stream: Any) -> None:
    if isinstance(target, np.ndarray) and isinstance(source, np.ndarray):
        target[...] = source
    elif isinstance(target, np.ndarray):
        source.copy_to_host(target, stream=stream)
    else:
        target.copy_to_device(source, stream=stream)


@cuda_kernel
def _fill(arrays: Values, n: int, value: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        arrays.target[i] = value


@cuda_kernel
def _copy_values(arrays: Values, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        arrays.target[i] = arrays.source[i]


@cuda_kernel
def _gather(arrays: Values, index: Any, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        arrays.target[i] = arrays.source[index[i]]


@device_function
def scan_block(buffer: Any, value: int) -> int:
    """Return the sum of ``value`` over the threads of the block, up to and with this thread.

    Args:
        buffer: shared memory, int32[THREADS]; the block may use it again after a barrier.
    """
    t = cuda.threadIdx.x
    buffer[t] = value
    cuda.syncthreads()
    step = 1
    while step < THREADS:
        other = buffer[t - step] if t >= step else 0
        cuda.syncthreads()
        buffer[t] += other
        cuda.syncthreads()
        step *= 2
    return buffer[t]


@device_function
def place_in_block(buffer: Any, n: int, before: int) -> tuple[int, int]:
    """Find places for the ``n`` items of each thread of the block, thread after thread.

    Args:
        buffer: as for :func:`scan_block`; the block may use it again on return.
        before: number of items that have a place already.

    Returns:
        the place of the first item of this thread, and the number of items with those of all
        threads.
    """
    after = before + scan_block(buffer, n)
    total = before + buffer[THREADS - 1]
    cuda.syncthreads()
    return after - n, total


@device_function
def rank_of(key: Any, n: int, i: int) -> int:
    """Return the place of item ``i`` of ``n`` by rising key; equal keys keep their order."""
    rank = 0
    for j in range(n):
        if key[j] < key[i] or (key[j] == key[i] and j < i):
            rank += 1
    return rank


@cuda_kernel
def _sum_tiles(arrays: Values, n: int, sums: Any) -> None:
    buffer = cuda.shared.array(THREADS, np.int32)
    for tile in range(cuda.blockIdx.x, (n + TILE - 1) // TILE, cuda.gridDim.x):
        total = 0
        for i in range(tile * TILE + cuda.threadIdx.x, min(n, (tile + 1) * TILE), THREADS):
            total += arrays.source[i]
        total = scan_block(buffer, total)
        if cuda.threadIdx.x == THREADS - 1:
            sums[tile] = total
        cuda.syncthreads()


@cuda_kernel
def _scan_sums(arrays: Values, n_tiles: int, n: int) -> None:
    """Scan the sums of the tiles in one block; write the total to the end of the output."""
    buffer = cuda.shared.array(THREADS, np.int32)
    sums = arrays.source
    before = 0
    for first in range(0, n_tiles, THREADS):
        i = first + cuda.threadIdx.x
        value = sums[i] if i < n_tiles else 0
        after = scan_block(buffer, value)
        if i < n_tiles:
            sums[i] = before + after - value
        before += buffer[THREADS - 1]
        cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        arrays.target[n] = min(before, LARGEST)


@cuda_kernel
def _scan_tiles(arrays: Values, n: int, sums: Any) -> None:
    buffer = cuda.shared.array(THREADS, np.int32)
    for tile in range(cuda.blockIdx.x, (n + TILE - 1) // TILE, cuda.gridDim.x):
        first = tile * TILE + cuda.threadIdx.x * ITEMS
        last = min(n, first + ITEMS)
        total = 0
        for i in range(first, last):
            total += arrays.source[i]
        before = sums[tile] + scan_block(buffer, total) - total
        for i in range(first, last):
            value = arrays.source[i]
            arrays.target[i] = before
            before += value
        cuda.syncthreads()


@cuda_kernel
def _count_keys(arrays: Values, n: int) -> None:
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        cuda.atomic.add(arrays.target, arrays.source[i], 1)


@cuda_kernel
def _place(arrays: Values, loose: Any, n: int) -> None:
    """Give each item a place among those of its key, in any order."""
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        loose[cuda.atomic.add(arrays.target, arrays.source[i], 1)] = i


@cuda_kernel
def _rank(keys: Values, loose: Group, found: Group, n: int) -> None:
    """Give each item its place among those of its key: the number of smaller ones."""
    within = keys.target
    for p in range(cuda.grid(1), n, cuda.gridsize(1)):
        i = loose.item[p]
        first = loose.start[keys.source[i]]
        place = first
        for q in range(first, loose.start[keys.source[i] + 1]):
            j = loose.item[q]
            if within[j] < within[i] or (within[j] == within[i] and j < i):
                place += 1
        found.item[place] = i
