"""Raw words to digis: a thread follows the stream of an event, a block unpacks a FED."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from trackserve.detectors.phase1.cabling import MASKED, NOT_CABLED, UnpackTables
from trackserve.detectors.phase1.layout import N_MODULES
from trackserve.device.cuda import Device, cuda_kernel, device_function
from trackserve.edm import ReadoutErrors

from ..unpack import (
    BAD_PIXEL,
    BAD_ROC,
    OK,
    SPLIT_MODULE,
    Notes,
    find_roc,
    follow_stream,
    most_notes,
    note_of,
    pixel_in_roc,
)
from .columns import Batch, make_columns


class Streams(NamedTuple):
    """What the streams of a batch are made of.

    Attributes:
        status: int64[events, 4]: status, FED, word and number of pixel words of
            :func:`..unpack.follow_stream`.
        ranges: int32[events, FEDs, 2], pixel words of each FED, from the stream's beginning.
        length: int32[events * FEDs], their number.
        start: int32[events * FEDs + 1], sum of those before: the place of a FED's pixel words
            among those of the batch.
        notes: of FEDs, an event's after the :func:`..unpack.most_notes` of those before it.
        n_notes: int32[events].
    """

    status: Any
    ranges: Any
    length: Any
    start: Any
    notes: Notes
    n_notes: Any


class Places(NamedTuple):
    """Where pixel words go; int32, a row for each of the batch and one more.

    Attributes:
        digi: whether it makes one; then how many the words before it make.
        note: the same of notes.
    """

    digi: Any
    note: Any


class Unpacked(NamedTuple):
    """Digis as they come, ``charge`` still the ADC value.

    Attributes:
        start: int32[events + 1], first of each event.
        event: int32[n].
        module, row, col, charge: uint16[n].
        source: int32[n], place of its word among the pixel words of the batch.
        order: int32[n], digis module by module; of events with ``split`` only.
        split: int32[events], whether a module is not contiguous.
        first: int32[events * modules], first digi of each module.
    """

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


def unpack(
    device: Device, batch: Batch, n_events: int, n_words: int, tables: UnpackTables, max_words: int
) -> tuple[Unpacked, Streams, Any, Any]:
    """Unpack a batch of ``n_words`` in all.

    Returns:
        digis; the streams; readout errors; and where those of each event begin,
        int32[events + 1]. Digis and errors have room for the largest number there can be.
    """
    array = device.array
    n_feds = len(tables.fed_ids)
    n_ranges = n_events * n_feds
    n_notes = most_notes(n_words, n_ranges)
    streams = Streams(
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
    places = Places(
        digi=array("unpack.digi", n_words + 1, np.int32),
        note=array("unpack.note", n_words + 1, np.int32),
    )
    found = Unpacked(
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
    device.launch(_follow_streams, n_events, batch, tables, streams, n_events, max_words)
    device.scan(streams.length, n_ranges, streams.start)
    device.launch_blocks(
        *(_mark_words, min(n_ranges, 65535), batch, tables, streams, places, n_ranges, n_words)
    )
    device.scan(places.digi, n_words, places.digi)
    device.launch_blocks(
        *(_fill_digis, min(n_ranges, 65535), batch, tables, streams, places, found, n_ranges)
    )
    device.fill(found.split, n_events, 0)
    device.fill(found.first, n_events * N_MODULES, n_words)
    device.launch(_find_modules, n_words, found, n_events)
    device.launch(_mark_split, n_words, found, places, n_events)
    device.launch(_order_split, n_events * N_MODULES, found, n_events)

    device.scan(places.note, n_words, places.note)
    errors = make_columns(device, "errors", ReadoutErrors, n_notes + n_words)
    error_start = array("unpack.error_start", n_events + 1, np.int32)
    device.launch(
        *(_count_errors, n_events, streams.start, streams.n_notes, places.note),
        *(n_feds, n_events, error_start),
    )
    device.scan(error_start, n_events, error_start)
    device.launch_blocks(
        *(_fill_errors, min(n_ranges, 65535), batch, tables, streams, places, found),
        *(error_start, errors, n_ranges),
    )
    return found, streams, errors, error_start


@cuda_kernel
def _follow_streams(
    batch: Batch, tables: UnpackTables, streams: Streams, n_events: int, max_words: int
) -> None:
    n_feds = len(tables.fed_ids)
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        first, last = batch.start[e], batch.start[e + 1]
        ranges = streams.ranges[e]
        for slot in range(n_feds):
            ranges[slot, 0] = ranges[slot, 1] = 0
        room = most_notes(first, e * n_feds)
        end = most_notes(last, (e + 1) * n_feds)
        notes = Notes(
            streams.notes.fed[room:end], streams.notes.word[room:end], streams.notes.code[room:end]
        )
        status, fed, word, n_words, n_notes = follow_stream(
            batch.words[first:last], tables, max_words, ranges, notes
        )
        streams.status[e, 0], streams.status[e, 1] = status, fed
        streams.status[e, 2], streams.status[e, 3] = word, n_words
        streams.n_notes[e] = n_notes if status == OK else 0
        for slot in range(n_feds):
            n = ranges[slot, 1] - ranges[slot, 0]
            streams.length[e * n_feds + slot] = n if status == OK else 0


@cuda_kernel
def _mark_words(
    batch: Batch,
    tables: UnpackTables,
    streams: Streams,
    places: Places,
    n_ranges: int,
    n_words: int,
) -> None:
    """Whether each pixel word makes a digi, and whether a note."""
    n_feds = len(tables.fed_ids)
    for r in range(cuda.blockIdx.x, n_ranges, cuda.gridDim.x):
        event, slot = r // n_feds, r % n_feds
        fed = tables.fed_ids[slot]
        begin = batch.start[event] + streams.ranges[event, slot, 0]
        for k in range(cuda.threadIdx.x, streams.length[r], cuda.blockDim.x):
            word = int(batch.words[begin + k])
            code, index = find_roc(word, fed, len(tables.roc))
            module = tables.roc[index, 0]
            digi, note = 0, 0
            if code or module == NOT_CABLED:
                note = 1 if word else 0
            elif module != MASKED:
                _, _, valid = pixel_in_roc(word, tables.roc[index, 5])
                digi, note = (1, 0) if valid else (0, 1)
            p = streams.start[r] + k
            places.digi[p], places.note[p] = digi, note
    for p in range(streams.start[n_ranges] + cuda.grid(1), n_words, cuda.gridsize(1)):
        places.digi[p], places.note[p] = 0, 0


@cuda_kernel
def _fill_digis(
    batch: Batch,
    tables: UnpackTables,
    streams: Streams,
    places: Places,
    digis: Unpacked,
    n_ranges: int,
) -> None:
    n_feds = len(tables.fed_ids)
    for r in range(cuda.blockIdx.x, n_ranges, cuda.gridDim.x):
        event, slot = r // n_feds, r % n_feds
        fed = tables.fed_ids[slot]
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
            _, index = find_roc(word, fed, len(tables.roc))
            row, col, _ = pixel_in_roc(word, tables.roc[index, 5])
            digis.event[d] = event
            digis.module[d] = tables.roc[index, 0]
            digis.row[d] = int(tables.roc[index, 1]) + int(tables.roc[index, 2]) * row
            digis.col[d] = int(tables.roc[index, 3]) + int(tables.roc[index, 4]) * col
            digis.charge[d] = word & 255
            digis.source[d] = p


@device_function
def _key(digis: Unpacked, d: int) -> int:
    return digis.event[d] * N_MODULES + int(digis.module[d])


@device_function
def _begins_module(digis: Unpacked, d: int) -> bool:
    """Whether a digi is not of the module of the one before."""
    return d == digis.start[digis.event[d]] or digis.module[d - 1] != digis.module[d]


@cuda_kernel
def _find_modules(digis: Unpacked, n_events: int) -> None:
    """The first digi of each module."""
    for d in range(cuda.grid(1), digis.start[n_events], cuda.gridsize(1)):
        if _begins_module(digis, d):
            cuda.atomic.min(digis.first, _key(digis, d), d)


@cuda_kernel
def _mark_split(digis: Unpacked, places: Places, n_events: int) -> None:
    """A note where a module comes back after another."""
    for d in range(cuda.grid(1), digis.start[n_events], cuda.gridsize(1)):
        if _begins_module(digis, d) and digis.first[_key(digis, d)] != d:
            places.note[digis.source[d]] = 1
            digis.split[digis.event[d]] = 1


@cuda_kernel
def _order_split(digis: Unpacked, n_events: int) -> None:
    """Collect modules that are not contiguous; a thread for each, as this is rare."""
    for key in range(cuda.grid(1), n_events * N_MODULES, cuda.gridsize(1)):
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
def _count_errors(
    start: Any, n_notes: Any, note: Any, n_feds: int, n_events: int, count: Any
) -> None:
    for e in range(cuda.grid(1), n_events, cuda.gridsize(1)):
        first, last = start[e * n_feds], start[(e + 1) * n_feds]
        count[e] = n_notes[e] + note[last] - note[first]


@cuda_kernel
def _fill_errors(
    batch: Batch,
    tables: UnpackTables,
    streams: Streams,
    places: Places,
    digis: Unpacked,
    error_start: Any,
    errors: Any,
    n_ranges: int,
) -> None:
    """First the notes on FEDs, then those on pixel words."""
    n_feds = len(tables.fed_ids)
    for r in range(cuda.blockIdx.x, n_ranges, cuda.gridDim.x):
        event, slot = r // n_feds, r % n_feds
        fed = tables.fed_ids[slot]
        stream = batch.start[event]
        if slot == 0:
            room = most_notes(stream, event * n_feds)
            for k in range(cuda.threadIdx.x, streams.n_notes[event], cuda.blockDim.x):
                i, word = error_start[event] + k, streams.notes.word[room + k]
                errors.fed[i], errors.word[i] = streams.notes.fed[room + k], word
                errors.code[i] = streams.notes.code[room + k]
                errors.value[i] = batch.words[stream + word]
        before = places.note[streams.start[event * n_feds]] - streams.n_notes[event]
        for k in range(cuda.threadIdx.x, streams.length[r], cuda.blockDim.x):
            p = streams.start[r] + k
            if places.note[p + 1] == places.note[p]:
                continue
            place = streams.ranges[event, slot, 0] + k
            word = int(batch.words[stream + place])
            code, index = find_roc(word, fed, len(tables.roc))
            if code:
                code = note_of(code, word)
            elif tables.roc[index, 0] == NOT_CABLED:
                code = BAD_ROC
            else:
                code = BAD_PIXEL if places.digi[p + 1] == places.digi[p] else SPLIT_MODULE
            i = error_start[event] + places.note[p] - before
            errors.fed[i], errors.word[i], errors.code[i] = fed, place, code
            errors.value[i] = batch.words[stream + place]
