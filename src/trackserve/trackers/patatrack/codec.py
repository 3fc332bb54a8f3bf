"""The tensors of Patatrack: raw events there, tracks and vertices back.

Tensor names, dtypes and shapes follow from the schemas of :mod:`trackserve.edm`: the
column ``state`` of the result's ``tracks`` is the tensor ``tracks_state``, FP32 [-1, 5].
The tensor ``tracks``, UINT8, holds all its columns one after the other, those of larger
items first, else in the order of the schema, and the tensor ``result`` holds all that is always
returned: each tensor costs time on its way through Triton, so our clients ask for that.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from trackserve.edm import (
    ALWAYS,
    INTERMEDIATE,
    BeamSpot,
    Columns,
    Counts,
    PatatrackResult,
    RawEvent,
    check_keep,
)
from trackserve.edm.columns import Array
from trackserve.errors import InputError
from trackserve.wire.tensors import TensorSpec, checked, timing

_PARTS: dict[str, type[Columns]] = ALWAYS | INTERMEDIATE
_RAW = TensorSpec("raw", np.dtype(np.uint8), (-1,), optional=True)
_BEAM_SPOT = TensorSpec("beam_spot", np.dtype(np.float32), (3,), optional=True)
_EVENT = TensorSpec("event", np.dtype(np.int64), (1,), optional=True)
_N_COUNTS = len(fields(Counts))
_COUNTS = TensorSpec("counts", np.dtype(np.int32), (_N_COUNTS,))
TIMING = timing("timing")
_COLUMNS = {
    part: {
        name: TensorSpec(f"{part}_{name}", column.dtype, (-1, *column.shape))
        for name, column in noun.schema().items()
    }
    for part, noun in _PARTS.items()
}
_RESULT = TensorSpec("result", np.dtype(np.uint8), (-1,))
_HEAD = np.dtype(np.int32)
"""Of the numbers in front of ``result``: the counts, then the rows of each part. Each part begins
at a multiple of its size."""
_PACKED = {part: TensorSpec(part, np.dtype(np.uint8), (-1,)) for part in _PARTS}
_LAYOUTS = {
    part: [
        (name, spec.dtype, spec.shape[1:], spec.dtype.itemsize * math.prod(spec.shape[1:]))
        for name, spec in sorted(specs.items(), key=lambda item: -item[1].dtype.itemsize)
    ]
    for part, specs in _COLUMNS.items()
}
"""Name, dtype, shape and bytes of a row of each column, in the order in which a part is packed:
so every column is aligned."""
_WIDTHS = {part: sum(width for *_, width in layout) for part, layout in _LAYOUTS.items()}
"""Bytes of a row of each part."""
_SOURCES = {
    spec.name: (part, name) for part, specs in _COLUMNS.items() for name, spec in specs.items()
}

INPUTS = (_RAW, _BEAM_SPOT, _EVENT)
"""One event: its FED stream, the beam spot's x, y, z in cm and, optionally, its number. To Triton
all are optional, since a :data:`.bundle.BUNDLE` can stand in their place."""

OUTPUTS = (
    _RESULT,
    _COUNTS,
    *_PACKED.values(),
    *(spec for specs in _COLUMNS.values() for spec in specs.values()),
    TIMING,
)
"""All that is always returned, the counts, in the order of :class:`trackserve.edm.Counts`, every
part, every column of every part, and the timing."""


def output_names(keep: Collection[str] = ()) -> list[str]:
    """The outputs to ask for: all that is always returned, and the parts named in ``keep``.

    Raises:
        InputError: ``keep`` names a part that does not exist.
    """
    check_keep(keep)
    return [_RESULT.name, *(part for part in INTERMEDIATE if part in keep)]


def kept_parts(names: Iterable[str]) -> set[str]:
    """The inverse of :func:`output_names`: the parts to keep for the outputs asked for."""
    return {_SOURCES.get(name, (name,))[0] for name in names} & INTERMEDIATE.keys()


def encode_event(event: RawEvent) -> dict[str, Array]:
    """The input tensors of one event.

    Raises:
        InputError: ``event.data`` is not uint8[n].
    """
    tensors = {
        _RAW.name: event.data,
        _BEAM_SPOT.name: event.beam_spot.position(),
        _EVENT.name: np.array([event.event], np.int64),
    }
    return {spec.name: np.ascontiguousarray(checked(tensors, spec)) for spec in INPUTS}


def decode_event(tensors: Mapping[str, Array]) -> RawEvent:
    """The event that the input tensors hold; without ``event`` its number is 0.

    Raises:
        InputError: a tensor is missing or has the wrong dtype or shape.
    """
    data = checked(tensors, _RAW)
    beam_spot = BeamSpot(*checked(tensors, _BEAM_SPOT).tolist())
    number = int(checked(tensors, _EVENT)[0]) if _EVENT.name in tensors else 0
    return RawEvent(data, beam_spot, number)


def encode_result(result: PatatrackResult, names: Iterable[str]) -> dict[str, Array]:
    """The output tensors ``names`` of one result, C-contiguous; the timing is not among them.

    Raises:
        InputError: a name is unknown, the result lacks that part, or an array in it has
            the wrong dtype or shape.
    """
    parts = result.parts()
    encoded: dict[str, Array] = {}
    for name in names:
        if name == TIMING.name:
            continue
        if name == _RESULT.name:
            encoded[name] = _pack_result(result)
            continue
        if name == _COUNTS.name:
            encoded[name] = result.counts.as_array()
            continue
        part, *columns = _SOURCES.get(name, (name,))
        if part not in parts:
            raise InputError("the result has no such tensor", tensor=name)
        if columns:
            encoded[name] = _encode_column(parts[part], part, columns[0])
        else:
            encoded[name] = _join(_pack(parts[part], part))
    return encoded


def decode_result(
    tensors: Mapping[str, Array], event: int, keep: Collection[str] = ()
) -> PatatrackResult:
    """The result of event number ``event`` that the output tensors hold.

    Raises:
        InputError: a tensor is missing or has the wrong dtype, shape or length, or ``keep``
            names a part that does not exist.
    """
    counts, parts = _unpack_result(checked(tensors, _RESULT))
    for name in output_names(keep)[1:]:
        packed = checked(tensors, _PACKED[name])
        parts[name] = _unpack(packed, name, _rows(packed, name))
    return PatatrackResult(event, counts, **parts)


def _encode_column(noun: Columns, part: str, column: str) -> Array:
    spec = _COLUMNS[part][column]
    spec = spec._replace(shape=(len(noun), *spec.shape[1:]))
    return np.ascontiguousarray(checked({spec.name: getattr(noun, column)}, spec))


def _pack(noun: Columns, part: str) -> list[Array]:
    length = len(noun)
    columns: list[Array] = []
    for name, dtype, row, _ in _LAYOUTS[part]:
        column = getattr(noun, name)
        if column.dtype != dtype or column.shape != (length, *row):
            _encode_column(noun, part, name)  # says what is wrong
        columns.append(np.ascontiguousarray(column))
    return columns


def _join(pieces: list[Array]) -> Array:
    return np.frombuffer(bytearray().join(pieces), np.uint8)  # type: ignore[arg-type]


def _rows(packed: Array, part: str) -> int:
    """How many rows ``packed`` has."""
    rows, rest = divmod(len(packed), _WIDTHS[part])
    if rest:
        raise InputError(
            "tensor has the wrong length",
            tensor=part,
            found=len(packed),
            bound=f"a multiple of {_WIDTHS[part]}",
        )
    return rows


def _unpack(packed: Array, part: str, rows: int, start: int = 0) -> Columns:
    """The part that begins at byte ``start``; its columns are views of ``packed``."""
    columns: dict[str, Array] = {}
    for name, dtype, row, width in _LAYOUTS[part]:
        columns[name] = np.ndarray((rows, *row), dtype, packed, start)
        start += rows * width
    return _PARTS[part](**columns)


def _pack_result(result: PatatrackResult) -> Array:
    parts = {part: getattr(result, part) for part in ALWAYS}
    rows = [len(noun) for noun in parts.values()]
    pieces = [np.array([*result.counts.as_array(), *rows], _HEAD)]
    for part, noun in parts.items():
        pieces += _pack(noun, part)
        pieces.append(np.zeros(-len(noun) * _WIDTHS[part] % _HEAD.itemsize, np.uint8))
    return _join(pieces)


def _unpack_result(packed: Array) -> tuple[Counts, dict[str, Any]]:
    """The counts, and the parts that are always returned.

    Raises:
        InputError: the tensor is not as long as it says.
    """
    end = (_N_COUNTS + len(ALWAYS)) * _HEAD.itemsize
    head = packed[:end].view(_HEAD).tolist() if len(packed) >= end else []
    starts = {}
    for part, rows in zip(ALWAYS, head[_N_COUNTS:], strict=bool(head)):
        starts[part] = rows, end
        end += -(-rows * _WIDTHS[part] // _HEAD.itemsize) * _HEAD.itemsize
    if len(packed) != end or any(rows < 0 for rows, _ in starts.values()):
        raise InputError(
            "tensor has the wrong length", tensor=_RESULT.name, found=len(packed), bound=end
        )
    parts = {part: _unpack(packed, part, rows, start) for part, (rows, start) in starts.items()}
    return Counts(*head[:_N_COUNTS]), parts
