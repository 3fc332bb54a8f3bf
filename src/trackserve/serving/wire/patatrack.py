"""The tensors of Patatrack: raw events there, tracks and vertices back.

Tensor names, dtypes and shapes follow from the schemas of :mod:`trackserve.edm`: the
column ``state`` of the result's ``tracks`` is the tensor ``tracks_state``, FP32 [-1, 5].
The tensor ``tracks``, UINT8, holds all its columns one after the other, those of larger
items first, else in the order of the schema: each tensor costs time on its way through
Triton, so our clients ask for parts, not columns.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ...edm import (
    ALWAYS,
    INTERMEDIATE,
    BeamSpot,
    Columns,
    Counts,
    PatatrackResult,
    RawEvent,
    check_keep,
)
from ...edm.columns import Array
from ...errors import InputError
from .tensors import TensorSpec, checked, timing

_PARTS: dict[str, type[Columns]] = ALWAYS | INTERMEDIATE
_RAW = TensorSpec("raw", np.dtype(np.uint8), (-1,))
_BEAM_SPOT = TensorSpec("beam_spot", np.dtype(np.float32), (3,))
_EVENT = TensorSpec("event", np.dtype(np.int64), (1,), optional=True)
_COUNTS = TensorSpec("counts", np.dtype(np.int32), (len(fields(Counts)),))
TIMING = timing("timing")
_COLUMNS = {
    part: {
        name: TensorSpec(f"{part}_{name}", column.dtype, (-1, *column.shape))
        for name, column in noun.schema().items()
    }
    for part, noun in _PARTS.items()
}
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
_SOURCES = {
    spec.name: (part, name) for part, specs in _COLUMNS.items() for name, spec in specs.items()
}

INPUTS = (_RAW, _BEAM_SPOT, _EVENT)
"""One event: its FED stream, the beam spot's x, y, z in cm and, optionally, its number."""

OUTPUTS = (
    _COUNTS,
    *_PACKED.values(),
    *(spec for specs in _COLUMNS.values() for spec in specs.values()),
    TIMING,
)
"""The counts, in the order of :class:`trackserve.edm.Counts`, every part, every column of every
part, and the timing."""


def output_names(keep: Collection[str] = ()) -> list[str]:
    """The outputs to ask for: all that is always returned, and the parts named in ``keep``.

    Raises:
        InputError: ``keep`` names a part that does not exist.
    """
    return [_COUNTS.name, *_returned(keep)]


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
        if name == _COUNTS.name:
            encoded[name] = result.counts.as_array()
            continue
        part, *columns = _SOURCES.get(name, (name,))
        if part not in parts:
            raise InputError("the result has no such tensor", tensor=name)
        if columns:
            encoded[name] = _encode_column(parts[part], part, columns[0])
        else:
            encoded[name] = _pack(parts[part], part)
    return encoded


def decode_result(
    tensors: Mapping[str, Array], event: int, keep: Collection[str] = ()
) -> PatatrackResult:
    """The result of event number ``event`` that the output tensors hold.

    Raises:
        InputError: a tensor is missing or has the wrong dtype, shape or length, or ``keep``
            names a part that does not exist.
    """
    counts = Counts(*checked(tensors, _COUNTS).tolist())
    parts: dict[str, Any] = {part: _unpack(tensors, part) for part in _returned(keep)}
    return PatatrackResult(event, counts, **parts)


def _returned(keep: Collection[str]) -> list[str]:
    check_keep(keep)
    return [*ALWAYS, *(part for part in INTERMEDIATE if part in keep)]


def _encode_column(noun: Columns, part: str, column: str) -> Array:
    spec = _COLUMNS[part][column]
    spec = spec._replace(shape=(len(noun), *spec.shape[1:]))
    return np.ascontiguousarray(checked({spec.name: getattr(noun, column)}, spec))


def _pack(noun: Columns, part: str) -> Array:
    length = len(noun)
    columns: list[Array] = []
    for name, dtype, row, _ in _LAYOUTS[part]:
        column = getattr(noun, name)
        if column.dtype != dtype or column.shape != (length, *row):
            _encode_column(noun, part, name)  # says what is wrong
        columns.append(np.ascontiguousarray(column))
    return np.frombuffer(bytearray().join(columns), np.uint8)  # type: ignore[arg-type]


def _unpack(tensors: Mapping[str, Array], part: str) -> Columns:
    """The part; its columns are views of the tensor."""
    packed = checked(tensors, _PACKED[part])
    layout = _LAYOUTS[part]
    width = sum(width for *_, width in layout)
    length, rest = divmod(len(packed), width)
    if rest:
        raise InputError(
            "tensor has the wrong length",
            tensor=part,
            found=len(packed),
            bound=f"a multiple of {width}",
        )
    columns: dict[str, Array] = {}
    start = 0
    for name, dtype, row, width in layout:
        columns[name] = np.ndarray((length, *row), dtype, packed, start)
        start += length * width
    return _PARTS[part](**columns)
