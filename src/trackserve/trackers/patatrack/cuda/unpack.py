"""Raw words to digis. A thread follows the stream of an event; a block unpacks a FED."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.cabling import ADC_MASK, MASKED, UnpackTables
from trackserve.detectors.phase1.layout import N_MODULES
from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.edm import ReadoutErrors

from ..unpack import (
    BAD_PIXEL,
    OK,
    SPLIT_MODULE,
    Notes,
    find_pixel,
    find_roc,
    follow_stream,
    most_notes,
    note_of,
)
from .columns import Batch, make_columns


class Streams(NamedTuple):
    """Streams of a batch; a range is the pixel words of one FED of one event.

    Attributes:
        n_ranges: number of ranges, events * FEDs.
        status: int64[events, 4], the columns of :class:`..unpack.Stream`.
        ranges: int32[events, FEDs, 2], pixel words of each FED, from the stream's beginning.
        length: int32[ranges], number of pixel words.
        start: int32[ranges + 1], number of pixel words before: the place of a range among the
            pixel words of the batch.
        notes: notes on FEDs; those of an event are behind the :func:`..unpack.most_notes` of the
            events before it.
        n_notes: int32[events], number of these notes.
    """

    n_ranges: int
    status: Any
    ranges: Any
    length: Any
    start: Any
    notes: Notes
    n_notes: Any


class Places(NamedTuple):
    """Places of what pixel words make; int32[n + 1], a row for each pixel word of the batch.

    Attributes:
        digi: 1 if the word makes a digi, else 0; then the number of digis before.
        note: the same of notes.
    """

    digi: Any
    note: Any


class Unpacked(NamedTuple):
    """Digis in the order of the words; ``charge`` is still the ADC value.

    Attributes:
        n_events: number of events.
        room: number of words of the batch: the largest number of digis there can be.
        start: int32[events + 1], first digi of each event.
        event: int32[n].
        module, row, col, charge: uint16[n].
        source: int32[n], place of the word among the pixel words of the batch.
        order: int32[n], digis module by module; of events with ``split`` only.
        split: int32[events], 1 if a module is not contiguous, else 0.
        first: int32[events * modules], first digi of each module.
    """

    n_events: int
    room: int
    start: Any
    event: Any
    module: Any
    row: Any
    col: Any
    charge: Any
    source: Any
    order: Any
    split: Any
    first: Any


class BatchErrors(NamedTuple):
    """Readout errors of a batch.

    Attributes:
        start: int32[events + 1], first error of each event.
        columns: columns of :class:`trackserve.edm.ReadoutErrors`.
    """

    start: Any
    columns: Any


def unpack(
    device: Device, batch: Batch, tables: UnpackTables, max_words: int
) -> tuple[Unpacked, Streams, BatchErrors]:
    """Unpack a batch.

    Args:
        device: the device.
        batch: the raw events.
        tables: the cabling, on the device.
        max_words: largest number of pixel words of an event.
    """
    n_events, n_words, n_feds = batch.n_events, batch.n, len(tables.fed_ids)
    n_ranges = n_events * n_feds
    n_notes = most_notes(n_words, n_ranges)
    streams = _make_streams(device, n_events, n_feds, n_notes)
    places = Places(
        digi=device.array("unpack.digi", n_words + 1, np.int32),
        note=device.array("unpack.note", n_words + 1, np.int32),
    )
    found = _make_unpacked(device, n_events, n_words)
    errors = BatchErrors(
        start=device.array("unpack.error_start", n_events + 1, np.int32),
        columns=make_columns(device, "errors", ReadoutErrors, n_notes + n_words),
    )
    n_blocks = min(n_ranges, 65535)
    device.launch(_follow_streams, n_events, batch, tables, streams, max_words)
    device.scan(streams.length, n_ranges, streams.start)
    device.launch_blocks(_mark_words, n_blocks, batch, tables, streams, places)
    device.scan(places.digi, n_words, places.digi)
    device.launch_blocks(_fill_digis, n_blocks, batch, tables, streams, places, found)
    device.fill(found.split, n_events, 0)
    device.fill(found.first, n_events * N_MODULES, n_words)
    device.launch(_find_modules, n_words, found)
    device.launch(_mark_split, n_words, found, places)
    device.launch(_order_split, n_events * N_MODULES, found)

    device.scan(places.note, n_words, places.note)
    device.launch(_count_errors, n_events, batch, streams, places, errors)
    device.scan(errors.start, n_events, errors.start)
    device.launch_blocks(_fill_errors, n_blocks, batch, tables, streams, places, errors)
    return found, streams, errors


def _make_streams(device: Device, n_events: int, n_feds: int, n_notes: int) -> Streams:
    array, n_ranges = device.array, n_events * n_feds
    return Streams(
        n_ranges=n_ranges,
        status=array("unpack.status", n_events, np.int64, 4),
        ranges=array("unpack.ranges", n_events, np.int32, n_feds, 2),
        length=array("unpack.length", n_ranges, np.int32),
        start=array("unpack.start", n_ranges + 1, np.int32),
        notes=Notes(
            fed=array("unpack.note_fed", n_notes, np.int32),
            word=array("unpack.note_word", n_notes, np.int32),
            code=array("unpack.note_code", n_notes, np.uint8),
        ),
        n_notes=array("unpack.n_notes", n_events, np.int32),
    )


def _make_unpacked(device: Device, n_events: int, n_words: int) -> Unpacked:
    array = device.array
    return Unpacked(
        n_events=n_events,
        room=n_words,
        start=array("unpack.digi_start", n_events + 1, np.int32),
        event=array("unpack.event", n_words, np.int32),
        module=array("unpack.module", n_words, np.uint16),
        row=array("unpack.row", n_words, np.uint16),
        col=array("unpack.col", n_words, np.uint16),
        charge=array("unpack.charge", n_words, np.uint16),
        source=array("unpack.source", n_words, np.int32),
        order=array("unpack.order", n_words, np.int32),
        split=array("unpack.split", n_events, np.int32),
        first=array("unpack.first", n_events * N_MODULES, np.int32),
    )


@cuda_kernel
def _follow_streams(batch: Batch, tables: UnpackTables, streams: Streams, max_words: int) -> None:
    n_feds = len(tables.fed_ids)
    for e in range(cuda.grid(1), batch.n_events, cuda.gridsize(1)):
        first, last = batch.start[e], batch.start[e + 1]
        ranges = streams.ranges[e]
        for slot in range(n_feds):
            ranges[slot, 0] = ranges[slot, 1] = 0
        room = most_notes(first, e * n_feds)
        end = most_notes(last, (e + 1) * n_feds)
        notes = Notes(
            streams.notes.fed[room:end], streams.notes.word[room:end], streams.notes.code[room:end]
        )
        stream, n_notes = follow_stream(batch.words[first:last], tables, max_words, ranges, notes)
        streams.status[e, 0], streams.status[e, 1] = stream.status, stream.fed
        streams.status[e, 2], streams.status[e, 3] = stream.word, stream.n_words
        streams.n_notes[e] = n_notes if stream.status == OK else 0
        for slot in range(n_feds):
            n = ranges[slot, 1] - ranges[slot, 0]
            streams.length[e * n_feds + slot] = n if stream.status == OK else 0


@cuda_kernel
def _mark_words(batch: Batch, tables: UnpackTables, streams: Streams, places: Places) -> None:
    """Mark pixel words that make a digi, and those that make a note."""
    n_feds = len(tables.fed_ids)
    for r in range(cuda.blockIdx.x, streams.n_ranges, cuda.gridDim.x):
        event, slot = r // n_feds, r % n_feds
        begin = batch.start[event] + streams.ranges[event, slot, 0]
        for k in range(cuda.threadIdx.x, streams.length[r], cuda.blockDim.x):
            word = int(batch.words[begin + k])
            code, roc = find_roc(word, tables.fed_ids[slot], tables)
            _, _, valid = find_pixel(word, roc)
            digi, note = 0, 0
            if code:
                note = 1 if word else 0
            elif roc.module != MASKED:
                digi, note = (1, 0) if valid else (0, 1)
            p = streams.start[r] + k
            places.digi[p], places.note[p] = digi, note
    n = streams.start[streams.n_ranges]
    for p in range(n + cuda.grid(1), batch.n, cuda.gridsize(1)):
        places.digi[p], places.note[p] = 0, 0


@cuda_kernel
def _fill_digis(
    batch: Batch, tables: UnpackTables, streams: Streams, places: Places, digis: Unpacked
) -> None:
    n_feds, n_ranges = len(tables.fed_ids), streams.n_ranges
    for r in range(cuda.blockIdx.x, n_ranges, cuda.gridDim.x):
        event, slot = r // n_feds, r % n_feds
        begin = batch.start[event] + streams.ranges[event, slot, 0]
        if cuda.threadIdx.x == 0 and slot == 0:
            digis.start[event] = places.digi[streams.start[r]]
        if cuda.threadIdx.x == 0 and r == n_ranges - 1:
            digis.start[event + 1] = places.digi[streams.start[n_ranges]]
        for k in range(cuda.threadIdx.x, streams.length[r], cuda.blockDim.x):
            p = streams.start[r] + k
            d = places.digi[p]
            if places.digi[p + 1] == d:
                continue
            word = int(batch.words[begin + k])
            _, roc = find_roc(word, tables.fed_ids[slot], tables)
            row, col, _ = find_pixel(word, roc)
            digis.event[d], digis.module[d], digis.source[d] = event, roc.module, p
            digis.row[d], digis.col[d], digis.charge[d] = row, col, word & ADC_MASK


@device_function
def _key(digis: Unpacked, d: int) -> int:
    return digis.event[d] * N_MODULES + int(digis.module[d])


@device_function
def _begins_module(digis: Unpacked, d: int) -> bool:
    """Whether a digi is the first of an event, or of another module than the one before it."""
    return d == digis.start[digis.event[d]] or digis.module[d - 1] != digis.module[d]


@cuda_kernel
def _find_modules(digis: Unpacked) -> None:
    """Find the first digi of each module."""
    for d in range(cuda.grid(1), digis.start[digis.n_events], cuda.gridsize(1)):
        if _begins_module(digis, d):
            cuda.atomic.min(digis.first, _key(digis, d), d)


@cuda_kernel
def _mark_split(digis: Unpacked, places: Places) -> None:
    """Make a note where a module comes back after another."""
    for d in range(cuda.grid(1), digis.start[digis.n_events], cuda.gridsize(1)):
        if _begins_module(digis, d) and digis.first[_key(digis, d)] != d:
            places.note[digis.source[d]] = 1
            digis.split[digis.event[d]] = 1


@cuda_kernel
def _order_split(digis: Unpacked) -> None:
    """Collect modules that are not contiguous; a thread for each, as this is rare."""
    for key in range(cuda.grid(1), digis.n_events * N_MODULES, cuda.gridsize(1)):
        event, module = key // N_MODULES, key % N_MODULES
        if digis.split[event] == 0:
            continue
        first, last = digis.start[event], digis.start[event + 1]
        place = first
        for d in range(first, last):
            place += 1 if digis.module[d] < module else 0
        for d in range(first, last):
            if digis.module[d] == module:
                digis.order[place] = d
                place += 1


@cuda_kernel
def _count_errors(batch: Batch, streams: Streams, places: Places, errors: BatchErrors) -> None:
    n_feds = streams.n_ranges // batch.n_events
    for e in range(cuda.grid(1), batch.n_events, cuda.gridsize(1)):
        first, last = streams.start[e * n_feds], streams.start[(e + 1) * n_feds]
        errors.start[e] = streams.n_notes[e] + places.note[last] - places.note[first]


@cuda_kernel
def _fill_errors(
    batch: Batch, tables: UnpackTables, streams: Streams, places: Places, errors: BatchErrors
) -> None:
    """Write the notes of each event: first those on FEDs, then those on pixel words."""
    n_feds, columns = len(tables.fed_ids), errors.columns
    for r in range(cuda.blockIdx.x, streams.n_ranges, cuda.gridDim.x):
        event, slot = r // n_feds, r % n_feds
        fed = tables.fed_ids[slot]
        stream = batch.start[event]
        if slot == 0:
            room = most_notes(stream, event * n_feds)
            for k in range(cuda.threadIdx.x, streams.n_notes[event], cuda.blockDim.x):
                i, word = errors.start[event] + k, streams.notes.word[room + k]
                columns.fed[i], columns.word[i] = streams.notes.fed[room + k], word
                columns.code[i] = streams.notes.code[room + k]
                columns.value[i] = batch.words[stream + word]
        before = places.note[streams.start[event * n_feds]] - streams.n_notes[event]
        for k in range(cuda.threadIdx.x, streams.length[r], cuda.blockDim.x):
            p = streams.start[r] + k
            if places.note[p + 1] == places.note[p]:
                continue
            place = streams.ranges[event, slot, 0] + k
            word = int(batch.words[stream + place])
            code, _ = find_roc(word, fed, tables)
            if code:
                code = note_of(code, word)
            else:
                code = BAD_PIXEL if places.digi[p + 1] == places.digi[p] else SPLIT_MODULE
            i = errors.start[event] + places.note[p] - before
            columns.fed[i], columns.word[i], columns.code[i] = fed, place, code
            columns.value[i] = batch.words[stream + place]
