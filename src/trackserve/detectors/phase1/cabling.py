"""Cabling of the read-out chips (ROCs), and the format of the raw words.

A FED is the board that reads 48 links of 8 ROCs each. Its payload is a header of 64 bits,
pixel words of 32 bits and a trailer of 64 bits. A pixel word holds the ADC count in bits 0-7,
the ROC in bits 21-25 and the link in bits 26-31. Between them are row and column in the ROC
(barrel layer 1), or pixel and double column (all other layers).
Source: SiPixelRawToClusterGPUKernel.cc of the public reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array

from .conditions import PixelConditions
from .layout import (
    LINKS_PER_FED,
    MAX_FED_ID,
    N_MODULES,
    PILOT_BLADE_FED,
    ROC_COLS,
    ROC_ROWS,
    ROCS_PER_LINK,
    ROCS_PER_MODULE,
)

LINK_SHIFT, ROC_SHIFT, ROC_MASK, ADC_MASK = 26, 21, 31, 255
"""Place of link, ROC and ADC count in a pixel word."""
HEADER_MARK, TRAILER_MARK = 0x5, 0xA
"""Bits 28-31 of the second word of a header and of a trailer."""
CHANNELS_PER_FED = LINKS_PER_FED * ROCS_PER_LINK

UNKNOWN_SLOT, IGNORED_SLOT = -1, -2
"""In :attr:`UnpackTables.fed_slot`: FEDs that are in no list, and one that is ignored."""
NOT_CABLED, MASKED = -1, -2
"""In :func:`make_roc_table`, in place of the module."""
MODULE_MASK, COLUMN_SHIFT, COLUMN_MASK, TURNED_SHIFT, LAYER_1_SHIFT = 0x7FF, 11, 7, 14, 15
"""Place of the parts of :attr:`UnpackTables.roc`."""


class UnpackTables(NamedTuple):
    """Cabling in the form in which loops read it.

    Attributes:
        fed_ids: int32[n], in the order of unpacking.
        fed_slot: int16[4097], row of ``fed_ids`` for each FED id, or :data:`UNKNOWN_SLOT` or
            :data:`IGNORED_SLOT`.
        roc: uint16[57600], :func:`make_roc_table` in little memory. Bits 0-10 are the module, or
            the last bits of :data:`NOT_CABLED` or :data:`MASKED`; bits 11-13 the ROC's place
            along the columns of the module; bit 14 tells whether it is turned: rows fall from the
            module's last one and columns rise, else the other way round; bit 15 is barrel layer 1.
    """

    fed_ids: Array
    fed_slot: Array
    roc: Array


def make_unpack_tables(conditions: PixelConditions) -> UnpackTables:
    """Make :class:`UnpackTables` from the cabling map of the conditions."""
    fed_slot = np.full(MAX_FED_ID + 1, UNKNOWN_SLOT, np.int16)
    fed_ids = conditions.fed_ids[conditions.fed_ids != PILOT_BLADE_FED].astype(np.int32)
    fed_slot[PILOT_BLADE_FED] = IGNORED_SLOT
    fed_slot[fed_ids] = np.arange(len(fed_ids))
    module, first_row, _, first_col, _, layer_1 = make_roc_table(conditions).T.astype(np.uint16)
    turned = (first_row > 0).astype(np.uint16)
    roc = module & MODULE_MASK | first_col // ROC_COLS << COLUMN_SHIFT
    return UnpackTables(fed_ids, fed_slot, roc | turned << TURNED_SHIFT | layer_1 << LAYER_1_SHIFT)


def make_roc_table(conditions: PixelConditions) -> Array:
    """Make a table of the ROCs from the cabling map of the conditions.

    Returns:
        int16[57600, 6], a row for each ROC: (FED - 1200) x 384 + (link - 1) x 8 + ROC, where ROCs
        and links count from 1. Columns are: module or :data:`NOT_CABLED` or :data:`MASKED`; first
        row; row step; first column; column step; 1 in barrel layer 1.
    """
    cabling = conditions.cabling
    raw_id = cabling["raw_id"]
    barrel = (raw_id >> 25) & 7 == 1
    layer_1 = barrel & ((raw_id >> 20) & 0xF == 1)
    negative = barrel & ((raw_id >> 2) & 0x3FF < 5)
    roc = np.empty((len(raw_id), 6), np.int16)
    in_module = cabling["roc_in_module"].astype(np.int64)
    mirrored = ~(layer_1 | (barrel & ~negative))
    roc[:, 1:5] = np.stack(_roc_frame(np.minimum(in_module, ROCS_PER_MODULE - 1), mirrored), axis=1)
    roc[:, 5] = layer_1
    cabled = (cabling["module"] < N_MODULES) & (in_module < ROCS_PER_MODULE)
    masked = (cabling["bad_roc"] != 0) | (cabling["skip_module"] != 0)
    roc[:, 0] = np.where(
        cabled, np.where(masked, MASKED, cabling["module"].astype(np.int64)), NOT_CABLED
    )
    return roc


def _roc_frame(roc: Array, mirrored: Array) -> tuple[Array, Array, Array, Array]:
    """First row, row step, first column, column step of ROCs in their module.

    A module has two rows of eight ROCs. The modules at negative z of barrel layers 2-4 and all
    modules of the endcap are mounted the other way round (frameConversion).
    """
    first_half = roc < 8
    turned = first_half ^ mirrored
    last_row = 2 * ROC_ROWS - 1
    left = ROC_COLS * np.where(first_half, roc, roc - 8)
    right = ROC_COLS * np.where(first_half, 8 - roc, 16 - roc) - 1
    return (
        np.where(turned, last_row, 0),
        np.where(turned, -1, 1),
        np.where(turned, left, right),
        np.where(turned, 1, -1),
    )
