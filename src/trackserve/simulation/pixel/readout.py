"""Digis to raw FED words; :mod:`trackserve.trackers.patatrack.unpack` does the reverse."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.cabling import make_roc_table, make_unpack_tables
from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.layout import (
    COLS,
    FIRST_FED,
    LINKS_PER_FED,
    MAX_FEDS,
    N_MODULES,
    ROC_COLS,
    ROC_ROWS,
    ROCS_PER_LINK,
    ROWS,
)
from trackserve.device.compile import kernel, shared
from trackserve.edm.columns import Array

from .response import PixelDigis

_HEADER, _TRAILER = 0x5 << 28, 0xA << 28
_PHYSICS = 1 << 24
"""Type of the event in the header."""
_CHANNELS_PER_FED = LINKS_PER_FED * ROCS_PER_LINK


class ReadoutTables(NamedTuple):
    """Cabling, seen from the detector.

    Attributes:
        fed_ids: uint32[n], in the order of the stream.
        fed_slot: int32[150], by FED id - 1200 the place in ``fed_ids``; -1 if the FED is not
            read out.
        channel: int32[1856, 2, 8], row in ``roc`` of the read-out chip that holds rows
            from 80 i and columns from 52 j; -1 if the chip is not read out.
        roc: int16[57600, 6], see :func:`~trackserve.detectors.phase1.cabling.make_roc_table`.
    """

    fed_ids: Array
    fed_slot: Array
    channel: Array
    roc: Array


def make_readout_tables(conditions: PixelConditions) -> ReadoutTables:
    """Derive :class:`ReadoutTables` from the cabling map."""
    unpack, roc = make_unpack_tables(conditions), make_roc_table(conditions)
    module, first_row, row_step, first_col, col_step, _ = roc.T.astype(np.int64)
    slot = np.full(MAX_FEDS, -1, np.int32)
    slot[unpack.fed_ids - FIRST_FED] = np.arange(len(unpack.fed_ids))
    index = np.arange(1, len(module))
    cabled = index[(module[1:] >= 0) & (slot[(index - 1) // _CHANNELS_PER_FED] >= 0)]
    channel = np.full((N_MODULES, ROWS // ROC_ROWS, COLS // ROC_COLS), -1, np.int32)
    low_row = np.minimum(first_row, first_row + row_step * (ROC_ROWS - 1)) // ROC_ROWS
    low_col = np.minimum(first_col, first_col + col_step * (ROC_COLS - 1)) // ROC_COLS
    channel[module[cabled], low_row[cabled], low_col[cabled]] = cabled
    return ReadoutTables(unpack.fed_ids.astype(np.uint32), slot, channel, roc)


def make_raw(digis: PixelDigis, tables: ReadoutTables, event_number: int) -> Array:
    """The FED stream of one event, uint8[n].

    Every FED is there, also without pixels. Words are ordered by link and chip, and within a
    chip as ``digis`` are. Pixels of chips that are masked or not cabled are not read out. The
    checksum in the trailers is 0.

    Args:
        digis: at most one for each pixel.
        tables: made from the cabling.
        event_number: counts from 0; the headers have it as the level-1 id (24 bits).
    """
    words = _pack(digis.module, digis.row, digis.col, digis.adc, tables, event_number & 0xFFFFFF)
    raw: Array = words.view(np.uint8)
    return raw


class ChipPixel(NamedTuple):
    """A pixel of a read-out chip.

    Attributes:
        link, roc: numbers of the link and of the chip on it, from 1.
        row, col: place in the chip, from 0.
    """

    link: int
    roc: int
    row: int
    col: int


@shared
def pixel_word(at: ChipPixel, adc: int, layer_1: bool) -> int:
    """The word of a pixel.

    Args:
        at: the pixel.
        adc: 0..255.
        layer_1: whether the chip is of the innermost layer, which packs pixels in its own way.
    """
    if layer_1:
        place = at.row << 8 | at.col << 15
    else:
        place = (2 * (ROC_ROWS - at.row) + at.col % 2) << 8 | (at.col // 2) << 16
    return at.link << 26 | at.roc << 21 | place | adc


@kernel
def _pack(
    module: Array, row: Array, col: Array, adc: Array, tables: ReadoutTables, number: int
) -> Array:
    place = np.zeros(len(tables.roc), np.int64)
    channel = np.empty(len(module), np.int64)
    length = np.zeros(len(tables.fed_ids), np.int64)
    for i in range(len(module)):
        c = tables.channel[module[i], row[i] // ROC_ROWS, col[i] // ROC_COLS]
        channel[i] = c
        if c >= 0:
            place[c] += 1
            length[tables.fed_slot[(c - 1) // _CHANNELS_PER_FED]] += 1

    length += length % 2
    words = np.zeros(1 + 6 * len(length) + length.sum(), np.uint32)
    words[0] = len(length)
    at = 1
    for slot in range(len(length)):
        fed = tables.fed_ids[slot]
        words[at] = fed
        words[at + 1] = 4 * (4 + length[slot])
        words[at + 2] = fed << 8
        words[at + 3] = _HEADER | _PHYSICS | number
        first = at + 4
        base = 1 + (int(fed) - FIRST_FED) * _CHANNELS_PER_FED
        for c in range(base, min(base + _CHANNELS_PER_FED, len(place))):
            n = place[c]
            place[c] = first
            first += n
        at += 6 + length[slot]
        words[at - 1] = _TRAILER | (2 + length[slot] // 2)

    for i in range(len(module)):
        c = channel[i]
        if c < 0:
            continue
        roc = tables.roc[c]
        link, on_link = divmod((c - 1) % _CHANNELS_PER_FED, ROCS_PER_LINK)
        in_chip = (row[i] - roc[1]) * roc[2], (col[i] - roc[3]) * roc[4]
        pixel = ChipPixel(link + 1, on_link + 1, in_chip[0], in_chip[1])
        words[place[c]] = pixel_word(pixel, adc[i], roc[5] != 0)
        place[c] += 1
    return words
