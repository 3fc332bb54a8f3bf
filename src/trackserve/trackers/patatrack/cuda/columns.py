"""The nouns of a batch on the device: named tuples of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

from trackserve.device.cuda import Device
from trackserve.edm import Columns


class Batch(NamedTuple):
    """Raw events on the device.

    Attributes:
        n_events: number of events.
        n: number of words.
        words: uint32[n], the streams of the events, one after the other.
        start: int32[events + 1], first word of each event.
        beam_spot: float32[events, 3], cm.
    """

    n_events: int
    n: int
    words: Any
    start: Any
    beam_spot: Any


def make_columns(device: Device, name: str, noun: type[Columns], n: int) -> Any:
    """Return the :attr:`trackserve.edm.Columns.Arrays` of a noun, with at least ``n`` rows.

    Args:
        name: name of the memory.
        noun: a noun without ragged columns.
        n: number of rows.
    """
    return noun.Arrays(
        **{
            key: device.array(f"{name}.{key}", n, kind.dtype, *kind.shape)
            for key, kind in noun.schema().items()
        }
    )
