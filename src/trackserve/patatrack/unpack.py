"""Raw FED words to digis (paper section 2.2.1; SiPixelRawToClusterGPUKernel.cc).

A FED's payload is a 64-bit header, pixel words of 32 bits and a 64-bit trailer.
A pixel word holds the ADC value in bits 0-7, the ROC (readout chip) in bits 21-25, the link in
bits 26-31 and, in between, row and column in the ROC (barrel layer 1) or pixel
and double-column number (all others).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..detector import phase1
from ..detector.conditions import PixelConditions
from ..detector.phase1 import (
    LINKS_PER_FED,
    MAX_FED_ID,
    N_MODULES,
    ROC_COLS,
    ROC_ROWS,
    ROCS_PER_LINK,
)
from ..device import kernel, shared
from ..edm import Digis, RawEvent, ReadoutErrors
from ..edm.columns import Array
from ..errors import EventError

UNKNOWN_FED = 1
SPLIT_MODULE = 2
BAD_HEADER = 32
BAD_TRAILER = 33
BAD_LENGTH = 34
BAD_LINK = 35
BAD_ROC = 36
BAD_PIXEL = 37
CRC_ERROR = 39
OVERFLOW = 40
FIRST_ERROR_ROC = 25

READOUT_ERRORS = {
    UNKNOWN_FED: "FED is not in the list of FEDs: ignored",
    SPLIT_MODULE: "module is not contiguous in the stream: its words were collected",
    25: "invalid ROC",
    26: "gap word",
    27: "dummy word",
    28: "FIFO nearly full",
    29: "timeout on a channel",
    30: "TBM error trailer",
    31: "event number error",
    BAD_HEADER: "wrong FED header",
    BAD_TRAILER: "wrong FED trailer",
    BAD_LENGTH: "length in the FED trailer is not the FED's size",
    BAD_LINK: "invalid link",
    BAD_ROC: "ROC is not cabled",
    BAD_PIXEL: "invalid pixel in ROC",
    CRC_ERROR: "CRC error: the FED is dropped",
    OVERFLOW: "TBM error trailer: overflow",
}
"""Codes of CMS' pixel formatter (25-40), and two of our own."""

_OK, _TRUNCATED, _FED_ID, _SIZE, _TWICE, _EXCESS, _TOO_MANY_FEDS = range(7)
_FAILURES = {
    _TRUNCATED: "the stream ends inside a FED",
    _FED_ID: "FED id out of range",
    _SIZE: "size of a FED is not 0 or a multiple of 8 of at least 16 bytes",
    _TWICE: "FED appears twice",
    _EXCESS: "words after the last FED",
    _TOO_MANY_FEDS: "more FEDs than ids",
}

_UNKNOWN, _IGNORED = -1, -2


class UnpackTables(NamedTuple):
    """Cabling, made ready for the loop.

    Attributes:
        fed_ids: int32[n], in the order of unpacking.
        fed_slot: int16[4097], FED id to place in ``fed_ids``; negative if not read.
        roc: int16[57600, 6]: module (-1 not cabled, -2 masked), first row, row step,
            first column, column step, barrel layer 1.
    """

    fed_ids: Array
    fed_slot: Array
    roc: Array


def make_unpack_tables(conditions: PixelConditions) -> UnpackTables:
    """Derive :class:`UnpackTables` from the cabling map."""
    cabling = conditions.cabling
    fed_slot = np.full(MAX_FED_ID + 1, _UNKNOWN, np.int16)
    fed_ids = conditions.fed_ids[conditions.fed_ids != phase1.PILOT_BLADE_FED].astype(np.int32)
    fed_slot[phase1.PILOT_BLADE_FED] = _IGNORED
    fed_slot[fed_ids] = np.arange(len(fed_ids))
    raw_id = cabling["raw_id"]
    barrel = (raw_id >> 25) & 7 == 1
    layer_1 = barrel & ((raw_id >> 20) & 0xF == 1)
    negative = barrel & ((raw_id >> 2) & 0x3FF < 5)
    roc = np.empty((len(raw_id), 6), np.int16)
    in_module = cabling["roc_in_module"].astype(np.int64)
    mirrored = ~(layer_1 | (barrel & ~negative))
    roc[:, 1:5] = np.stack(_roc_frame(np.minimum(in_module, 15), mirrored), axis=1)
    roc[:, 5] = layer_1
    cabled = (cabling["module"] < N_MODULES) & (in_module < 16)
    masked = (cabling["bad_roc"] != 0) | (cabling["skip_module"] != 0)
    roc[:, 0] = np.where(cabled, np.where(masked, -2, cabling["module"].astype(np.int64)), -1)
    return UnpackTables(fed_ids, fed_slot, roc)


def _roc_frame(roc: Array, mirrored: Array) -> tuple[Array, Array, Array, Array]:
    """First row, row step, first column, column step of a ROC in its module.

    Eight ROCs side by side in each of two rows; the modules at negative z of barrel
    layers 2-4 and all of the endcap are mounted the other way round
    (frameConversion).
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


def unpack(
    event: RawEvent, tables: UnpackTables, max_words: int
) -> tuple[Digis, ReadoutErrors, int]:
    """Unpack one event.

    Returns:
        digis whose ``charge`` is still the ADC value, modules contiguous; what was
        wrong in the words; and the number of pixel words.

    Raises:
        EventError: the stream cannot be followed (truncated, FED id or size out of
            range, a FED twice), or has more than ``max_words`` pixel words.
    """
    if event.data.dtype != np.uint8 or event.data.ndim != 1:
        raise EventError(
            "raw data must be uint8[n]",
            event=event.event,
            found=f"{event.data.dtype}{list(event.data.shape)}",
        )
    if len(event.data) < 4 or len(event.data) % 4:
        raise EventError(
            "the stream is not a whole number of 32-bit words, at least one",
            event=event.event,
            found=len(event.data),
        )
    words = np.ascontiguousarray(event.data).view(np.uint32)
    words.flags.writeable = False  # Numba compiles for writable arrays apart
    ranges = np.zeros((len(tables.fed_ids), 2), np.int32)
    status, fed, word, unknown = _find_feds(words, tables.fed_slot, ranges)
    if status != _OK:
        raise EventError(_FAILURES[status], event=event.event, fed=fed, word=word)
    notes = []
    if len(unknown):
        codes = np.full(len(unknown), UNKNOWN_FED, np.uint8)
        notes.append(ReadoutErrors(words[unknown].astype(np.int32), unknown, codes, words[unknown]))
    pixel_words, checks = _check_feds(words, tables.fed_ids, ranges)
    if pixel_words > max_words:
        raise EventError(
            "too many pixel words", event=event.event, found=int(pixel_words), bound=max_words
        )
    digis, split, errors = _unpack_words(words, tables.fed_ids, ranges, tables.roc, pixel_words)
    if split:
        order = np.argsort(digis[0], kind="stable")
        digis = tuple(column[order] for column in digis)
    notes += [
        ReadoutErrors(tables.fed_ids[slot], word, code.astype(np.uint8), words[word])
        for slot, word, code in (checks, errors)
        if len(slot)
    ]
    cluster = np.empty(len(digis[0]), np.int32)
    module, row, col, adc = digis
    return Digis(module, row, col, adc, cluster), ReadoutErrors.concatenate(notes), int(pixel_words)


@kernel
def _find_feds(words: Array, fed_slot: Array, ranges: Array) -> tuple[int, int, int, Array]:
    """Payload range of each FED, in words; (status, FED, word) and unknown FEDs."""
    unknown = np.empty(phase1.MAX_FED_ID + 1, np.int32)
    n_unknown = 0
    n_words = len(words)
    position = 1
    n_feds = int(words[0])
    if n_feds > phase1.MAX_FED_ID + 1:
        return _TOO_MANY_FEDS, n_feds, 0, unknown[:0]
    for _ in range(n_feds):
        if position + 2 > n_words:
            return _TRUNCATED, -1, position, unknown[:0]
        fed = int(words[position])
        size = int(words[position + 1])
        if fed > phase1.MAX_FED_ID:
            return _FED_ID, fed, position, unknown[:0]
        if size % 8 or size == 8:
            return _SIZE, fed, position + 1, unknown[:0]
        end = position + 2 + size // 4
        if end > n_words:
            return _TRUNCATED, fed, position, unknown[:0]
        slot = fed_slot[fed]
        if slot == _UNKNOWN:
            unknown[n_unknown] = position
            n_unknown += 1
        elif slot >= 0:
            if ranges[slot, 1] > 0:
                return _TWICE, fed, position, unknown[:0]
            ranges[slot, 0] = position + 2
            ranges[slot, 1] = end
        position = end
    if position != n_words:
        return _EXCESS, -1, position, unknown[:0]
    return _OK, -1, 0, unknown[:n_unknown].copy()


@kernel
def _check_feds(
    words: Array, fed_ids: Array, ranges: Array
) -> tuple[int, tuple[Array, Array, Array]]:
    """Narrow ``ranges`` to the pixel words; as in CMS, only a CRC error drops a FED."""
    capacity = 4 * len(ranges) + len(words)
    slots = np.empty(capacity, np.int32)
    places = np.empty(capacity, np.int32)
    codes = np.empty(capacity, np.int32)
    n = 0
    total = 0
    for slot in range(len(ranges)):
        first = ranges[slot, 0]
        last = ranges[slot, 1] - 2
        if ranges[slot, 0] == ranges[slot, 1]:
            continue
        if words[last] & 4:
            slots[n], places[n], codes[n] = slot, last, CRC_ERROR
            n += 1
            ranges[slot, 1] = ranges[slot, 0]
            continue
        length = (ranges[slot, 1] - ranges[slot, 0]) // 2
        more = True
        while more and first < last:
            low, high = words[first], words[first + 1]
            right = (high >> 28) == 0x5
            if not right or ((low >> 8) & 0xFFF) != fed_ids[slot]:
                slots[n], places[n], codes[n] = slot, first, BAD_HEADER
                n += 1
            more = right and (low & 8) != 0
            first += 2
        more = True
        while more and last >= first:
            low, high = words[last], words[last + 1]
            right = (high >> 28) == 0xA
            if not right:
                slots[n], places[n], codes[n] = slot, last, BAD_TRAILER
                n += 1
            elif (high & 0xFFFFFF) != length:
                slots[n], places[n], codes[n] = slot, last, BAD_LENGTH
                n += 1
            more = right and (low & 8) != 0
            if more:
                last -= 2
        ranges[slot, 0] = first
        ranges[slot, 1] = max(first, last)
        total += ranges[slot, 1] - ranges[slot, 0]
    return total, (slots[:n].copy(), places[:n].copy(), codes[:n].copy())


@shared
def double_column_pixel(double_column: int, pixel: int) -> tuple[int, int]:
    """Row and column in the ROC from double column and pixel number (all but layer 1)."""
    return ROC_ROWS - pixel // 2, 2 * double_column + pixel % 2


@shared
def error_code(word: int) -> int:
    """CMS' error number of a word whose ROC number, 25 to 31, is an error mark."""
    roc = (word >> 21) & 31
    return OVERFLOW if roc == 30 and (word >> 8) & 15 == 1 else roc


@kernel
def _unpack_words(
    words: Array, fed_ids: Array, ranges: Array, roc_table: Array, pixel_words: int
) -> tuple[tuple[Array, ...], bool, tuple[Array, Array, Array]]:
    modules = np.empty(pixel_words, np.uint16)
    rows = np.empty(pixel_words, np.uint16)
    cols = np.empty(pixel_words, np.uint16)
    adcs = np.empty(pixel_words, np.uint16)
    slots = np.empty(pixel_words, np.int32)
    places = np.empty(pixel_words, np.int32)
    codes = np.empty(pixel_words, np.int32)
    seen = np.zeros(N_MODULES, np.bool_)
    n = 0
    n_errors = 0
    current = -1
    split = False
    for slot in range(len(ranges)):
        base = (fed_ids[slot] - phase1.FIRST_FED) * LINKS_PER_FED * ROCS_PER_LINK
        for place in range(ranges[slot, 0], ranges[slot, 1]):
            word = int(words[place])
            if word == 0:
                continue
            roc = (word >> 21) & 31
            link = (word >> 26) & 63
            code = 0
            if roc >= FIRST_ERROR_ROC:
                code = error_code(word)
            elif link == 0 or link > LINKS_PER_FED:
                code = BAD_LINK
            elif roc == 0 or roc > ROCS_PER_LINK:
                code = BAD_ROC
            else:
                index = base + (link - 1) * ROCS_PER_LINK + roc
                # FED 149, link 48, ROC 8 falls off the end of the map
                module = roc_table[index, 0] if index < len(roc_table) else -1
                if module == -2:
                    continue
                if roc_table[min(index, len(roc_table) - 1), 5]:
                    row = (word >> 8) & 127
                    col = (word >> 15) & 63
                    valid = row < ROC_ROWS and col < ROC_COLS
                else:
                    pixel = (word >> 8) & 255
                    double_column = (word >> 16) & 31
                    row, col = double_column_pixel(double_column, pixel)
                    valid = double_column < ROC_COLS // 2 and 2 <= pixel < 2 * ROC_ROWS + 2
                if module < 0:
                    code = BAD_ROC
                elif not valid:
                    code = BAD_PIXEL
            if code:
                slots[n_errors], places[n_errors], codes[n_errors] = slot, place, code
                n_errors += 1
                continue
            if module != current:
                if seen[module]:
                    slots[n_errors], places[n_errors], codes[n_errors] = slot, place, SPLIT_MODULE
                    n_errors += 1
                    split = True
                seen[module] = True
                current = module
            modules[n] = module
            rows[n] = roc_table[index, 1] + roc_table[index, 2] * row
            cols[n] = roc_table[index, 3] + roc_table[index, 4] * col
            adcs[n] = word & 255
            n += 1
    digis = modules[:n], rows[:n], cols[:n], adcs[:n]
    errors = (
        slots[:n_errors].copy(),
        places[:n_errors].copy(),
        codes[:n_errors].copy(),
    )
    return digis, split, errors
