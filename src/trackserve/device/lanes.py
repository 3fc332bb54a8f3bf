"""Vectors of float32 for compiled loops on a CPU: 16 lanes, whatever the processor has.

LLVM makes one instruction of an operation with AVX-512, and two with AVX2. A place is the number of
an item in the memory of a contiguous array of any shape. No place is tested. Vectors add, subtract,
multiply and divide.
"""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    register_model,
    type_callable,
)
from numpy.typing import NDArray

from .compile import LANES

Array = NDArray[Any]

TILE = 4 * LANES
"""Columns of the tiles of :func:`add_product`."""
_ROWS = 4
"""Rows that :func:`add_product` makes at once."""
ITEM = 4
"""Bytes of a float32."""
LINE = 64 // ITEM
"""Items in a line of the cache."""

_functions: Any = cgutils
_FLOAT, _INDEX, _NUMBER = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_NUMBERS = ir.VectorType(_NUMBER, LANES)


class Vector(types.Type):  # type: ignore[misc]
    """Numba's type of 16 lanes of float32."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


_vector: Any = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


def _good(*arrays: Any) -> bool:
    """Return whether arrays are float32 and contiguous: no other has the places of this module."""
    return all(
        isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"
        for array in arrays
    )


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _at(builder: Any, data: Any, place: Any) -> Any:
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


def _number(value: int) -> Any:
    return ir.Constant(_INDEX, value)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(_functions.get_or_insert_function(builder.module, kind, name), arguments)


def _spread(builder: Any, value: Any) -> Any:
    kind = ir.VectorType(value.type, LANES)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_NUMBER, 0))
    return builder.shuffle_vector(one, one, ir.Constant(_NUMBERS, None))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, f"llvm.fmuladd.v{LANES}f32", _VECTOR, a, b, c)


def _first_lanes(builder: Any, n: Any) -> Any:
    lanes = ir.Constant(ir.VectorType(_INDEX, LANES), list(range(LANES)))
    return builder.icmp_unsigned("<", lanes, _spread(builder, n))


def _operators() -> None:
    builds = {
        operator.add: "fadd", operator.sub: "fsub", operator.mul: "fmul", operator.truediv: "fdiv"
    }  # fmt: skip
    for function, name in builds.items():

        def typed(context: Any) -> Any:
            return lambda a, b: _vector if a == _vector and b == _vector else None

        def generate(
            context: Any, builder: Any, signature: Any, arguments: Any, name: str = name
        ) -> Any:
            return getattr(builder, name)(*arguments)

        type_callable(function)(typed)
        lower_builtin(function, Vector, Vector)(generate)  # type: ignore[no-untyped-call]


_operators()


def _load(typing_context: Any, array: Any, place: Any) -> Any:
    if not _good(array):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _data(context, builder, signature.args[0], arguments[0])
        return builder.load(_at(builder, data, arguments[1]), align=ITEM)

    return _vector(array, types.uint64), generate


def _load_first(typing_context: Any, array: Any, place: Any, n: Any) -> Any:
    if not _good(array):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, n = arguments
        address = _at(builder, _data(context, builder, signature.args[0], array), place)
        zeros = ir.Constant(_VECTOR, None)
        lanes, align = _first_lanes(builder, n), ir.Constant(_NUMBER, ITEM)
        name = f"llvm.masked.load.v{LANES}f32.p0"
        return _call(builder, name, _VECTOR, address, align, lanes, zeros)

    return _vector(array, types.uint64, types.uint64), generate


def _store(typing_context: Any, array: Any, place: Any, vector: Any) -> Any:
    if not _good(array):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _data(context, builder, signature.args[0], arguments[0])
        builder.store(arguments[2], _at(builder, data, arguments[1]), align=ITEM)
        return context.get_dummy_value()

    return types.void(array, types.uint64, _vector), generate


def _store_first(typing_context: Any, array: Any, place: Any, n: Any, vector: Any) -> Any:
    if not _good(array):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, n, vector = arguments
        address = _at(builder, _data(context, builder, signature.args[0], array), place)
        lanes, align = _first_lanes(builder, n), ir.Constant(_NUMBER, ITEM)
        name = f"llvm.masked.store.v{LANES}f32.p0"
        _call(builder, name, ir.VoidType(), vector, address, align, lanes)
        return context.get_dummy_value()

    return types.void(array, types.uint64, types.uint64, _vector), generate


def _splat(typing_context: Any, value: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])

    return _vector(types.float32), generate


def _fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _multiply_add(builder, *arguments)

    return _vector(_vector, _vector, _vector), generate


def _root(typing_context: Any, v: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, f"llvm.sqrt.v{LANES}f32", _VECTOR, *arguments)

    return _vector(_vector), generate


def _positive(typing_context: Any, v: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zeros = ir.Constant(_VECTOR, None)
        return builder.select(builder.fcmp_ordered(">", zeros, arguments[0]), zeros, arguments[0])

    return _vector(_vector), generate


def _smaller(typing_context: Any, a: Any, b: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = arguments
        return builder.select(builder.fcmp_ordered("<", b, a), b, a)

    return _vector(_vector, _vector), generate


def _distance(typing_context: Any, a: Any, b: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, f"llvm.fabs.v{LANES}f32", _VECTOR, builder.fsub(*arguments))

    return _vector(_vector, _vector), generate


def _reached(typing_context: Any, v: Any, bound: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, bound = arguments
        one = ir.Constant(_VECTOR, [1.0] * LANES)
        return builder.select(
            builder.fcmp_ordered(">=", value, bound), one, ir.Constant(_VECTOR, None)
        )

    return _vector(_vector, _vector), generate


def _transpose(
    typing_context: Any,
    source: Any,
    place: Any,
    pitch: Any,
    target: Any,
    target_place: Any,
    target_pitch: Any,
) -> Any:
    if not _good(source, target):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, place, pitch, target, target_place, target_pitch = arguments
        data = _data(context, builder, signature.args[0], source)
        rows = [
            builder.load(
                _at(builder, data, builder.add(place, builder.mul(pitch, _number(i)))), align=ITEM
            )
            for i in range(LANES)
        ]
        step = LANES // 2
        while step:
            # the blocks of step by step items that are off the diagonal change places
            low = [lane if not lane & step else LANES + lane - step for lane in range(LANES)]
            high = [lane + step if not lane & step else LANES + lane for lane in range(LANES)]
            for i in range(LANES):
                if not i & step:
                    a, b = rows[i], rows[i + step]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(_NUMBERS, low))
                    rows[i + step] = builder.shuffle_vector(a, b, ir.Constant(_NUMBERS, high))
            step //= 2
        data = _data(context, builder, signature.args[3], target)
        for i in range(LANES):
            to = builder.add(target_place, builder.mul(target_pitch, _number(i)))
            builder.store(rows[i], _at(builder, data, to), align=ITEM)
        return context.get_dummy_value()

    number = types.uint64
    return types.void(source, number, number, target, number, number), generate


def _add_product(
    typing_context: Any,
    weights: Any,
    place: Any,
    n_out: Any,
    n_in: Any,
    source: Any,
    source_row: Any,
    target: Any,
    target_row: Any,
) -> Any:
    if not _good(weights, source, target):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        weights, place, n_out, n_in, source, source_row, target, target_row = arguments
        w, x, y = (
            _data(context, builder, signature.args[i], array)
            for i, array in ((0, weights), (4, source), (6, target))
        )
        _, _, features = context.codegen().magic_tuple()
        # the registers hold so many sums
        n_vectors = TILE // LANES if "+avx512f" in features else 1
        vectors = range(n_vectors)
        sums = [[_functions.alloca_once(builder, _VECTOR) for _ in vectors] for _ in range(_ROWS)]

        def row_of(tile: Any, *row: Any) -> Any:
            number = functools.reduce(builder.add, row)
            return builder.gep(tile, [builder.mul(number, _number(TILE))])

        def items(row: Any, first: int, v: int) -> Any:
            return _at(builder, row, _number(first + v * LANES))

        blocks = builder.udiv(n_out, _number(_ROWS))
        with _functions.for_range(builder, blocks) as block:
            begin = builder.mul(block.index, _number(_ROWS))
            rows = [builder.add(begin, _number(r)) for r in range(_ROWS)]
            out = [row_of(y, target_row, row) for row in rows]
            inputs = [builder.gep(w, [builder.add(place, builder.mul(row, n_in))]) for row in rows]
            for first in range(0, TILE, n_vectors * LANES):
                for r, v in itertools.product(range(_ROWS), vectors):
                    builder.store(builder.load(items(out[r], first, v), align=ITEM), sums[r][v])
                with _functions.for_range(builder, n_in) as loop:
                    row = row_of(x, source_row, loop.index)
                    values = [builder.load(items(row, first, v), align=ITEM) for v in vectors]
                    for r in range(_ROWS):
                        weight = builder.load(builder.gep(inputs[r], [loop.index]))
                        weight = _spread(builder, weight)
                        for v in vectors:
                            sum_ = _multiply_add(
                                builder, weight, values[v], builder.load(sums[r][v])
                            )
                            builder.store(sum_, sums[r][v])
                for r, v in itertools.product(range(_ROWS), vectors):
                    builder.store(builder.load(sums[r][v]), items(out[r], first, v), align=ITEM)
        return context.get_dummy_value()

    n = types.uint64
    return types.void(weights, n, n, n, source, n, target, n), generate


load = cast(Callable[[Array, int], Any], intrinsic(_load))
"""Function ``load(array, place)``: it returns the 16 items from ``place`` on."""
load_first = cast(Callable[[Array, int, int], Any], intrinsic(_load_first))
"""Function ``load_first(array, place, n)``: the same of ``n`` items at most; other lanes are 0."""
store = cast(Callable[[Array, int, Any], None], intrinsic(_store))
"""Function ``store(array, place, vector)``: it makes these the 16 items from ``place`` on."""
store_first = cast(Callable[[Array, int, int, Any], None], intrinsic(_store_first))
"""Function ``store_first(array, place, n, vector)``: the same with ``n`` lanes at most."""
splat = cast(Callable[[float], Any], intrinsic(_splat))
"""Function ``splat(value)``: it returns a vector with this float32 in every lane."""
fma = cast(Callable[[Any, Any, Any], Any], intrinsic(_fma))
"""Function ``fma(a, b, c)``: a b + c; the product is not rounded if the processor can do so."""
root = cast(Callable[[Any], Any], intrinsic(_root))
"""Function ``root(v)``: the square root."""
positive = cast(Callable[[Any], Any], intrinsic(_positive))
"""Function ``positive(v)``: ``max(v, 0)``, as compiled code of a number does it."""
smaller = cast(Callable[[Any, Any], Any], intrinsic(_smaller))
"""Function ``smaller(a, b)``: ``min(a, b)``, as compiled code of numbers does it."""
distance = cast(Callable[[Any, Any], Any], intrinsic(_distance))
"""Function ``distance(a, b)``: ``abs(a - b)``."""
reached = cast(Callable[[Any, Any], Any], intrinsic(_reached))
"""Function ``reached(a, b)``: 1 where ``a >= b``, else 0."""
transpose = cast(Callable[[Array, int, int, Array, int, int], None], intrinsic(_transpose))
"""Function ``transpose(source, place, pitch, target, place, pitch)``: it copies 16 rows of 16 items
to columns. The rows begin at ``place`` and are ``pitch`` items apart; so are the target's."""
add_product = cast(
    Callable[[Array, int, int, int, Array, int, Array, int], None], intrinsic(_add_product)
)
"""Function ``add_product(weights, place, n_out, n_in, source, row, target, row)``: it adds the
product of a matrix and a tile to another tile. The matrix is [n_out, n_in], from ``place`` on;
``n_out`` is a multiple of four. A tile is the rows from ``row`` on of an array, float32[., TILE].
The products of an item are added in the order of the inputs."""
