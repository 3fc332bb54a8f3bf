"""The nouns of a batch on the device: named tuples of arrays, and where each event begins."""

from __future__ import annotations

import functools
from collections import namedtuple
from typing import Any, NamedTuple

from trackserve.device.cuda import Device
from trackserve.edm import Columns


class Batch(NamedTuple):
    """Raw events on the device.

    Attributes:
        words: uint32[n], their streams, one after the other.
        start: int32[events + 1], first word of each.
        beam_spot: float32[events, 3], cm.
    """

    words: Any
    start: Any
    beam_spot: Any


def make_columns(device: Device, name: str, noun: type[Columns], n: int) -> Any:
    """A named tuple of arrays of at least ``n`` rows, one for each column of ``noun``."""
    schema = noun.schema()
    return _named_tuple(noun.__name__, tuple(schema))(
        *(device.array(f"{name}.{key}", n, c.dtype, *c.shape) for key, c in schema.items())
    )


@functools.cache
def _named_tuple(name: str, fields: tuple[str, ...]) -> Any:
    """Always the same type for the same noun, as kernels are compiled for types."""
    return namedtuple(name, fields)
