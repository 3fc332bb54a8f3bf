"""The Patatrack pipeline on a CUDA device, a batch of events at a time."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.cabling import make_unpack_tables
from trackserve.detectors.phase1.checks import is_beam_spot
from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.gains import make_gain_tables
from trackserve.detectors.phase1.layout import LAYER_START, N_LAYERS
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

from ...base import Lap
from ...laps import after
from ..config import PatatrackConfig
from ..fit import measured_hits
from ..hits import make_position_tables
from ..result import PatatrackCounts, PatatrackResult
from ..unpack import Stream, failure, stream_words
from .calibrate import calibrate
from .clusterize import fill_clusters, find_clusters
from .columns import Batch
from .connect import count_connections, fill_connections, remove_fishbones, with_room
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
from .resolve import start_contest
from .strategies import SELECTIONS, VERTEX_FINDERS
from .tracks import make_tracks
from .unpack import unpack

MAX_WORDS = 1 << 25
"""Most words of a batch; a longer list of events becomes several batches. These are about 500 dense
events, whose arrays take some 17 GB. A batch that the memory does not hold is halved."""


class Part(NamedTuple):
    """A noun of a batch on the device.

    Attributes:
        noun: class of the noun.
        columns: its columns.
        start: int32, the first row of each event: every ``step``-th value.
        step: see ``start``.
    """

    noun: type[Columns]
    columns: Any
    start: Any
    step: int = 1


class CudaPatatrack:
    """The stages of :class:`..pipeline.PatatrackPipeline` on the current CUDA device.

    A batch is uploaded at once, and the results are downloaded at once. The host waits six times
    per batch: for the numbers of clusters, doublets, connections and ntuplets, so that arrays are
    as long as they must be; for the first row of each event in the results; and for the results.

    Args:
        conditions: conditions of the detector; uploaded here, once.
        config: constants of the algorithm.
        device: a device to use instead of the current one: for tests and measurements.

    Attributes:
        device: the device.

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
        self, events: Sequence[RawEvent], keep: Collection[str] = (), lap: Lap | None = None
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct events, for one caller at a time; other callers wait.

        The arguments are checked ones of :meth:`..pipeline.PatatrackPipeline.run`. With ``lap`` the
        host waits at the end of each stage. The first stage has the upload, the last one the
        download.
        """
        results: list[PatatrackResult | EventError | None] = [None] * len(events)
        batches: list[dict[int, Array]] = [{}]
        room = MAX_WORDS
        stage_ends = after(self.device.wait, lap)
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
                    found = self._run_batch(
                        [events[row] for row in batch], list(batch.values()), keep, stage_ends
                    )
                    for row, result in zip(batch, found, strict=True):
                        results[row] = result
        return [result for result in results if result is not None]

    def _run_batch(
        self,
        events: Sequence[RawEvent],
        words: Sequence[Array],
        keep: Collection[str],
        lap: Lap,
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct a batch; in halves, if it is too large for the device."""
        try:
            return self._reconstruct(events, words, keep, lap)
        except OverflowError as error:
            reason = f"{error}"
        half = len(events) // 2
        if half == 0:
            return [EventError(reason, event=events[0].event)]
        return [
            result
            for part in (slice(half), slice(half, None))
            for result in self._run_batch(events[part], words[part], keep, lap)
        ]

    def _upload(self, events: Sequence[RawEvent], words: Sequence[Array]) -> Batch:
        device = self.device
        start = np.zeros(len(events) + 1, np.int32)
        start[1:] = np.cumsum([len(stream) for stream in words])
        n_words = int(start[-1])
        staged = device.pinned("words", 4 * n_words).view(np.uint32)[:n_words]
        np.concatenate(words, out=staged)
        on_device = device.array("batch.words", n_words, np.uint32)
        device.send(on_device, staged)
        spots = np.array([event.beam_spot.position() for event in events], np.float32)
        return Batch(
            n_events=len(events),
            n=n_words,
            words=on_device,
            start=device.upload("batch.start", start),
            beam_spot=device.upload("batch.spots", spots),
        )

    def _reconstruct(
        self, events: Sequence[RawEvent], words: Sequence[Array], keep: Collection[str], lap: Lap
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct a batch.

        Raises:
            OverflowError: the batch is too large for the device.
        """
        device, config = self.device, self._config
        batch = self._upload(events, words)
        n_events = batch.n_events
        unpacked, streams, errors = unpack(device, batch, self._cabling, config.max_words)
        lap("unpack")
        digis = calibrate(device, unpacked, self._gains, config.charge)
        lap("calibrate")
        labels, modules = find_clusters(device, digis, config.clusters)
        n_hits = device.read(modules.cluster, modules.n)
        clusters = fill_clusters(device, digis, labels, modules, self._layers.start, n_hits)
        lap("clusters")
        hits = make_hits(device, batch, clusters, self._positions, config.positions)
        lap("hits")
        ordered = order_by_phi(device, hits, self._layers.of_module)
        lap("phi order")
        start = count_doublets(device, ordered, self._pairs, config.doublets)
        n_cells = device.read(start, n_hits)
        cells = fill_doublets(device, ordered, self._pairs, config.doublets, start, n_cells)
        lap("doublets")
        outgoing, graph = count_connections(device, ordered, cells, config.connections)
        graph = with_room(device, graph, device.read(graph.first, n_cells))
        fill_connections(device, ordered, cells, outgoing, graph, config.connections)
        lap("connection")
        remove_fishbones(device, ordered, cells, graph, config.connections.min_cos2)
        lap("fishbone")
        beginnings = count_ntuplets(device, cells, graph, self._pairs, config.ntuplets)
        n = device.read(beginnings.first, n_cells)
        ntuplets = fill_ntuplets(device, cells, graph, beginnings, n, config.ntuplets)
        lap("ntuplets")
        measured = measured_hits(ordered.hits, hits.columns, self._positions)
        fitted = fit_broken_lines(device, ntuplets, measured, config.fit)
        lap("fit")
        contest = start_contest(device, hits, cells, beginnings, n)
        SELECTIONS[type(config.quality)](device, fitted, contest, config.quality)
        tracks = make_tracks(device, fitted, ordered, contest, Tracks.LOOSE, "tracks")
        lap("selection")
        vertices = VERTEX_FINDERS[type(config.vertices)](device, tracks, config.vertices)

        parts = {
            "tracks": Part(Tracks, tracks.columns, tracks.start),
            "vertices": Part(Vertices, vertices.columns, vertices.start),
            "readout_errors": Part(ReadoutErrors, errors.columns, errors.start),
            "clusters": Part(Clusters, clusters.columns, hits.start, N_LAYERS),
            "hits": Part(Hits, hits.columns, hits.start, N_LAYERS),
            "digis": Part(Digis, digis.columns, digis.start),
        }
        doublet_start = find_doublet_starts(device, hits, cells)
        if "doublets" in keep:
            columns = make_doublets(device, hits, ordered, cells, graph.alive)
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
        results = [
            self._result(event, e, numbers, parts, columns) for e, event in enumerate(events)
        ]
        lap("vertices")
        return results

    def _result(
        self,
        event: RawEvent,
        e: int,
        numbers: Mapping[str, Array],
        parts: Mapping[str, Part],
        columns: Mapping[str, Array],
    ) -> PatatrackResult | EventError:
        """Return the result of one event.

        Args:
            event: the event.
            e: its place in the batch.
            numbers: counts, and starts of the parts, of all events.
            parts: the nouns on the device.
            columns: their columns, ``part.column``.
        """
        stream = Stream(*numbers["status"][e].tolist())
        error = failure(event.event, stream, self._config.max_words)
        if error is not None:
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
            words=stream.n_words,
            clusters=number("clusters", N_LAYERS),
            doublets=number("doublets"),
            ntuplets=number("ntuplets"),
            tracks=len(nouns["tracks"]),
            vertices=len(nouns["vertices"]),
        )
        return PatatrackResult(event=event.event, counts=counts, **nouns)


class Layers(NamedTuple):
    """Layers of the detector.

    Attributes:
        start: int32[11], first module of each layer, and the number of modules.
        of_module: uint8[modules], layer of each module.
    """

    start: Any
    of_module: Any


def _check(event: RawEvent) -> Array:
    """Return the words of an event.

    Raises:
        EventError: the beam spot is not inside the beam pipe, or the data is not a whole number of
            words.
    """
    beam_spot = event.beam_spot.position()
    if not is_beam_spot(beam_spot):
        raise EventError(
            "beam spot is not inside the beam pipe", event=event.event, found=beam_spot.tolist()
        )
    return stream_words(event)


def _download(
    device: Device, parts: Mapping[str, Part], numbers: Mapping[str, Array]
) -> dict[str, Array]:
    """Return all columns of all parts, ``part.column``."""
    return device.download(
        {
            f"{name}.{key}": (array, int(numbers[f"start.{name}"][-1]))
            for name, part in parts.items()
            for key, array in part.columns._asdict().items()
        }
    )
