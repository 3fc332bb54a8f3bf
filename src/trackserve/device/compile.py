"""The two ways in which a function is compiled.

A formula is written once, as a :func:`shared` function of scalars (or of a
workspace that its caller passes): the CPU loops inline it and CUDA kernels
compile the same source as a device function. A :func:`kernel` is a loop over one
event on a CPU: cached on disk, and free of the interpreter lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from trackserve.errors import MissingExtraError

from .cache import of_these_sources

try:
    from numba import njit, types
    from numba.extending import intrinsic
except ImportError:
    raise MissingExtraError(
        "to reconstruct on this machine, numba is needed: pip install 'trackserve[cpu]'"
    ) from None

f32: Any = np.float32
i16: Any = np.int16
i32: Any = np.int32
u32: Any = np.uint32
u64: Any = np.uint64
"""Scalar types of compiled code. Unsigned indices need no test for being negative, which
lets the innermost loops vectorise."""

F = TypeVar("F", bound=Callable[..., object])
_NO_REFERENCES: Any = {"_nrt": False}
"""An option of numba that its types do not name."""


def shared(function: F) -> F:
    """Compile a formula for every device; division by zero gives inf, as on a GPU.

    It counts no references, which for a workspace of many arrays would take longer than the
    formula: so it makes no array and returns none.
    """
    return cast(F, njit(error_model="numpy", forceinline=True, **_NO_REFERENCES)(function))


def kernel(function: F) -> F:
    """Compile a CPU loop; it must be a module-level function to be found in the cache.

    A loop that replaces an array by a longer one counts a reference to it, atomically, each
    time round. So loops fill arrays that they are given, and say if these are too short.
    """
    return cast(F, of_these_sources(njit(cache=True, nogil=True, error_model="numpy")(function)))


def fused_kernel(function: F) -> F:
    """A :func:`kernel` whose products and sums become fused multiply-adds: for matrix work.

    Each value still comes from one fixed sequence of operations.
    """
    compiled = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})(function)
    return cast(F, of_these_sources(compiled))


def _wide_vectors(typing_context: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # past llvmlite's list of attributes, which knows none of a processor's
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


wide_vectors = cast(Callable[[], None], intrinsic(_wide_vectors))
"""To be called in a kernel whose loops are to take the processor's widest vectors: on Intel's
LLVM otherwise keeps to 256 of their 512 bits, at half the speed of matrix products."""


LANES = 16
"""Candidates that a loop tests at once. A loop of constant length, with no branch and with
its answers in the bits of a word, becomes vector instructions. It must be longer than 8,
or it is unrolled first; and not much longer, as most windows hold few candidates."""


@shared
def with_bit(word: int, lane: int, value: bool) -> int:
    """``word``, uint32, with bit ``lane`` set if ``value``."""
    return u32(word | (u32(value) << u32(lane)))


@shared
def bit(word: int, lane: int) -> int:
    """Bit ``lane`` of ``word``: what a list grows by that takes lane after lane."""
    return u64((word >> u32(lane)) & u32(1))
