"""ADC counts to electrons (gpuCalibPixel.h)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..detector.conditions import PixelConditions
from ..detector.phase1 import FIRST_BARREL_2, N_MODULES, ROWS
from ..device import f32, kernel, shared
from ..edm import Digis
from ..edm.columns import Array
from .config import ChargeCalibration


class GainTables(NamedTuple):
    """Gain and pedestal of each column and block of rows.

    Attributes:
        first: int32[modules], row of ``values`` where a module starts.
        column_step: int32[modules], rows of ``values`` per column.
        values: uint8[n, 2], encoded gain (VCAL/ADC) and pedestal (ADC).
        gain, pedestal: float32[256], decoded values; NaN marks a dead or noisy column.
        block: int32[160], block of rows that share a value, of each row.
    """

    first: Array
    column_step: Array
    values: Array
    gain: Array
    pedestal: Array
    block: Array


def make_gain_tables(conditions: PixelConditions) -> GainTables:
    """Derive :class:`GainTables` from the gain payload."""
    gain = conditions.gain
    module = gain["module"][:N_MODULES]
    byte = np.arange(256, dtype=np.float32)
    pedestal = byte * gain["ped_precision"] + gain["min_ped"]
    for flag in (int(gain["dead"]), int(gain["noisy"])):
        if flag < len(pedestal):
            pedestal[flag] = np.nan
    length = module["last"].astype(np.int64) - module["first"]
    return GainTables(
        first=(module["first"] // 2).astype(np.int32),
        column_step=(length // module["n_cols"] // 2).astype(np.int32),
        values=gain["values"].copy(),
        gain=byte * gain["gain_precision"] + gain["min_gain"],
        pedestal=pedestal,
        block=(np.arange(ROWS) // int(gain["rows_per_block"])).astype(np.int32),
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
    return max(minimum, int(vcal * slope + offset))


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
    n = 0
    for i in range(len(module)):
        m = module[i]
        index = gains.first[m] + col[i] * gains.column_step[m] + gains.block[row[i]]
        pedestal = gains.pedestal[gains.values[index, 1]]
        if np.isnan(pedestal):
            continue
        gain = gains.gain[gains.values[index, 0]]
        if m < FIRST_BARREL_2:
            slope, offset = constants.slope_1, constants.offset_1
        else:
            slope, offset = constants.slope, constants.offset
        module[n], row[n], col[n] = m, row[i], col[i]
        electrons = pixel_charge(f32(charge[i]), gain, pedestal, slope, offset, constants.minimum)
        charge[n] = electrons
        n += 1
    return n
