"""Vectors for compiled loops on a CPU: 16 lanes, whatever the processor has.

LLVM makes one instruction of an operation with AVX-512, and two with AVX2. A vector has float32 or
int32 in its lanes. It takes the place of a number in a formula: both kinds add, subtract and
multiply, also with a number; those of float32 divide. They have ``abs`` and ``max``; those of
float32 have ``min``. A comparison makes a mask; masks know ``&`` and ``|``. A place is
the number of an item in the memory of a contiguous array of any shape. No place is tested.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable
from typing import Any, TypeVar, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import (
    intrinsic,
    lower_builtin,
    models,
    overload,
    register_model,
    type_callable,
)
from numpy.typing import NDArray

from .compile import LANES, f32, i32

Array = NDArray[Any]
T = TypeVar("T")

TILE = 4 * LANES
"""Columns of the tiles of :func:`add_product`."""
_ROWS = 4
"""Rows that :func:`add_product` makes at once."""
ITEM = 4
"""Bytes of a float32."""
LINE = 64 // ITEM
"""Items in a line of the cache."""

_functions: Any = cgutils
_FLOATS = types.float32, types.float64
_FLOAT, _INDEX, _NUMBER = ir.FloatType(), ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_NUMBERS = ir.VectorType(_NUMBER, LANES)
_MASK = ir.VectorType(ir.IntType(1), LANES)


class Vector(types.Type):  # type: ignore[misc]
    """Numba's type of 16 lanes of float32."""

    def __init__(self) -> None:
        super().__init__(name="Vector")


class Numbers(types.Type):  # type: ignore[misc]
    """Numba's type of 16 lanes of int32."""

    def __init__(self) -> None:
        super().__init__(name="Numbers")


class Mask(types.Type):  # type: ignore[misc]
    """Numba's type of 16 lanes of true or false."""

    def __init__(self) -> None:
        super().__init__(name="Mask")


_vector: Any = Vector()
_numbers: Any = Numbers()
_mask: Any = Mask()


def _add_models() -> None:
    for kind, value in ((Vector, _VECTOR), (Numbers, _NUMBERS), (Mask, _MASK)):

        class Model(models.PrimitiveModel):  # type: ignore[misc]
            def __init__(self, manager: Any, kind: Any, value: Any = value) -> None:
                super().__init__(manager, kind, value)  # type: ignore[no-untyped-call]

        register_model(kind)(Model)


_add_models()


def _has(array: Any, *items: Any) -> bool:
    """Return whether an array has such items and no gaps; no other has places of this module."""
    return isinstance(array, types.Array) and array.dtype in items and array.layout == "C"


def _good(*arrays: Any) -> bool:
    return all(_has(array, types.float32) for array in arrays)


def _lanes_of(array: Any) -> Any:
    """Return the type of 16 items of an array; none if it has no such items."""
    if _good(array):
        return _vector
    if _has(array, types.int32):
        return _numbers
    return _mask if _has(array, types.boolean) else None


def _data(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _at(builder: Any, data: Any, place: Any) -> Any:
    kind = ir.VectorType(data.type.pointee, LANES)
    return builder.bitcast(builder.gep(data, [place]), kind.as_pointer())


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


def _as_lanes(context: Any, builder: Any, kind: Any, value: Any, lanes: Any) -> Any:
    """Return lanes, or a number in every lane."""
    if kind == lanes:
        return value
    item = {_vector: types.float32, _numbers: types.int32, _mask: types.boolean}[lanes]
    return _spread(builder, context.cast(builder, value, kind, item))


def _define(
    function: Any, lanes: Any, result: Any, build: Callable[[Any, Any, Any], Any], number: Any
) -> None:
    """Let Numba compile a function of two vectors, one of which may be a number of some kind."""

    def typed(context: Any) -> Any:
        def result_of(a: Any, b: Any) -> Any:
            known = lanes in (a, b) and all(
                kind == lanes or isinstance(kind, number) for kind in (a, b)
            )
            return result if known and types.float64 not in (a, b) else None

        return result_of

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pairs = zip(signature.args, arguments, strict=True)
        return build(builder, *(_as_lanes(context, builder, *pair, lanes) for pair in pairs))

    type_callable(function)(typed)
    kind = type(lanes)
    for arguments in ((kind, kind), (kind, number), (number, kind)):
        lower_builtin(function, *arguments)(generate)  # type: ignore[no-untyped-call]


def _define_operators() -> None:

    def build(name: str, *first: str) -> Callable[[Any, Any, Any], Any]:
        return lambda builder, a, b: getattr(builder, name)(*first, a, b)

    for function, of_floats, of_numbers in (
        (operator.add, "fadd", "add"),
        (operator.sub, "fsub", "sub"),
        (operator.mul, "fmul", "mul"),
        (operator.truediv, "fdiv", ""),
        (operator.and_, "", "and_"),
    ):
        if of_floats:
            _define(function, _vector, _vector, build(of_floats), types.Float)
        if of_numbers:
            _define(function, _numbers, _numbers, build(of_numbers), types.Integer)
    for function, sign in (
        (operator.lt, "<"),
        (operator.le, "<="),
        (operator.gt, ">"),
        (operator.ge, ">="),
        (operator.ne, "!="),
    ):
        of = "fcmp_unordered" if sign == "!=" else "fcmp_ordered"
        _define(function, _vector, _mask, build(of, sign), types.Float)
        _define(function, _numbers, _mask, build("icmp_signed", sign), types.Integer)
    _define(operator.and_, _mask, _mask, build("and_"), types.Boolean)
    _define(operator.or_, _mask, _mask, build("or_"), types.Boolean)

    def least(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", b, a), b, a)

    def largest(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    def largest_number(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.icmp_signed(">", a, b), a, b)

    _define(min, _vector, _vector, least, types.Float)
    _define(max, _vector, _vector, largest, types.Float)
    _define(max, _numbers, _numbers, largest_number, types.Integer)


_define_operators()


def _define_abs_and_root() -> None:

    def typed_abs(context: Any) -> Any:
        return lambda a: a if a in (_vector, _numbers) else None

    def typed_root(context: Any) -> Any:
        return lambda a: a if a == _vector else None

    def magnitude(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, f"llvm.fabs.v{LANES}f32", _VECTOR, *arguments)

    def magnitude_of_numbers(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value, overflow = arguments[0], ir.Constant(ir.IntType(1), 0)
        return _call(builder, f"llvm.abs.v{LANES}i32", _NUMBERS, value, overflow)

    def root_of(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _call(builder, f"llvm.sqrt.v{LANES}f32", _VECTOR, *arguments)

    type_callable(abs)(typed_abs)
    type_callable(math.sqrt)(typed_root)
    lower_builtin(abs, Vector)(magnitude)  # type: ignore[no-untyped-call]
    lower_builtin(abs, Numbers)(magnitude_of_numbers)  # type: ignore[no-untyped-call]
    lower_builtin(math.sqrt, Vector)(root_of)  # type: ignore[no-untyped-call]


_define_abs_and_root()


def real(value: T) -> T:
    """Return a number as float32, or 16 of them; for compiled code only."""
    raise NotImplementedError


def whole(value: T) -> T:
    """Return the integer part as int32, or 16 of them; a truth is 1; for compiled code only."""
    raise NotImplementedError


@overload(real, strict=False)  # the formulas have no annotations
def _real(value: Any) -> Any:
    if value == _numbers:
        return lambda value: _to_vector(value)
    return lambda value: f32(value)


@overload(whole, strict=False)
def _whole(value: Any) -> Any:
    if value == _vector:
        return lambda value: _to_numbers(value)
    if value == _mask:
        return lambda value: _ones(value)
    if value == _numbers:
        return lambda value: value
    return lambda value: i32(value)


def _convert_to_vector(typing_context: Any, numbers: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sitofp(arguments[0], _VECTOR)

    return _vector(_numbers), generate


def _convert_to_numbers(typing_context: Any, vector: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fptosi(arguments[0], _NUMBERS)

    return _numbers(_vector), generate


def _convert_to_ones(typing_context: Any, mask: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(arguments[0], _NUMBERS)

    return _numbers(_mask), generate


_to_vector: Any = intrinsic(_convert_to_vector)
_to_numbers: Any = intrinsic(_convert_to_numbers)
_ones: Any = intrinsic(_convert_to_ones)


def _bits(typing_context: Any, mask: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.bitcast(arguments[0], ir.IntType(LANES)), _NUMBER)

    return types.uint32(_mask), generate


def _lowest(typing_context: Any, bits: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return builder.zext(number, _INDEX)

    return types.uint64(types.uint32), generate


def _first(typing_context: Any, n: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes = ir.Constant(_NUMBERS, list(range(LANES)))
        return builder.icmp_signed("<", lanes, _spread(builder, arguments[0]))

    return _mask(types.int32), generate


def _gather(typing_context: Any, array: Any, places: Any) -> Any:
    lanes = _lanes_of(array)
    if lanes not in (_vector, _numbers):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # one load for each lane: an instruction that gathers is slower on many processors
        data = _data(context, builder, signature.args[0], arguments[0])
        items = ir.Constant(_VECTOR if lanes == _vector else _NUMBERS, ir.Undefined)
        for lane in range(LANES):
            number = ir.Constant(_NUMBER, lane)
            place = builder.zext(builder.extract_element(arguments[1], number), _INDEX)
            item = builder.load(builder.gep(data, [place]), align=ITEM)
            items = builder.insert_element(items, item, number)
        return items

    return lanes(array, _numbers), generate


def _fill(typing_context: Any, array: Any, place: Any, value: Any) -> Any:

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, value = arguments
        data = _data(context, builder, signature.args[0], array)
        builder.store(_spread(builder, value), _at(builder, data, place), align=1)
        return context.get_dummy_value()

    if not isinstance(array, types.Array) or array.layout != "C":
        return None
    return types.void(array, types.uint64, array.dtype), generate


def _load(typing_context: Any, array: Any, place: Any) -> Any:
    lanes = _lanes_of(array)
    if lanes is None:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _at(
            builder, _data(context, builder, signature.args[0], arguments[0]), arguments[1]
        )
        if lanes == _mask:
            return builder.trunc(builder.load(address, align=1), _MASK)
        return builder.load(address, align=ITEM)

    return lanes(array, types.uint64), generate


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
    lanes = _lanes_of(array)
    if lanes not in (_vector, _numbers):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = _data(context, builder, signature.args[0], arguments[0])
        builder.store(arguments[2], _at(builder, data, arguments[1]), align=ITEM)
        return context.get_dummy_value()

    return types.void(array, types.uint64, lanes), generate


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


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of 16 rows of 16 items."""
    rows = list(rows)
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
    return rows


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
        data = _data(context, builder, signature.args[3], target)
        for i, column in enumerate(_transposed(builder, rows)):
            to = builder.add(target_place, builder.mul(target_pitch, _number(i)))
            builder.store(column, _at(builder, data, to), align=ITEM)
        return context.get_dummy_value()

    number = types.uint64
    return types.void(source, number, number, target, number, number), generate


def _load_columns(
    typing_context: Any, source: Any, rows: Any, place: Any, target: Any, target_place: Any
) -> Any:
    if not (_good(source) and _has(rows, types.int32) and _has(target, *_FLOATS)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, rows, place, target, target_place = arguments
        first, second, third = (signature.args[i] for i in (0, 1, 3))
        data, numbers = (
            _data(context, builder, kind, array)
            for kind, array in ((first, source), (second, rows))
        )
        loaded = []
        for lane in range(LANES):
            row = builder.load(builder.gep(numbers, [builder.add(place, _number(lane))]))
            begin = builder.mul(builder.zext(row, _INDEX), _number(LANES))
            loaded.append(builder.load(_at(builder, data, begin), align=ITEM))
        data = _data(context, builder, third, target)
        for i, column in enumerate(_transposed(builder, loaded)):
            if third.dtype == types.float64:
                column = builder.fpext(column, ir.VectorType(ir.DoubleType(), LANES))
            to = builder.add(target_place, _number(i * LANES))
            builder.store(column, _at(builder, data, to), align=ITEM)
        return context.get_dummy_value()

    n = types.uint64
    return types.void(source, rows, n, target, n), generate


def _store_columns(
    typing_context: Any, source: Any, place: Any, n: Any, target: Any, rows: Any, n_rows: Any
) -> Any:
    if not (_has(source, types.float64) and _good(target) and _has(rows, types.int32)):
        return None
    width = n.literal_value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, place, _, target, rows, n_rows = arguments
        data = _data(context, builder, signature.args[0], source)
        columns = [ir.Constant(_VECTOR, ir.Undefined)] * LANES
        for i in range(width):
            column = builder.load(
                _at(builder, data, builder.add(place, _number(i * LANES))), align=ITEM
            )
            columns[i] = builder.fptrunc(column, _VECTOR)
        numbers = _data(context, builder, signature.args[4], rows)
        data = _data(context, builder, signature.args[3], target)
        items, align = (
            ir.Constant(_MASK, [i < width for i in range(LANES)]),
            ir.Constant(_NUMBER, ITEM),
        )
        name = f"llvm.masked.store.v{LANES}f32.p0"
        for lane, row in enumerate(_transposed(builder, columns)):
            with builder.if_then(builder.icmp_unsigned("<", _number(lane), n_rows)):
                number = builder.zext(builder.load(builder.gep(numbers, [_number(lane)])), _INDEX)
                address = _at(builder, data, builder.mul(number, _number(width)))
                _call(builder, name, ir.VoidType(), row, address, align, items)
        return context.get_dummy_value()

    number = types.uint64
    return types.void(source, number, n, target, rows, number), generate


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
"""Function ``load(array, place)``: it returns the 16 items from ``place`` on, float32,
int32 or bool."""
gather = cast(Callable[[Array, Any], Any], intrinsic(_gather))
"""Function ``gather(array, places)``: it returns the items at 16 places, int32, not
negative."""
fill = cast(Callable[[Array, int, Any], None], intrinsic(_fill))
"""Function ``fill(array, place, value)``: it makes ``value`` the 16 items from ``place`` on, of any
kind."""
bits_of = cast(Callable[[Any], int], intrinsic(_bits))
"""Function ``bits_of(mask)``: it returns a uint32 with a bit for each lane."""
lowest = cast(Callable[[int], int], intrinsic(_lowest))
"""Function ``lowest(bits)``: it returns the number of the lowest bit that is set, uint64."""
first_lanes = cast(Callable[[int], Any], intrinsic(_first))
"""Function ``first_lanes(n)``: the mask of the first ``n``, int32; all if there are no more."""
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
load_columns = cast(Callable[[Array, Array, int, Array, int], None], intrinsic(_load_columns))
"""Function ``load_columns(source, rows, place, target, target_place)``: it copies 16 rows of
``source``, float32[., 16], to the 16 columns of 16 rows of ``target``, float32 or float64[., 16].
The numbers of the rows, int32, are the items from ``place`` on of ``rows``."""
store_columns = cast(
    Callable[[Array, int, int, Array, Array, int], None],
    intrinsic(prefer_literal=True)(_store_columns),
)
"""Function ``store_columns(source, place, n, target, rows, n_rows)``: it copies the columns of
``n`` rows of ``source``, float64[., 16], from ``place`` on, to rows of ``target``, float32[., n];
their numbers are the first ``n_rows`` of ``rows``, int32. ``n`` is a constant, 16 at most."""
add_product = cast(
    Callable[[Array, int, int, int, Array, int, Array, int], None], intrinsic(_add_product)
)
"""Function ``add_product(weights, place, n_out, n_in, source, row, target, row)``: it adds the
product of a matrix and a tile to another tile. The matrix is [n_out, n_in], from ``place`` on;
``n_out`` is a multiple of four. A tile is the rows from ``row`` on of an array, float32[., TILE].
The products of an item are added in the order of the inputs."""
