"""ADC counts to electrons (gpuCalibPixel.h)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.layout import FIRST_BARREL_2, N_MODULES, ROWS
from trackserve.device.compile import (
    f32,
    i32,
    kernel,
    shared,
    u64,
)
from trackserve.edm import Digis
from trackserve.edm.columns import Array

from .config import ChargeCalibration


class GainTables(NamedTuple):
    """Gain and pedestal of each column and block of rows.

    Attributes:
        first: int32[modules], row of ``values`` where a module starts.
        column_step: int32[modules], rows of ``values`` per column.
        values: uint8[n, 2], encoded gain (VCAL/ADC) and pedestal (ADC).
        block: int32[160], block of rows that share a value, of each row.
        gain_step, min_gain, pedestal_step, min_pedestal: float32, what decodes them.
        dead, noisy: pedestals that mark such a column.
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
    """Derive :class:`GainTables` from the gain payload."""
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


def calibrate(digis: Digis, gains: GainTables, constants: ChargeCalibration) -> Digis:
    """Digis with ``charge`` in electrons; those in dead or noisy columns are gone."""
    n = _calibrate(digis.module, digis.row, digis.col, digis.charge, gains, constants)
    return digis if n == len(digis) else digis.take(slice(n))


@shared
def pixel_charge(
    adc: int, gain: float, pedestal: float, slope: float, offset: float, minimum: int
) -> int:
    """Charge in electrons: VCAL units through the pixel's gain, then the linear law."""
    vcal = adc * gain - pedestal * gain
    return max(i32(minimum), i32(vcal * slope + offset))


@shared
def is_bad(pedestal: int, dead: int, noisy: int) -> bool:
    """Whether the encoded pedestal marks a dead or noisy column."""
    return (pedestal == dead) | (pedestal == noisy)


@shared
def gain_place(module: int, row: int, col: int, gains: GainTables) -> int:
    """Row of :attr:`GainTables.values` for a pixel."""
    return gains.first[module] + col * gains.column_step[module] + gains.block[row]


@shared
def electrons(
    module: int,
    adc: int,
    gain: int,
    pedestal: int,
    gains: GainTables,
    constants: ChargeCalibration,
) -> int:
    """Charge of a pixel of ``module`` whose encoded gain and pedestal are given."""
    first_layer = module < FIRST_BARREL_2
    return pixel_charge(
        f32(adc),
        f32(gain) * gains.gain_step + gains.min_gain,
        f32(pedestal) * gains.pedestal_step + gains.min_pedestal,
        constants.slope_1 if first_layer else constants.slope,
        constants.offset_1 if first_layer else constants.offset,
        constants.minimum,
    )


@kernel
def _calibrate(
    module: Array,
    row: Array,
    col: Array,
    charge: Array,
    gains: GainTables,
    constants: ChargeCalibration,
) -> int:
    """Replace ADC counts by electrons in place, keeping the good columns."""
    # The table does not fit in a near cache: a loop that does nothing but read has the most
    # reads on their way at a time. The arithmetic is vector instructions.
    n = len(module)
    place = np.empty(n, np.int32)
    gain = np.empty(n, np.uint8)
    pedestal = np.empty(n, np.uint8)
    for i in range(u64(n)):
        place[i] = gain_place(module[i], row[i], col[i], gains)
    for i in range(u64(n)):
        k = u64(place[i])
        gain[i], pedestal[i] = gains.values[k, 0], gains.values[k, 1]
    n_bad = 0
    for i in range(u64(n)):
        charge[i] = electrons(module[i], charge[i], gain[i], pedestal[i], gains, constants)
        n_bad += is_bad(pedestal[i], gains.dead, gains.noisy)
    if n_bad == 0:
        return n
    n_good = 0
    for i in range(n):
        module[n_good], row[n_good], col[n_good] = module[i], row[i], col[i]
        charge[n_good] = charge[i]
        n_good += not is_bad(pedestal[i], gains.dead, gains.noisy)
    return n_good
