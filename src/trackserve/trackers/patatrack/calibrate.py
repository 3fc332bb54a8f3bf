"""ADC counts to electrons (gpuCalibPixel.h)."""

from __future__ import annotations

import numpy as np

from trackserve.detectors.phase1.gains import (
    ChargeCalibration,
    GainTables,
    Pixel,
    gain_place,
    is_bad,
)
from trackserve.detectors.phase1.layout import FIRST_BARREL_2
from trackserve.device.compile import (
    f32,
    i32,
    kernel,
    shared,
    u64,
)
from trackserve.edm import Digis
from trackserve.edm.columns import Array


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
        place[i] = gain_place(Pixel(module[i], row[i], col[i]), gains)
    for i in range(u64(n)):
        k = u64(place[i])
        gain[i], pedestal[i] = gains.values[k, 0], gains.values[k, 1]
    n_bad = 0
    for i in range(u64(n)):
        charge[i] = electrons(module[i], charge[i], gain[i], pedestal[i], gains, constants)
        n_bad += is_bad(pedestal[i], gains)
    if n_bad == 0:
        return n
    n_good = 0
    for i in range(n):
        module[n_good], row[n_good], col[n_good] = module[i], row[i], col[i]
        charge[n_good] = charge[i]
        n_good += not is_bad(pedestal[i], gains)
    return n_good
