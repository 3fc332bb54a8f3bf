"""ADC counts to electrons (gpuCalibPixel.h)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.charge import ChargeCalibration
from trackserve.detectors.phase1.gains import (
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
from trackserve.device.held import Held, plain
from trackserve.edm import Digis

_DigiArrays = Digis.Arrays


@kernel
def calibrate(
    digis: Held[Any] | Any,
    gains: Held[GainTables] | GainTables,
    constants: Held[ChargeCalibration] | ChargeCalibration,
) -> Held[Any]:
    """Turn the ADC counts in ``charge`` into electrons, in place.

    Args:
        digis: columns of :class:`trackserve.edm.Digis`.
        gains: gains and pedestals.
        constants: the linear law.

    Returns:
        the columns without digis in dead or noisy columns of pixels.
    """
    module, row, col, charge, cluster = plain(digis)
    n = _calibrate(plain(digis), plain(gains), plain(constants))
    return Held(_DigiArrays(module[:n], row[:n], col[:n], charge[:n], cluster[:n]))


class Count(NamedTuple):
    """ADC count of a pixel, and the codes of gain and pedestal of its column."""

    adc: int
    gain: int
    pedestal: int


@shared
def electrons(module: int, count: Count, gains: GainTables, constants: ChargeCalibration) -> int:
    """Charge of a pixel, electrons: VCAL units by the pixel's gain, then the linear law."""
    gain = f32(count.gain) * gains.gain_step + gains.min_gain
    pedestal = f32(count.pedestal) * gains.pedestal_step + gains.min_pedestal
    vcal = f32(count.adc) * gain - pedestal * gain
    first_layer = module < FIRST_BARREL_2
    slope = constants.slope_1 if first_layer else constants.slope
    offset = constants.offset_1 if first_layer else constants.offset
    return max(i32(constants.minimum), i32(vcal * slope + offset))


@kernel
def _calibrate(digis: Any, gains: GainTables, constants: ChargeCalibration) -> int:
    """Replace ADC counts by electrons in place, keeping the good columns.

    Args:
        digis: columns of :class:`trackserve.edm.Digis`.

    Returns:
        number of digis that are left.
    """
    module, row, col, charge = digis.module, digis.row, digis.col, digis.charge
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
        count = Count(charge[i], gain[i], pedestal[i])
        charge[i] = electrons(module[i], count, gains, constants)
        n_bad += is_bad(pedestal[i], gains)
    if n_bad == 0:
        return n
    n_good = 0
    for i in range(n):
        module[n_good], row[n_good], col[n_good] = module[i], row[i], col[i]
        charge[n_good] = charge[i]
        n_good += not is_bad(pedestal[i], gains)
    return n_good
