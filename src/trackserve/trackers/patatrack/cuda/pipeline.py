"""The Patatrack pipeline on a CUDA device, a batch of events at a time."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.cabling import make_unpack_tables
from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.gains import make_gain_tables
from trackserve.detectors.phase1.layout import LAYER_START, N_LAYERS, N_MODULES
from trackserve.device.cuda import Device
from trackserve.edm import (
    Clusters,
    Columns,
    Digis,
    Doublets,
    Hits,
    RawEvent,
    ReadoutErrors,
    Tracks,
    Vertices,
)
from trackserve.edm.columns import Array
from trackserve.errors import EventError

from ..config import PatatrackConfig
from ..fit import measured_hits
from ..hits import make_position_tables
from ..result import PatatrackCounts, PatatrackResult
from ..unpack import (
    OK,
    check_status,
    stream_words,
)
from .calibrate import calibrate
from .clusterize import fill_clusters, find_clusters
from .columns import Batch
from .connect import count_connections, fill_connections, remove_fishbones
from .doublets import (
    count_doublets,
    fill_doublets,
    find_doublet_starts,
    layer_pairs,
    make_doublets,
    order_by_phi,
)
from .fit import fit_broken_lines
from .hits import make_hits
from .ntuplets import count_ntuplets, fill_ntuplets
from .resolve import Firsts, start_contest
from .strategies import SELECTIONS, VERTEX_FINDERS
from .tracks import make_tracks
from .unpack import unpack

MAX_WORDS = 1 << 25
"""Words of a batch: longer lists of events are cut. About 500 dense events, whose arrays add up
to some 17 GB; where there is less memory, batches are halved."""


class Part(NamedTuple):
    """A noun on the device.

    Attributes:
        noun: what it is.
        columns: of the batch.
        start: int32, where each event begins: every ``step``-th row.
    """

    noun: type[Columns]
    columns: Any
    start: Any
    step: int = 1


class CudaPatatrack:
    """The pipeline of :class:`..pipeline.PatatrackPipeline` on the current CUDA device.

    A batch is uploaded once, and what is asked for is downloaded once. The host waits for the
    numbers of clusters, doublets, connections and ntuplets, so that arrays are as long as they
    must be and nothing overflows; for where each event's results begin; and for the results.

    Args:
        conditions: the detector's; uploaded here, once.
        config: constants of the algorithm.

    Raises:
        InputError: there is no CUDA device.
    """

    def __init__(
        self, conditions: PixelConditions, config: PatatrackConfig, device: Device | None = None
    ) -> None:
        self.device = device = device or Device()
        self._lock = threading.Lock()
        self._config = config
        self._cabling = device.table(make_unpack_tables(conditions))
        self._gains = device.table(make_gain_tables(conditions))
        self._positions = device.table(make_position_tables(conditions))
        self._pairs = device.table(layer_pairs(config.layer_pairs))
        layers = np.repeat(np.arange(N_LAYERS, dtype=np.uint8), np.diff(LAYER_START))
        self._layers = device.table(Layers(LAYER_START, layers))

    def run(
        self, events: Sequence[RawEvent], keep: Collection[str] = ()
    ) -> list[PatatrackResult | EventError]:
        """As :meth:`..pipeline.PatatrackPipeline.run`; one caller at a time, others wait."""
        results: list[PatatrackResult | EventError | None] = [None] * len(events)
        batches: list[dict[int, Array]] = [{}]
        room = MAX_WORDS
        for row, event in enumerate(events):
            try:
                stream = _check(event)
            except EventError as error:
                results[row] = error
                continue
            room -= len(stream)
            if room < 0 and batches[-1]:
                batches.append({})
                room = MAX_WORDS - len(stream)
            batches[-1][row] = stream
        with self._lock:
            for batch in batches:
                if batch:
                    self._run_batch(events, list(batch), list(batch.values()), keep, results)
        return [result for result in results if result is not None]

    def _run_batch(
        self,
        events: Sequence[RawEvent],
        rows: list[int],
        words: list[Array],
        keep: Collection[str],
        results: list[PatatrackResult | EventError | None],
    ) -> None:
        """Reconstruct the events in ``rows``; in halves, if they are too much for the device."""
        chosen = [events[row] for row in rows]
        try:
            found = self._reconstruct(chosen, words, keep)
        except OverflowError as error:
            half = len(rows) // 2
            if half == 0:
                results[rows[0]] = EventError(f"{error}", event=chosen[0].event)
                return
            self._run_batch(events, rows[:half], words[:half], keep, results)
            self._run_batch(events, rows[half:], words[half:], keep, results)
            return
        for row, result in zip(rows, found, strict=True):
            results[row] = result

    def _upload(self, events: Sequence[RawEvent], words: Sequence[Array]) -> tuple[Batch, int]:
        device = self.device
        start = np.zeros(len(events) + 1, np.int32)
        start[1:] = np.cumsum([len(stream) for stream in words])
        n_words = int(start[-1])
        staged = device.pinned("words", 4 * n_words).view(np.uint32)[:n_words]
        np.concatenate(words, out=staged)
        on_device = device.array("batch.words", n_words, np.uint32)
        device.send(on_device, staged)
        spots = np.array([event.beam_spot.position() for event in events], np.float32)
        batch = Batch(
            on_device, device.upload("batch.start", start), device.upload("batch.spots", spots)
        )
        return batch, n_words

    def _reconstruct(
        self, events: Sequence[RawEvent], words: Sequence[Array], keep: Collection[str]
    ) -> list[PatatrackResult | EventError]:
        device, config = self.device, self._config
        n_events = len(events)
        batch, n_words = self._upload(events, words)
        unpacked, streams, errors, error_start = unpack(
            device, batch, n_events, n_words, self._cabling, config.max_words
        )
        digis = calibrate(device, unpacked, n_events, n_words, self._gains, config.charge)
        labels, modules = find_clusters(device, digis, n_events, n_words, config.clusters)
        n_hits = device.read(modules.cluster, n_events * N_MODULES)
        clusters = fill_clusters(device, digis, labels, modules, n_events, n_words, n_hits)
        hits = make_hits(
            *(device, batch, clusters, modules, n_events, n_hits),
            *(self._layers.start, self._positions, config.positions),
        )
        ordered = order_by_phi(device, hits, n_events, n_hits, self._layers.of_module)

        start = count_doublets(device, ordered, n_hits, self._pairs, config.doublets)
        n_cells = device.read(start, n_hits)
        cells = fill_doublets(device, ordered, n_hits, self._pairs, config.doublets, start, n_cells)
        cuts = config.connections
        outgoing, graph = count_connections(device, ordered.hits, n_hits, cells, n_cells, cuts)
        n_connections = device.read(graph.first, n_cells)
        graph = fill_connections(
            device, ordered.hits, cells, n_cells, outgoing, graph, n_connections, cuts
        )
        remove_fishbones(device, ordered.hits, cells, n_cells, graph, cuts.min_cos2)

        beginnings = count_ntuplets(device, cells, graph, n_cells, self._pairs, config.ntuplets)
        n = device.read(beginnings.first, n_cells)
        ntuplets = fill_ntuplets(device, cells, graph, n_cells, beginnings, n, config.ntuplets)
        measured = measured_hits(ordered.hits, hits.columns, self._positions)
        fitted = fit_broken_lines(device, ntuplets, n, measured, config.fit)
        firsts = Firsts(hit=hits.start, cell=cells.start, ntuplet=beginnings.first)
        contest = start_contest(
            device, firsts, n_events=n_events, n_hits=n_hits, n_cells=n_cells, n=n
        )
        SELECTIONS[type(config.quality)](device, fitted, contest, config.quality)
        tracks = make_tracks(device, fitted, ordered, contest, Tracks.LOOSE, "tracks")
        vertices = VERTEX_FINDERS[type(config.vertices)](device, tracks, config.vertices)

        parts = {
            "tracks": Part(Tracks, tracks.columns, tracks.start),
            "vertices": Part(Vertices, vertices.columns, vertices.start),
            "readout_errors": Part(ReadoutErrors, errors, error_start),
            "clusters": Part(Clusters, clusters.columns, hits.start, N_LAYERS),
            "hits": Part(Hits, hits.columns, hits.start, N_LAYERS),
            "digis": Part(Digis, digis.columns, digis.start),
        }
        doublet_start = find_doublet_starts(device, hits, cells, n_events)
        if "doublets" in keep:
            columns = make_doublets(device, hits, ordered, cells, graph.alive, n_cells)
            parts["doublets"] = Part(Doublets, columns, doublet_start)
        if "ntuplets" in keep:
            kept = make_tracks(device, fitted, ordered, contest, Tracks.BAD, "ntuplets_kept")
            parts["ntuplets"] = Part(Tracks, kept.columns, kept.start)
        wanted = {"tracks", "vertices", "readout_errors", *keep}
        parts = {name: part for name, part in parts.items() if name in wanted}
        totals = {
            "status": (streams.status, n_events),
            "modules": (modules.n_hit, n_events),
            "clusters": (hits.start, n_events * N_LAYERS + 1),
            "doublets": (doublet_start, n_events + 1),
            "ntuplets": (contest.start, n_events + 1),
        }
        starts = {
            f"start.{name}": (part.start, n_events * part.step + 1) for name, part in parts.items()
        }
        numbers = {key: a.copy() for key, a in device.download(totals | starts).items()}
        columns = _download(device, parts, numbers)
        return [
            _result(event, e, numbers, parts, columns, config.max_words)
            for e, event in enumerate(events)
        ]


class Layers(NamedTuple):
    """The detector's layers: int32[11], first module of each; uint8[modules], layer of each."""

    start: Any
    of_module: Any


def _check(event: RawEvent) -> Array:
    """The words of an event that has nothing wrong on its face."""
    beam_spot = event.beam_spot.position()
    if not np.isfinite(beam_spot).all():
        raise EventError("beam spot is not finite", event=event.event, found=beam_spot.tolist())
    return stream_words(event)


def _download(
    device: Device, parts: Mapping[str, Part], numbers: Mapping[str, Array]
) -> dict[str, Array]:
    """All columns of all parts, ``part.column``."""
    return device.download(
        {
            f"{name}.{key}": (array, int(numbers[f"start.{name}"][-1]))
            for name, part in parts.items()
            for key, array in part.columns._asdict().items()
        }
    )


def _result(
    event: RawEvent,
    e: int,
    numbers: Mapping[str, Array],
    parts: Mapping[str, Part],
    columns: Mapping[str, Array],
    max_words: int,
) -> PatatrackResult | EventError:
    """What the device found in the ``e``-th event of its batch."""
    status, fed, word, n_words = (int(value) for value in numbers["status"][e])
    if status != OK:
        try:
            check_status(event.event, status, fed, word, n_words, max_words)
        except EventError as error:
            return error
    nouns: dict[str, Any] = {}
    for name, part in parts.items():
        start = numbers[f"start.{name}"]
        first, last = start[e * part.step], start[(e + 1) * part.step]
        nouns[name] = part.noun(
            *(columns[f"{name}.{key}"][first:last].copy() for key in part.noun.schema())
        )

    def number(name: str, step: int = 1) -> int:
        start = numbers[name]
        return int(start[(e + 1) * step] - start[e * step])

    counts = PatatrackCounts(
        modules=int(numbers["modules"][e]),
        digis=n_words,
        clusters=number("clusters", N_LAYERS),
        doublets=number("doublets"),
        ntuplets=number("ntuplets"),
        tracks=len(nouns["tracks"]),
        vertices=len(nouns["vertices"]),
    )
    return PatatrackResult(event=event.event, counts=counts, **nouns)
