"""Raw FED words to digis (paper section 2.2.1; SiPixelRawToClusterGPUKernel.cc).

A FED's payload is a 64-bit header, pixel words of 32 bits and a 64-bit trailer.
A pixel word holds the ADC value in bits 0-7, the ROC (readout chip) in bits 21-25, the link in
bits 26-31 and, in between, row and column in the ROC (barrel layer 1) or pixel
and double-column number (all others).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.cabling import (
    ADC_MASK,
    CHANNELS_PER_FED,
    HEADER_MARK,
    LINK_SHIFT,
    MASKED,
    NOT_CABLED,
    ROC_MASK,
    ROC_SHIFT,
    TRAILER_MARK,
    UNKNOWN_SLOT,
    UnpackTables,
)
from trackserve.detectors.phase1.layout import (
    FIRST_FED,
    LINKS_PER_FED,
    MAX_FED_ID,
    N_MODULES,
    ROC_COLS,
    ROC_ROWS,
    ROCS_PER_LINK,
)
from trackserve.device.compile import kernel, shared, u64
from trackserve.edm import Digis, RawEvent, ReadoutErrors
from trackserve.edm.columns import Array
from trackserve.errors import EventError

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

OK, _TRUNCATED, _FED_ID, _SIZE, _TWICE, _EXCESS, _TOO_MANY_FEDS, _TOO_MANY_WORDS = range(8)
_FAILURES = {
    _TRUNCATED: "the stream ends inside a FED",
    _FED_ID: "FED id out of range",
    _SIZE: "size of a FED is not 0 or a multiple of 8 of at least 16 bytes",
    _TWICE: "FED appears twice",
    _EXCESS: "words after the last FED",
    _TOO_MANY_FEDS: "more FEDs than ids",
}


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
    words = stream_words(event)
    words.flags.writeable = False  # Numba compiles for writable arrays apart
    (status, fed, word), n_words, split, digis, errors = _unpack(words, tables, max_words)
    check_status(event.event, status, fed, word, n_words, max_words)
    module, row, col, adc = digis
    unpacked = Digis(module, row, col, adc, np.empty(len(module), np.int32))
    if split:
        unpacked = unpacked.take(np.argsort(module, kind="stable"))
    return unpacked, ReadoutErrors(*errors), n_words


def stream_words(event: RawEvent) -> Array:
    """The stream of an event as uint32[n].

    Raises:
        EventError: it is not a whole number of words.
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
    return np.ascontiguousarray(event.data).view(np.uint32)


def check_status(
    event: int, status: int, fed: int, word: int, n_words: int, max_words: int
) -> None:
    """Raise the :class:`EventError` that :func:`follow_stream` found, if any."""
    if status == _TOO_MANY_WORDS:
        raise EventError("too many pixel words", event=event, found=n_words, bound=max_words)
    if status != OK:
        raise EventError(_FAILURES[status], event=event, fed=fed, word=word)


class Notes(NamedTuple):
    """Room for columns of :class:`trackserve.edm.ReadoutErrors`."""

    fed: Array
    word: Array
    code: Array


@kernel
def _unpack(
    words: Array, tables: UnpackTables, max_words: int
) -> tuple[tuple[int, int, int], int, bool, tuple[Array, ...], tuple[Array, ...]]:
    """(status, FED, word), number of pixel words, whether a module was split, columns of
    digis and of errors; both are empty if the status is not OK."""
    ranges = np.zeros((len(tables.fed_ids), 2), np.int32)
    most = most_notes(len(words), len(ranges)) + len(words)
    notes = Notes(np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.uint8))
    status, fed, word, n_words, n = follow_stream(words, tables, max_words, ranges, notes)
    if status != OK:
        n, ranges = 0, ranges[:0]
    digis, split, n = _unpack_words(words, tables, ranges, notes, n)
    word_of = notes.word[:n].copy()
    errors = notes.fed[:n].copy(), word_of, notes.code[:n].copy(), words[word_of]
    return (status, fed, word), n_words, split, digis, errors


@shared
def most_notes(n_words: int, n_feds: int) -> int:
    """How many notes :func:`follow_stream` makes at most: a FED that is not read is two words
    or more, as are a header and a trailer, and each FED ends with one of each and a CRC."""
    return n_words + 4 * n_feds


@shared
def follow_stream(
    words: Array, tables: UnpackTables, max_words: int, ranges: Array, notes: Notes
) -> tuple[int, int, int, int, int]:
    """Find the pixel words of each FED.

    Args:
        ranges: int32[FEDs, 2], zeros; gets the first pixel word of each and the one past the
            last.
        notes: room for :func:`most_notes`.

    Returns:
        status, FED and word of a failure, number of pixel words, number of notes.
    """
    status, fed, word, n = _find_feds(words, tables.fed_slot, ranges, notes)
    n_words = 0
    if status == OK:
        n_words, n = _check_feds(words, tables.fed_ids, ranges, notes, n)
        if n_words > max_words:
            status = _TOO_MANY_WORDS
    return status, fed, word, n_words, n


@shared
def _find_feds(
    words: Array, fed_slot: Array, ranges: Array, notes: Notes
) -> tuple[int, int, int, int]:
    """Payload range of each FED, in words; status, FED, word and number of notes."""
    n = 0
    n_words = len(words)
    position = 1
    n_feds = int(words[0])
    if n_feds > MAX_FED_ID + 1:
        return _TOO_MANY_FEDS, n_feds, 0, n
    for _ in range(n_feds):
        if position + 2 > n_words:
            return _TRUNCATED, -1, position, n
        fed = int(words[position])
        size = int(words[position + 1])
        if fed > MAX_FED_ID:
            return _FED_ID, fed, position, n
        if size % 8 or size == 8:
            return _SIZE, fed, position + 1, n
        end = position + 2 + size // 4
        if end > n_words:
            return _TRUNCATED, fed, position, n
        slot = fed_slot[fed]
        if slot == UNKNOWN_SLOT:
            notes.fed[n], notes.word[n], notes.code[n] = fed, position, UNKNOWN_FED
            n += 1
        elif slot >= 0:
            if ranges[slot, 1] > 0:
                return _TWICE, fed, position, n
            ranges[slot, 0] = position + 2
            ranges[slot, 1] = end
        position = end
    if position != n_words:
        return _EXCESS, -1, position, n
    return OK, -1, 0, n


@shared
def _check_feds(
    words: Array, fed_ids: Array, ranges: Array, notes: Notes, n: int
) -> tuple[int, int]:
    """Narrow ``ranges`` to the pixel words; as in CMS, only a CRC error drops a FED.

    Returns the number of pixel words and of notes.
    """
    total = 0
    for slot in range(len(ranges)):
        fed = fed_ids[slot]
        first = ranges[slot, 0]
        last = ranges[slot, 1] - 2
        if ranges[slot, 0] == ranges[slot, 1]:
            continue
        if words[last] & 4:
            notes.fed[n], notes.word[n], notes.code[n] = fed, last, CRC_ERROR
            n += 1
            ranges[slot, 1] = ranges[slot, 0]
            continue
        length = (ranges[slot, 1] - ranges[slot, 0]) // 2
        more = True
        while more and first < last:
            low, high = words[first], words[first + 1]
            right = (high >> 28) == HEADER_MARK
            if not right or ((low >> 8) & 0xFFF) != fed:
                notes.fed[n], notes.word[n], notes.code[n] = fed, first, BAD_HEADER
                n += 1
            more = right and (low & 8) != 0
            first += 2
        more = True
        while more and last >= first:
            low, high = words[last], words[last + 1]
            right = (high >> 28) == TRAILER_MARK
            if not right:
                notes.fed[n], notes.word[n], notes.code[n] = fed, last, BAD_TRAILER
                n += 1
            elif (high & 0xFFFFFF) != length:
                notes.fed[n], notes.word[n], notes.code[n] = fed, last, BAD_LENGTH
                n += 1
            more = right and (low & 8) != 0
            if more:
                last -= 2
        ranges[slot, 0] = first
        ranges[slot, 1] = max(first, last)
        total += ranges[slot, 1] - ranges[slot, 0]
    return total, n


@shared
def double_column_pixel(double_column: int, pixel: int) -> tuple[int, int]:
    """Row and column in the ROC from double column and pixel number (all but layer 1)."""
    return ROC_ROWS - pixel // 2, 2 * double_column + pixel % 2


@shared
def error_code(word: int) -> int:
    """CMS' error number of a word whose ROC number, 25 to 31, is an error mark."""
    roc = (word >> ROC_SHIFT) & ROC_MASK
    return OVERFLOW if roc == 30 and (word >> 8) & 15 == 1 else roc


@shared
def roc_error(link: int, roc: int) -> int:
    """What is wrong with words of such a link and ROC, whatever the pixel; 0 if nothing."""
    if roc >= FIRST_ERROR_ROC:
        return roc
    if link == 0 or link > LINKS_PER_FED:
        return BAD_LINK
    if roc == 0 or roc > ROCS_PER_LINK:
        return BAD_ROC
    return 0


@shared
def find_roc(word: int, fed: int, n_rocs: int) -> tuple[int, int]:
    """What is wrong with the word's link and ROC (0 if nothing), and the row of
    :attr:`UnpackTables.roc`, which has ``n_rocs``; 0 if something is wrong."""
    link, roc = word >> LINK_SHIFT, (word >> ROC_SHIFT) & ROC_MASK
    index = (fed - FIRST_FED) * CHANNELS_PER_FED + (link - 1) * ROCS_PER_LINK + roc
    code = roc_error(link, roc)
    # FED 149, link 48, ROC 8 falls off the end of the map
    if code == 0 and index >= n_rocs:
        code = BAD_ROC
    return code, index if code == 0 else 0


@shared
def note_of(code: int, word: int) -> int:
    """The code to report for a word, from that of its link and ROC."""
    return error_code(word) if code < BAD_HEADER else code


@shared
def pixel_in_roc(word: int, layer_1: bool) -> tuple[int, int, bool]:
    """Row and column in the ROC, and whether there is such a pixel."""
    if layer_1:
        row = (word >> 8) & 127
        col = (word >> 15) & 63
        return row, col, row < ROC_ROWS and col < ROC_COLS
    pixel = (word >> 8) & 255
    double_column = (word >> 16) & 31
    row, col = double_column_pixel(double_column, pixel)
    return row, col, double_column < ROC_COLS // 2 and 2 <= pixel < 2 * ROC_ROWS + 2


@kernel
def _unpack_words(
    words: Array, tables: UnpackTables, ranges: Array, notes: Notes, n_notes: int
) -> tuple[tuple[Array, ...], bool, int]:
    """Columns of digis, whether a module was split, and the number of notes."""
    n_words = 0
    for slot in range(len(ranges)):
        n_words += ranges[slot, 1] - ranges[slot, 0]
    modules = np.empty(n_words, np.uint16)
    rows = np.empty(n_words, np.uint16)
    cols = np.empty(n_words, np.uint16)
    adcs = np.empty(n_words, np.uint16)
    seen = np.zeros(N_MODULES, np.bool_)
    n = u64(0)
    current = -1
    split = False
    for slot in range(len(ranges)):
        fed = tables.fed_ids[slot]
        place, last = u64(ranges[slot, 0]), u64(ranges[slot, 1])
        while place < last:
            # the words of a ROC mostly come in a row: what they share is looked up once
            head = words[place] >> ROC_SHIFT
            code, index = find_roc(int(words[place]), fed, len(tables.roc))
            module = tables.roc[index, 0]
            if code == 0 and module == NOT_CABLED:
                code = BAD_ROC
            if code:
                while place < last and words[place] >> ROC_SHIFT == head:
                    word = int(words[place])
                    if word:
                        notes.fed[n_notes], notes.word[n_notes] = fed, place
                        notes.code[n_notes] = note_of(code, word)
                        n_notes += 1
                    place += u64(1)
                continue
            first_row, row_step = tables.roc[index, 1], tables.roc[index, 2]
            first_col, col_step = tables.roc[index, 3], tables.roc[index, 4]
            layer_1 = tables.roc[index, 5]
            while place < last and words[place] >> ROC_SHIFT == head:
                word = int(words[place])
                row, col, valid = pixel_in_roc(word, layer_1)
                if module == MASKED:
                    pass
                elif not valid:
                    notes.fed[n_notes], notes.word[n_notes] = fed, place
                    notes.code[n_notes] = BAD_PIXEL
                    n_notes += 1
                else:
                    if module != current:
                        if seen[module]:
                            notes.fed[n_notes], notes.word[n_notes] = fed, place
                            notes.code[n_notes] = SPLIT_MODULE
                            n_notes += 1
                            split = True
                        seen[module] = True
                        current = module
                    modules[n] = module
                    rows[n] = first_row + row_step * row
                    cols[n] = first_col + col_step * col
                    adcs[n] = word & ADC_MASK
                    n += u64(1)
                place += u64(1)
    return (modules[:n], rows[:n], cols[:n], adcs[:n]), split, n_notes
