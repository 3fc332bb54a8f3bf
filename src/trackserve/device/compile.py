"""The ways in which functions are compiled for a CPU.

A formula is written once, as a :func:`shared` function of scalars, or of work arrays of its
caller. CPU loops inline it; CUDA kernels compile the same source as a device function. A
:func:`kernel` is a loop over one event on a CPU. It is cached on disk, and runs without the lock of
the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from trackserve.errors import InputError, MissingExtraError
from trackserve.install import install_command

from .cache import add_last_place, of_these_sources
from .progress import add_loop, announce
from .scalars import f32 as f32
from .scalars import i16 as i16
from .scalars import i32 as i32
from .scalars import u8 as u8
from .scalars import u32 as u32
from .scalars import u64 as u64

try:
    from numba import njit, types
    from numba.core import caching, config, event
    from numba.extending import intrinsic
except ImportError:
    raise MissingExtraError(
        f"to reconstruct on this machine, numba is needed: {install_command('cpu')}"
    ) from None

if config.DISABLE_JIT:
    raise InputError("loops do not run without Numba's compiler: unset NUMBA_DISABLE_JIT")
add_last_place(caching)


def _name(function: Any) -> str:
    return f"{function.__module__}.{function.__qualname__}"


class _Announcer(event.Listener):  # type: ignore[misc]
    """Announces loops; formulas are compiled inside of them."""

    def on_start(self, event: Any) -> None:
        dispatcher = event.data["dispatcher"]
        if not isinstance(dispatcher._cache, caching.NullCache):
            announce(_name(dispatcher.py_func))

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")
_OPTIONS: Any = {"error_model": "numpy", "no_cfunc_wrapper": True}
"""Options of Numba: division by zero gives inf, and nobody calls the function from C, for which
Numba would compile one more function each."""
_NO_REFERENCES: Any = {**_OPTIONS, "_nrt": False}
"""The same, for a function that counts no references to arrays."""


def of_any_number(compiled: T) -> T:
    """Let Numba compile a function for integers only, not for a constant as well.

    A counter begins with a constant. Numba would compile all that is called with the counter for
    this constant first, and then once more for integers.
    """
    dispatcher: Any = compiled
    resolve = dispatcher.get_call_template

    def resolve_types(args: Any, kws: Any) -> Any:
        return resolve(
            tuple(_without_value(one) for one in args),
            {name: _without_value(one) for name, one in kws.items()},
        )

    dispatcher.get_call_template = resolve_types
    return compiled


def _without_value(one: Any) -> Any:
    return one.literal_type if isinstance(one, types.IntegerLiteral) else one


def shared(function: F) -> F:
    """Compile a formula for every device; division by zero gives inf, as on a GPU.

    The formula must not make or return arrays: it counts no references to them. To count them for
    many work arrays would take longer than the formula.
    """
    compiled = njit(forceinline=True, **_NO_REFERENCES)(function)
    return cast(F, of_any_number(compiled))


def shared_step(function: F) -> F:
    """Compile a long :func:`shared` function; callers call it, since copies take long to make."""
    return cast(F, of_any_number(njit(**_NO_REFERENCES)(function)))


def side_by_side(function: F) -> F:
    """Compile a formula that has loops over lanes, as :func:`shared`.

    It becomes part of its caller before LLVM sees it. There LLVM knows the shape of the work arrays
    and the length of the loops, and makes vectors of the width of the caller.
    """
    return cast(F, njit(inline="always", **_NO_REFERENCES)(function))


def kernel(function: F) -> F:
    """Compile a loop for a CPU; it must be a function of a module, for the cache.

    A loop should not replace an array by a longer one: it would count a reference, atomically, in
    every iteration. So loops fill arrays of their caller, and tell if these are too short.
    """
    add_loop(_name(function))
    compiled = njit(cache=True, nogil=True, **_OPTIONS)(function)
    return cast(F, of_any_number(of_these_sources(compiled)))


def fused_kernel(function: F) -> F:
    """Compile a :func:`kernel` with fused multiply-adds, for networks.

    Each value still comes from one fixed sequence of operations.
    """
    add_loop(_name(function))
    compiled = njit(cache=True, nogil=True, fastmath={"contract"}, **_OPTIONS)(function)
    return cast(F, of_any_number(of_these_sources(compiled)))


def _wide_vectors(typing_context: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite's list of attributes does not have this one
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


wide_vectors = cast(Callable[[], None], intrinsic(_wide_vectors))
"""Function that a kernel calls so that its loops use the widest vectors of the processor. Otherwise
LLVM uses 256 of 512 bits on Intel's processors."""


LANES = 16
"""Candidates that a loop tests at once. A loop becomes vector instructions if its length is
constant, it has no branch, and its results are the bits of a word. A loop of 8 or less is unrolled
instead. A much longer loop is slow, because most windows hold few candidates."""


@shared
def with_bit(word: int, lane: int, value: bool) -> int:
    """Return ``word``, uint32, with bit ``lane`` set if ``value`` is true."""
    return u32(word | (u32(value) << u32(lane)))


@shared
def bit(word: int, lane: int) -> int:
    """Return bit ``lane`` of ``word``: 1 if that lane was accepted, else 0."""
    return u64((word >> u32(lane)) & u32(1))
