"""The lanes of a block that were accepted, one behind the other in an array, on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import LANES

_functions: Any = cgutils


def _store_lanes(builder: Any, items: Any, bits: Any, target: Any) -> Any:
    """Store the items whose bit is set, one behind the other; return their number.

    An instruction packs them if the processor has AVX-512, else LLVM goes from lane to lane.
    """
    mask = builder.bitcast(
        builder.trunc(bits, ir.IntType(LANES)), ir.VectorType(ir.IntType(1), LANES)
    )
    pack = _functions.get_or_insert_function(
        builder.module,
        ir.FunctionType(items.type, [items.type, mask.type, items.type]),
        f"llvm.experimental.vector.compress.v{LANES}i32",
    )
    packed = builder.call(pack, [items, mask, ir.Constant(items.type, ir.Undefined)])
    builder.store(packed, builder.bitcast(target, items.type.as_pointer()), align=4)
    return builder.zext(builder.ctpop(bits), ir.IntType(64))


def _place_in(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Return the address of an item of an array."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.gep(data, [index])


def _pack_items(
    typing_context: Any, source: Any, place: Any, bits: Any, target: Any, n: Any
) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source_kind, _, _, target_kind, _ = signature.args
        source, place, bits, target, n = arguments
        items = ir.VectorType(ir.IntType(32), LANES)
        address = _place_in(context, builder, source_kind, source, place)
        loaded = builder.load(builder.bitcast(address, items.as_pointer()), align=4)
        return _store_lanes(
            builder, loaded, bits, _place_in(context, builder, target_kind, target, n)
        )

    return types.uint64(source, types.uint64, types.uint32, target, types.uint64), generate


def _pack_numbers(typing_context: Any, first: Any, bits: Any, target: Any, n: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, bits, target, n = arguments
        items = ir.VectorType(ir.IntType(32), LANES)
        start = builder.trunc(first, ir.IntType(32))
        numbers = ir.Constant(items, list(range(LANES)))
        starts = ir.Constant(items, ir.Undefined)
        for lane in range(LANES):
            starts = builder.insert_element(starts, start, ir.Constant(ir.IntType(32), lane))
        address = _place_in(context, builder, signature.args[2], target, n)
        return _store_lanes(builder, builder.add(starts, numbers), bits, address)

    return types.uint64(types.uint64, types.uint32, target, types.uint64), generate


pack_items = cast(Callable[[Any, int, int, Any, int], int], intrinsic(_pack_items))
"""Function ``pack_items(source, place, bits, target, n)``: it copies those of ``LANES`` items of
``source``, from ``place`` on, whose bit in ``bits``, uint32, is set, to ``target``, from ``n`` on.

Items of both arrays have 32 bits; both places are uint64. It returns the number of items, uint64.
It reads and writes ``LANES`` items, of which the first ones count."""
pack_numbers = cast(Callable[[int, int, Any, int], int], intrinsic(_pack_numbers))
"""Function ``pack_numbers(first, bits, target, n)``: the same, with numbers from ``first`` on."""
