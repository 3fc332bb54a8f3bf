"""The time in compiled code, by the clocks of the system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_cgutils: Any = cgutils


def _seconds(typing_context: Any, clock: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, number = ir.IntType(64), ir.IntType(32)
        place = _cgutils.alloca_once(builder, ir.ArrayType(word, 2))
        kind = ir.FunctionType(number, [number, place.type])
        read = _cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        builder.call(read, [builder.trunc(arguments[0], number), place])
        whole, rest = _cgutils.unpack_tuple(builder, builder.load(place))
        whole, rest = (builder.sitofp(part, ir.DoubleType()) for part in (whole, rest))
        return builder.fadd(whole, builder.fmul(rest, ir.Constant(ir.DoubleType(), 1e-9)))

    return types.float64(types.int64), generate


seconds = cast(Callable[[int], float], intrinsic(_seconds))
"""Function of kernels: the time by the clock of this number, seconds."""
