"""Gain and pedestal of pixels.

A pixel's ADC count ``a`` stands for ``(a - pedestal) gain`` VCAL units. One byte each encodes
gain and pedestal of a column within a block of rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.device.compile import f32, shared
from trackserve.edm.columns import Array

from .conditions import PixelConditions
from .layout import N_MODULES, ROWS


class GainTables(NamedTuple):
    """Gain and pedestal of each column and block of rows.

    Attributes:
        first: int32[1856], row of ``values`` where a module starts.
        column_step: int32[1856], rows of ``values`` per column.
        values: uint8[n, 2], encoded gain and pedestal.
        block: int32[160], block of rows of each row.
        gain_step, min_gain: float32, gain = ``step x code + minimum``, VCAL/ADC.
        pedestal_step, min_pedestal: float32, the same for the pedestal, ADC counts.
        dead, noisy: codes of a pedestal that mark a dead and a noisy column.
    """

    first: Array
    column_step: Array
    values: Array
    block: Array
    gain_step: float
    min_gain: float
    pedestal_step: float
    min_pedestal: float
    dead: int
    noisy: int


def make_gain_tables(conditions: PixelConditions) -> GainTables:
    """Make :class:`GainTables` from the gain payload of the conditions."""
    gain = conditions.gain
    module = gain["module"][:N_MODULES]
    length = module["last"].astype(np.int64) - module["first"]
    return GainTables(
        first=(module["first"] // 2).astype(np.int32),
        column_step=(length // module["n_cols"] // 2).astype(np.int32),
        values=gain["values"].copy(),
        block=(np.arange(ROWS) // int(gain["rows_per_block"])).astype(np.int32),
        gain_step=f32(gain["gain_precision"]),
        min_gain=f32(gain["min_gain"]),
        pedestal_step=f32(gain["ped_precision"]),
        min_pedestal=f32(gain["min_ped"]),
        dead=int(gain["dead"]),
        noisy=int(gain["noisy"]),
    )


class Pixel(NamedTuple):
    """Place of a pixel: module (0..1855), row (0..159) and column (0..415)."""

    module: int
    row: int
    col: int


@shared
def gain_place(pixel: Pixel, gains: GainTables) -> int:
    """Return the row of :attr:`GainTables.values` for a pixel."""
    step = gains.column_step[pixel.module]
    return gains.first[pixel.module] + pixel.col * step + gains.block[pixel.row]


@shared
def is_bad(pedestal: int, gains: GainTables) -> bool:
    """Whether the code of a pedestal marks a dead or noisy column."""
    return (pedestal == gains.dead) | (pedestal == gains.noisy)
