"""Nouns as Arrow columns of records, one field per column of the noun."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from .columns import Array, Columns, Ragged
from .meaning import meanings
from .pixel import Tracks

_STATE = ("phi", "tip", "q_over_pt", "cot_theta", "zip")


def record_type(noun: type[Columns]) -> pa.DataType:
    """Type of one row of ``noun``; it follows from the class alone.

    A ragged column becomes a list. Tracks have ``pt``, ``eta``, ``charge`` and the five
    parameters by name beside ``covariance`` (15 values); their ``hits`` are lists too.
    """
    texts = meanings(noun)  # type: ignore[arg-type]
    columns = _columns(noun.empty())
    return pa.struct(
        [field(name, _type(values), texts.get(name, "")) for name, values in columns.items()]
    )


def to_records(part: Columns) -> pa.StructArray:
    """The rows of ``part``, of :func:`record_type`."""
    kind = record_type(type(part))
    columns = _columns(part)
    arrays = [_array(columns[field.name], field.type) for field in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def field(name: str, kind: pa.DataType, meaning: str) -> pa.Field:
    """A field without missing values that says what it means."""
    return pa.field(name, kind, nullable=False, metadata={"meaning": meaning})


def list_of(kind: pa.DataType, length: int = -1) -> pa.DataType:
    """A list of ``kind`` without missing items, of any or of one length."""
    return pa.list_(pa.field("element", kind, nullable=False), length)


def make_lists(offsets: Array, values: pa.Array) -> pa.ListArray:
    """Lists of ``values`` that begin at ``offsets``, int64[lists + 1]."""
    kind = list_of(values.type)
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=kind)


def _columns(part: Columns) -> dict[str, Any]:
    """Columns by name, as users see them: arrays of one dimension or two, and ragged ones."""
    columns = part.columns()
    if isinstance(part, Tracks):
        state = np.ascontiguousarray(columns.pop("state").T)
        derived = {"pt": part.pt, "eta": part.eta, "charge": part.charge}
        columns = derived | dict(zip(_STATE, state, strict=True)) | columns
        columns["hits"] = part.hit_rows
    return columns


def _type(values: Any) -> pa.DataType:
    if isinstance(values, Ragged):
        return list_of(pa.from_numpy_dtype(values.values.dtype))
    scalar = pa.from_numpy_dtype(values.dtype)
    return scalar if values.ndim == 1 else list_of(scalar, values.shape[1])


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, Ragged):
        return make_lists(values.offsets, pa.array(np.ascontiguousarray(values.values)))
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, type=kind)
