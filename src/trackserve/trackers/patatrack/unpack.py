"""Raw FED words to digis (paper section 2.2.1; SiPixelRawToClusterGPUKernel.cc).

A FED's payload is a 64-bit header, pixel words of 32 bits and a 64-bit trailer.
A pixel word holds the ADC value in bits 0-7, the ROC (readout chip) in bits 21-25, the link in
bits 26-31 and, in between, row and column in the ROC (barrel layer 1) or pixel
and double-column number (all others).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.cabling import (
    ADC_MASK,
    CHANNELS_PER_FED,
    COLUMN_MASK,
    COLUMN_SHIFT,
    HEADER_MARK,
    LAYER_1_SHIFT,
    LINK_SHIFT,
    MASKED,
    MODULE_MASK,
    NOT_CABLED,
    ROC_MASK,
    ROC_SHIFT,
    TRAILER_MARK,
    TURNED_SHIFT,
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
from trackserve.device.compile import LANES, kernel, shared, side_by_side, u64, wide_vectors
from trackserve.device.held import Held, plain
from trackserve.edm import Digis, RawEvent, ReadoutErrors
from trackserve.edm.columns import Array
from trackserve.edm.limits import check_limit
from trackserve.errors import EventError

_DigiArrays = Digis.Arrays
_NO_ERRORS = ReadoutErrors.empty()
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

OK, _TRUNCATED, _FED_ID, _SIZE, _TWICE, _EXCESS, _TOO_MANY_FEDS, TOO_MANY_WORDS = range(8)
_FAILURES = {
    _TRUNCATED: "the stream ends inside a FED",
    _FED_ID: "FED id out of range",
    _SIZE: "size of a FED is not 0 or a multiple of 8 of at least 16 bytes",
    _TWICE: "FED appears twice",
    _EXCESS: "words after the last FED",
    _TOO_MANY_FEDS: "more FEDs than ids",
}


def unpack(
    event: RawEvent, tables: Held[UnpackTables] | UnpackTables, max_words: int
) -> tuple[Held[Any], ReadoutErrors, int]:
    """Unpack one event.

    Args:
        event: the event.
        tables: the cabling.
        max_words: largest number of pixel words.

    Returns:
        columns of :class:`trackserve.edm.Digis`, whose ``charge`` is still the ADC value, modules
        contiguous; the errors in the words; and the number of pixel words.

    Raises:
        EventError: the stream cannot be followed (truncated, FED id or size out of
            range, a FED twice).
        LimitExceeded: it has more than ``max_words`` pixel words.
    """
    words = stream_words(event)
    stream, digis, errors, n_errors = words_to_digis(words, tables, max_words)
    check_stream(event.event, stream, max_words)
    return digis, errors_of(errors, n_errors), stream.n_words


def errors_of(errors: Held[Any], n: int) -> ReadoutErrors:
    """The ``n`` errors in the words of an event, of their columns."""
    return ReadoutErrors(*errors.value) if n else _NO_ERRORS


def stream_words(event: RawEvent) -> Array:
    """The stream of an event as uint32[n], read-only.

    Raises:
        EventError: it is not a whole number of words.
    """
    if len(event.data) < 4 or len(event.data) % 4:
        raise EventError(
            "the stream is not a whole number of 32-bit words, at least one",
            event=event.event,
            found=len(event.data),
        )
    words = np.ascontiguousarray(event.data).view(np.uint32)
    words.flags.writeable = False  # Numba compiles for writable arrays apart
    return words


class Stream(NamedTuple):
    """Summary of an event's stream.

    Attributes:
        status: OK, or why the stream cannot be followed.
        fed: FED where it cannot; -1 if none is to blame.
        word: word where it cannot.
        n_words: number of pixel words.
    """

    status: int
    fed: int
    word: int
    n_words: int


def check_stream(event: int, stream: Stream, max_words: int) -> None:
    """Refuse a stream that cannot be unpacked.

    Args:
        event: number of the event.
        stream: what :func:`follow_stream` found.
        max_words: largest number of pixel words.

    Raises:
        EventError: it cannot be followed.
        LimitExceeded: it has more pixel words.
    """
    if stream.status in _FAILURES:
        raise EventError(_FAILURES[stream.status], event=event, fed=stream.fed, word=stream.word)
    check_limit("words", stream.n_words, max_words, event=event)


class Notes(NamedTuple):
    """Memory for columns of :class:`trackserve.edm.ReadoutErrors`."""

    fed: Array
    word: Array
    code: Array


@kernel
def words_to_digis(
    words: Array, tables: Held[UnpackTables] | UnpackTables, max_words: int
) -> tuple[Stream, Held[Any], Held[tuple[Array, ...]], int]:
    """Unpack a stream.

    Returns:
        summary of the stream; columns of digis and of errors, both empty if the status is not OK;
        and the number of errors.
    """
    return _unpack_stream(words, plain(tables), max_words)


@kernel
def _unpack_stream(
    words: Array, tables: UnpackTables, max_words: int
) -> tuple[Stream, Held[Any], Held[tuple[Array, ...]], int]:
    ranges = np.zeros((len(tables.fed_ids), 2), np.int32)
    most = most_notes(len(words), len(ranges)) + len(words)
    notes = Notes(
        fed=np.empty(most, np.int32), word=np.empty(most, np.int32), code=np.empty(most, np.uint8)
    )
    stream, n = follow_stream(words, tables, max_words, ranges, notes)
    if stream.status != OK:
        n, ranges = 0, ranges[:0]
    (module, row, col, adc), split, n = _unpack_words(words, tables, ranges, notes, n)
    if split:
        order = np.argsort(module, kind="mergesort")
        module, row, col, adc = module[order], row[order], col[order], adc[order]
    digis = _DigiArrays(module, row, col, adc, np.empty(len(module), np.int32))
    word_of = notes.word[:n].copy()
    errors = notes.fed[:n].copy(), word_of, notes.code[:n].copy(), words[word_of]
    return stream, Held(digis), Held(errors), n


@shared
def add_note(notes: Notes, n: int, fed: int, word: int, code: int) -> int:
    """Write a note behind the ``n`` that are there; return the number of notes now."""
    notes.fed[n], notes.word[n], notes.code[n] = fed, word, code
    return n + 1


@shared
def most_notes(n_words: int, n_feds: int) -> int:
    """Largest number of notes that :func:`follow_stream` makes.

    A FED that is not read is two words or more, as are a header and a trailer. Each FED ends with
    one of each and a CRC.
    """
    return n_words + 4 * n_feds


@shared
def follow_stream(
    words: Array, tables: UnpackTables, max_words: int, ranges: Array, notes: Notes
) -> tuple[Stream, int]:
    """Find the pixel words of each FED.

    Args:
        words: uint32[n], the stream.
        tables: the cabling.
        max_words: largest number of pixel words.
        ranges: int32[FEDs, 2], zeros; gets the first pixel word of each and the one past the
            last.
        notes: memory for :func:`most_notes`.

    Returns:
        summary of the stream, and the number of notes.
    """
    status, fed, word, n = _find_feds(words, tables.fed_slot, ranges, notes)
    n_words = 0
    if status == OK:
        n_words, n = _check_feds(words, tables.fed_ids, ranges, notes, n)
        if n_words > max_words:
            status = TOO_MANY_WORDS
    return Stream(status=status, fed=fed, word=word, n_words=n_words), n


@shared
def _find_feds(
    words: Array, fed_slot: Array, ranges: Array, notes: Notes
) -> tuple[int, int, int, int]:
    """Find the payload of each FED.

    Returns:
        status, FED and word of :class:`Stream`, and the number of notes.
    """
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
            n = add_note(notes, n, fed, position, UNKNOWN_FED)
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

    Returns:
        the number of pixel words and of notes.
    """
    total = 0
    for slot in range(len(ranges)):
        fed = fed_ids[slot]
        first = ranges[slot, 0]
        last = ranges[slot, 1] - 2
        if ranges[slot, 0] == ranges[slot, 1]:
            continue
        if words[last] & 4:
            n = add_note(notes, n, fed, last, CRC_ERROR)
            ranges[slot, 1] = ranges[slot, 0]
            continue
        length = (ranges[slot, 1] - ranges[slot, 0]) // 2
        more = True
        while more and first < last:
            low, high = words[first], words[first + 1]
            right = (high >> 28) == HEADER_MARK
            if not right or ((low >> 8) & 0xFFF) != fed:
                n = add_note(notes, n, fed, first, BAD_HEADER)
            more = right and (low & 8) != 0
            first += 2
        more = True
        while more and last >= first:
            low, high = words[last], words[last + 1]
            right = (high >> 28) == TRAILER_MARK
            if not right:
                n = add_note(notes, n, fed, last, BAD_TRAILER)
            elif (high & 0xFFFFFF) != length:
                n = add_note(notes, n, fed, last, BAD_LENGTH)
            more = right and (low & 8) != 0
            if more:
                last -= 2
        ranges[slot, 0] = first
        ranges[slot, 1] = max(first, last)
        total += ranges[slot, 1] - ranges[slot, 0]
    return total, n


@shared
def error_code(word: int) -> int:
    """CMS' error number of a word whose ROC number, 25 to 31, is an error mark."""
    roc = (word >> ROC_SHIFT) & ROC_MASK
    return OVERFLOW if roc == 30 and (word >> 8) & 15 == 1 else roc


class Roc(NamedTuple):
    """Columns of :func:`trackserve.detectors.phase1.cabling.make_roc_table` for one ROC."""

    module: int
    first_row: int
    row_step: int
    first_col: int
    col_step: int
    layer_1: int


@shared
def find_place(word: int, fed: int, n_rocs: int) -> tuple[int, int]:
    """Find the place of a pixel word's ROC in the table of ROCs.

    Returns:
        error of the word's link and ROC, 0 if there is none; and the place, 0 if there is an error.
    """
    link, roc = word >> LINK_SHIFT, (word >> ROC_SHIFT) & ROC_MASK
    index = (fed - FIRST_FED) * CHANNELS_PER_FED + (link - 1) * ROCS_PER_LINK + roc
    code = 0
    if roc >= FIRST_ERROR_ROC:
        code = roc
    elif link == 0 or link > LINKS_PER_FED:
        code = BAD_LINK
    elif roc == 0 or roc > ROCS_PER_LINK or index >= n_rocs:
        # FED 149, link 48, ROC 8 falls off the end of the map
        code = BAD_ROC
    return code, index if code == 0 else 0


@shared
def find_roc(word: int, fed: int, tables: UnpackTables) -> tuple[int, Roc]:
    """Find the ROC of a pixel word.

    Returns:
        error of the word's link and ROC, whatever the pixel, 0 if there is none; and the ROC,
        any if there is an error.
    """
    code, place = find_place(word, fed, len(tables.roc))
    roc = roc_at(tables.roc[place])
    if code == 0 and roc.module == NOT_CABLED:
        code = BAD_ROC
    return code, roc


@shared
def roc_at(bits: int) -> Roc:
    """Read an entry of :attr:`trackserve.detectors.phase1.cabling.UnpackTables.roc`."""
    module, turned = int(bits & MODULE_MASK), int((bits >> TURNED_SHIFT) & 1)
    return Roc(
        module=module if module < N_MODULES else module - (MODULE_MASK + 1),
        first_row=turned * (2 * ROC_ROWS - 1),
        row_step=1 - 2 * turned,
        first_col=ROC_COLS * int((bits >> COLUMN_SHIFT) & COLUMN_MASK)
        + (1 - turned) * (ROC_COLS - 1),
        col_step=2 * turned - 1,
        layer_1=int(bits >> LAYER_1_SHIFT),
    )


@shared
def note_of(code: int, word: int) -> int:
    """The code to report for a word, from that of its link and ROC."""
    return error_code(word) if code < BAD_HEADER else code


@shared
def find_pixel(word: int, roc: Roc) -> tuple[int, int, bool]:
    """Row and column in the module, and whether there is such a pixel in the ROC."""
    if roc.layer_1:
        row = (word >> 8) & 127
        col = (word >> 15) & 63
        valid = row < ROC_ROWS and col < ROC_COLS
    else:
        pixel = (word >> 8) & 255
        double_column = (word >> 16) & 31
        row, col = ROC_ROWS - pixel // 2, 2 * double_column + pixel % 2
        valid = double_column < ROC_COLS // 2 and 2 <= pixel < 2 * ROC_ROWS + 2
    return roc.first_row + roc.row_step * row, roc.first_col + roc.col_step * col, valid


_MODULE, _ROW, _COL, _ADC = range(4)
"""Rows of digis."""
_WORD, _CODE, _PLACE, _ROC = range(4)
"""Rows of :attr:`WordWorkspace.word`: the word, the results of :func:`find_place`, and an entry of
the table of ROCs."""


class WordWorkspace(NamedTuple):
    """Memory for words, one in each lane.

    Attributes:
        word: uint32[4, lanes], what is known of each word.
        digi: uint16[4, lanes], the digis.
    """

    word: Array
    digi: Array


@side_by_side
def _unpack_side_by_side(
    lanes: int, first: int, fed: int, words: Array, tables: UnpackTables, work: WordWorkspace
) -> bool:
    """Unpack a block of words of a FED.

    Args:
        lanes: number of lanes; a constant of the caller, so that loops over them have its length.
        first: place of the first word.
        fed: the FED.
        words: the stream.
        tables: the cabling.
        work: memory; it gets the digis.

    Returns:
        whether each word is a digi.
    """
    known, digi = work.word, work.digi
    for lane in range(u64(lanes)):
        known[_WORD, lane] = words[first + lane]
    for lane in range(u64(lanes)):
        code, place = find_place(int(known[_WORD, lane]), fed, len(tables.roc))
        known[_CODE, lane], known[_PLACE, lane] = code, place
    for lane in range(u64(lanes)):
        known[_ROC, lane] = tables.roc[u64(known[_PLACE, lane])]
    n_others = 0
    for lane in range(u64(lanes)):
        word, roc = int(known[_WORD, lane]), roc_at(known[_ROC, lane])
        row, col, valid = find_pixel(word, roc)
        digi[_MODULE, lane], digi[_ROW, lane], digi[_COL, lane] = roc.module, row, col
        digi[_ADC, lane] = word & ADC_MASK
        n_others += (known[_CODE, lane] != 0) | (roc.module < 0) | (not valid)
    return n_others == 0


@shared
def _comes_again(module: int, before: int, seen: Array) -> bool:
    """Whether a module has had words, and those ``before`` were of another; now it has."""
    again = (module != before) & seen[module]
    seen[module] = True
    return again


@kernel
def _unpack_words(
    words: Array, tables: UnpackTables, ranges: Array, notes: Notes, n_notes: int
) -> tuple[tuple[Array, ...], bool, int]:
    """Columns of digis, whether a module was split, and the number of notes."""
    wide_vectors()
    n_words = 0
    for slot in range(len(ranges)):
        n_words += ranges[slot, 1] - ranges[slot, 0]
    digis = np.empty((4, n_words), np.uint16)
    seen = np.zeros(N_MODULES, np.bool_)
    work = WordWorkspace(np.empty((4, LANES), np.uint32), np.empty((4, LANES), np.uint16))
    n = u64(0)
    current = -1
    split = False
    for slot in range(len(ranges)):
        fed = tables.fed_ids[slot]
        place, last = u64(ranges[slot, 0]), u64(ranges[slot, 1])
        while place < last:
            end = min(place + u64(LANES), last)
            if end - place == u64(LANES) and _unpack_side_by_side(
                LANES, place, fed, words, tables, work
            ):
                for k in range(u64(len(work.digi))):
                    for lane in range(u64(LANES)):
                        digis[k, n + lane] = work.digi[k, lane]
                for lane in range(u64(LANES)):
                    module = int(work.digi[_MODULE, lane])
                    if _comes_again(module, current, seen):
                        n_notes = add_note(notes, n_notes, fed, place + lane, SPLIT_MODULE)
                        split = True
                    current = module
                n += u64(LANES)
                place = end
            while place < end:  # some are no digis, or the block is the rest of a FED
                word = int(words[place])
                code, roc = find_roc(word, fed, tables)
                row, col, valid = find_pixel(word, roc)
                if code:
                    if word:
                        n_notes = add_note(notes, n_notes, fed, place, note_of(code, word))
                elif roc.module == MASKED:
                    pass
                elif not valid:
                    n_notes = add_note(notes, n_notes, fed, place, BAD_PIXEL)
                else:
                    if _comes_again(roc.module, current, seen):
                        n_notes = add_note(notes, n_notes, fed, place, SPLIT_MODULE)
                        split = True
                    current = roc.module
                    digis[_MODULE, n], digis[_ROW, n], digis[_COL, n] = roc.module, row, col
                    digis[_ADC, n] = word & ADC_MASK
                    n += u64(1)
                place += u64(1)
    columns = digis[_MODULE, :n], digis[_ROW, :n], digis[_COL, :n], digis[_ADC, :n]
    return columns, split, n_notes
