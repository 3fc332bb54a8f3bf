"""ADC counts to electrons, a thread for each digi."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.charge import ChargeCalibration
from trackserve.detectors.phase1.gains import (
    GainTables,
    Pixel,
    gain_place,
    is_bad,
)
from trackserve.device.cuda import Device, cuda_kernel
from trackserve.edm import Digis

from ..calibrate import Count, electrons
from .columns import make_columns
from .unpack import Unpacked


class BatchDigis(NamedTuple):
    """Digis of a batch, modules contiguous.

    Attributes:
        n_events: number of events.
        room: number of words of the batch: the largest number of digis there can be.
        start: int32[events + 1], first digi of each event.
        event: int32[n].
        columns: columns of :class:`trackserve.edm.Digis`.
    """

    n_events: int
    room: int
    start: Any
    event: Any
    columns: Any


def calibrate(
    device: Device, unpacked: Unpacked, gains: GainTables, constants: ChargeCalibration
) -> BatchDigis:
    """Turn ADC counts into electrons, and bring the digis of a module together.

    Returns:
        the digis without those in dead or noisy columns.
    """
    n_events, n_words = unpacked.n_events, unpacked.room
    place = device.array("calibrate.place", n_words + 1, np.int32)
    digis = BatchDigis(
        n_events=n_events,
        room=n_words,
        start=device.array("digis.start", n_events + 1, np.int32),
        event=device.array("digis.event", n_words, np.int32),
        columns=make_columns(device, "digis", Digis, n_words),
    )
    device.launch(_mark_good, n_words, unpacked, gains, place)
    device.scan(place, n_words, place)
    device.launch(_fill, n_words, unpacked, gains, constants, place, digis)
    return digis


@cuda_kernel
def _mark_good(unpacked: Unpacked, gains: GainTables, place: Any) -> None:
    n = unpacked.start[unpacked.n_events]
    for i in range(cuda.grid(1), unpacked.room, cuda.gridsize(1)):
        good = 0
        if i < n:
            d = unpacked.order[i] if unpacked.split[unpacked.event[i]] else i
            k = gain_place(Pixel(unpacked.module[d], unpacked.row[d], unpacked.col[d]), gains)
            good = 0 if is_bad(gains.values[k, 1], gains) else 1
        place[i] = good


@cuda_kernel
def _fill(
    unpacked: Unpacked,
    gains: GainTables,
    constants: ChargeCalibration,
    place: Any,
    digis: BatchDigis,
) -> None:
    n_events = unpacked.n_events
    for e in range(cuda.grid(1), n_events + 1, cuda.gridsize(1)):
        digis.start[e] = place[unpacked.start[e]]
    for i in range(cuda.grid(1), unpacked.start[n_events], cuda.gridsize(1)):
        if place[i + 1] == place[i]:
            continue
        event = unpacked.event[i]
        d = unpacked.order[i] if unpacked.split[event] else i
        module, row, col = unpacked.module[d], unpacked.row[d], unpacked.col[d]
        k = gain_place(Pixel(module, row, col), gains)
        digis.event[place[i]] = event
        digis.columns.module[place[i]] = module
        digis.columns.row[place[i]] = row
        digis.columns.col[place[i]] = col
        count = Count(unpacked.charge[d], gains.values[k, 0], gains.values[k, 1])
        digis.columns.charge[place[i]] = electrons(module, count, gains, constants)
