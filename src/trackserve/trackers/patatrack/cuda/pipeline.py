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
from trackserve.device.cuda import Device, total
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
from trackserve.edm.limits import of_event, over_limit
from trackserve.errors import EventError, LimitExceeded

from ...base import Lap
from ...deadline import DeadlineOver, Watch
from ...laps import after
from ..config import PatatrackConfig
from ..fit import measured_hits
from ..hits import make_position_tables
from ..limits import PatatrackLimits
from ..result import Found, PatatrackResult
from ..shape import hit_shapes, make_shape_tables
from ..unpack import Stream, check_stream, stream_words
from .calibrate import calibrate
from .clusterize import fill_clusters, find_clusters, find_sizes
from .columns import Batch
from .connect import (
    count_connections,
    count_triplets,
    fill_connections,
    remove_fishbones,
    with_room,
)
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


class _Found(NamedTuple):
    """What the stages have found so far in a batch.

    Attributes:
        parts: nouns on the device, by name.
        totals: arrays on the device from which the counts of each event follow, with their lengths.
    """

    parts: dict[str, Part]
    totals: dict[str, tuple[Any, int]]

    @classmethod
    def nothing(cls) -> _Found:
        return cls({}, {})


class _Beyond(Exception):
    """Events of a batch are beyond a limit.

    Attributes:
        errors: their errors, by place in the batch.
    """

    def __init__(self, errors: dict[int, LimitExceeded]) -> None:
        super().__init__()
        self.errors = errors


def _check(limit: str, counts: Array, bound: int, *, exact: bool = True) -> None:
    """Refuse events with more of something than a limit allows.

    Args:
        limit: name of what is counted.
        counts: int[events], number of these.
        bound: the most.
        exact: whether a CPU knows the number too.

    Raises:
        _Beyond: there are such events.
    """
    beyond = np.flatnonzero(counts > bound).tolist()
    if beyond:
        raise _Beyond(
            {e: over_limit(limit, bound, int(counts[e]) if exact else None) for e in beyond}
        )


def _check_starts(limit: str, before: Array, bound: int, *, exact: bool = True) -> int:
    """Refuse events as :func:`_check` does; return how many there are in the batch.

    Args:
        limit, bound, exact: as there.
        before: int32[events + 1], sums of a scan: how many are before each event.

    Raises:
        _Beyond: there are such events.
        OverflowError: the sum does not fit.
    """
    _check(limit, np.diff(before.astype(np.int64)), bound, exact=exact)
    return total(before)


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
        positions = make_position_tables(conditions)
        self._positions = device.table(positions)
        shapes = make_shape_tables(positions)
        self._shapes = device.table(shapes._replace(positions=self._positions))
        self._pairs = device.table(layer_pairs(config.layer_pairs))
        layers = np.repeat(np.arange(N_LAYERS, dtype=np.uint8), np.diff(LAYER_START))
        self._layers = device.table(Layers(LAYER_START, layers))

    def run(
        self,
        events: Sequence[RawEvent],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: PatatrackLimits | None = None,
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct events, for one caller at a time; other callers wait.

        The arguments are checked ones of :meth:`..pipeline.PatatrackPipeline.run`. With ``lap`` the
        host waits at the end of each stage. The first stage has the upload, the last one the
        download.
        """
        limits = PatatrackLimits.of(limits)
        results: list[PatatrackResult | EventError | None] = [None] * len(events)
        batches: list[dict[int, Array]] = [{}]
        room = MAX_WORDS
        stage_ends = after(self.device.wait, lap)
        for row, event in enumerate(events):
            try:
                stream = _words_of(event)
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
                    some = [events[row] for row in batch]
                    watch = Watch(limits, stage_ends)
                    found: Sequence[PatatrackResult | EventError]
                    try:
                        found = self._run_batch(some, list(batch.values()), keep, watch, limits)
                    except DeadlineOver:
                        found = [watch.error(event.event) for event in some]
                    for row, result in zip(batch, found, strict=True):
                        results[row] = result
        return [result for result in results if result is not None]

    def _run_batch(
        self,
        events: Sequence[RawEvent],
        words: Sequence[Array],
        keep: Collection[str],
        lap: Lap,
        limits: PatatrackLimits,
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct a batch.

        If it is too large for the device, it is done in halves. If events are beyond a limit, it is
        done again without them, so that their memory is never allocated.
        """
        parts: list[list[int]]
        results: dict[int, PatatrackResult | EventError] = {}
        try:
            return self._reconstruct(events, words, keep, lap, limits)
        except _Beyond as beyond:
            parts = [[e for e in range(len(events)) if e not in beyond.errors]]
            if limits.beyond == "error":
                results |= beyond.errors
            else:
                parts += [[e] for e in beyond.errors]
        except OverflowError as error:
            if len(events) == 1:
                return [EventError(f"{error}", event=events[0].event)]
            half = len(events) // 2
            parts = [list(range(half)), list(range(half, len(events)))]
        for part in filter(None, parts):
            some, theirs = [events[e] for e in part], [words[e] for e in part]
            found = self._run_batch(some, theirs, keep, lap, limits)
            results |= dict(zip(part, found, strict=True))
        return [results[e] for e in range(len(events))]

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
        self,
        events: Sequence[RawEvent],
        words: Sequence[Array],
        keep: Collection[str],
        lap: Lap,
        limits: PatatrackLimits,
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct a batch.

        Raises:
            _Beyond: events are beyond a limit; a single one, only if it is to have no result.
            OverflowError: the batch is too large for the device.
            DeadlineOver: ``lap`` says so.
        """
        batch = self._upload(events, words)
        found = _Found.nothing()
        stopped_by = ""
        try:
            self._run_stages(batch, keep, lap, limits, found)
        except _Beyond as beyond:
            if len(events) > 1 or limits.beyond == "error":
                errors = {e: of_event(err, events[e].event) for e, err in beyond.errors.items()}
                raise _Beyond(errors) from None
            stopped_by = beyond.errors[0].limit
        results = self._collect(events, found, keep, limits, stopped_by)
        lap("vertices")
        return results

    def _run_stages(
        self,
        batch: Batch,
        keep: Collection[str],
        lap: Lap,
        limits: PatatrackLimits,
        found: _Found,
    ) -> None:
        """Run the stages of a batch but for the download, and put what they find into ``found``.

        Raises:
            _Beyond: events are beyond a limit.
            OverflowError, DeadlineOver: as of :meth:`_reconstruct`.
        """
        device, config = self.device, self._config
        n_events, parts, totals = batch.n_events, found.parts, found.totals
        unpacked, streams, errors = unpack(device, batch, self._cabling, limits.words)
        totals["status"] = streams.status, n_events
        parts["readout_errors"] = Part(ReadoutErrors, errors.columns, errors.start)
        lap("unpack")
        digis = calibrate(device, unpacked, self._gains, config.charge)
        parts["digis"] = Part(Digis, digis.columns, digis.start)
        lap("calibrate")
        labels, modules = find_clusters(device, digis, config.clusters)
        sizes = find_sizes(device, digis, modules)
        device.fill(digis.columns.cluster, digis.room, -1)
        wanted = {"most": (sizes.most_digis, n_events), "before": (sizes.cluster, n_events + 1)}
        numbers = device.download(wanted)
        _check("module_digis", numbers["most"], limits.module_digis)
        n_hits = _check_starts("clusters", numbers["before"], limits.clusters)
        clusters = fill_clusters(device, digis, labels, modules, self._layers.start, n_hits)
        parts["clusters"] = Part(Clusters, clusters.columns, clusters.start, N_LAYERS)
        totals["modules"] = modules.n_hit, n_events
        totals["clusters"] = clusters.start, n_events * N_LAYERS + 1
        lap("clusters")
        hits = make_hits(device, batch, clusters, self._positions, config.positions)
        parts["hits"] = Part(Hits, hits.columns, hits.start, N_LAYERS)
        lap("hits")
        ordered = order_by_phi(device, hits, self._layers.of_module)
        lap("phi order")
        start = count_doublets(device, ordered, self._pairs, config.doublets)
        doublet_start = find_doublet_starts(device, hits, start)
        before = device.download({"": (doublet_start, n_events + 1)})[""]
        n_cells = _check_starts("doublets", before, limits.doublets, exact=False)
        cells = fill_doublets(device, ordered, self._pairs, config.doublets, start, n_cells)
        totals["doublets"] = doublet_start, n_events + 1
        lap("doublets")
        outgoing, graph = count_connections(device, ordered, cells, config.connections)
        if "doublets" in keep:
            columns = make_doublets(device, hits, ordered, cells, graph.alive)
            parts["doublets"] = Part(Doublets, columns, doublet_start)
        wanted = {
            "triplets": (count_triplets(device, hits, cells, outgoing), n_events),
            "before": self._before("connections", graph.first, doublet_start, n_events),
        }
        numbers = device.download(wanted)
        _check("triplets", numbers["triplets"], limits.triplets)
        n = _check_starts("connections", numbers["before"], limits.connections, exact=False)
        graph = with_room(device, graph, n)
        fill_connections(device, ordered, cells, outgoing, graph, config.connections)
        lap("connection")
        remove_fishbones(device, ordered, cells, graph, config.connections.min_cos2)
        if "doublets" in keep:
            make_doublets(device, hits, ordered, cells, graph.alive)
        lap("fishbone")
        beginnings = count_ntuplets(
            device, cells, graph, self._pairs, config.ntuplets, limits.ntuplets
        )
        wanted = {"": self._before("ntuplets", beginnings.first, doublet_start, n_events)}
        before = device.download(wanted)[""]
        n = _check_starts("ntuplets", before, limits.ntuplets, exact=False)
        ntuplets = fill_ntuplets(device, cells, graph, beginnings, n, config.ntuplets)
        lap("ntuplets")
        measured = measured_hits(ordered.hits, hits.columns, self._positions)
        fitted = fit_broken_lines(device, ntuplets, measured, config.fit)
        lap("fit")
        contest = start_contest(device, hits, cells, beginnings, n)
        shapes = hit_shapes(ordered.hits, hits.columns, self._shapes)
        totals["ntuplets"] = contest.start, n_events + 1
        SELECTIONS[type(config.quality)](device, fitted, shapes, contest, config.quality)
        tracks = make_tracks(device, fitted, ordered, contest, Tracks.LOOSE, "tracks")
        lap("selection")
        vertices = VERTEX_FINDERS[type(config.vertices)](device, tracks, config.vertices)
        parts["tracks"] = Part(Tracks, tracks.columns, tracks.start)
        parts["vertices"] = Part(Vertices, vertices.columns, vertices.start)
        if "ntuplets" in keep:
            kept = make_tracks(device, fitted, ordered, contest, Tracks.BAD, "ntuplets_kept")
            parts["ntuplets"] = Part(Tracks, kept.columns, kept.start)

    def _before(self, name: str, first: Any, doublet: Any, n_events: int) -> tuple[Any, int]:
        """How many of something are before each event, to download.

        Args:
            name: name of the memory.
            first: int32[doublets + 1], how many are before each doublet.
            doublet: int32[events + 1], first doublet of each event.
            n_events: number of events.
        """
        return self.device.gather(f"{name}.before", first, doublet, n_events + 1), n_events + 1

    def _collect(
        self,
        events: Sequence[RawEvent],
        found: _Found,
        keep: Collection[str],
        limits: PatatrackLimits,
        stopped_by: str,
    ) -> list[PatatrackResult | EventError]:
        """Return the results of a batch.

        Args:
            events: the events.
            found: what is on the device.
            keep: intermediates to return as well.
            limits: limits of each event.
            stopped_by: name of the limit that ended the work; empty: none.
        """
        device = self.device
        wanted = {*PatatrackResult.always(), *keep}
        parts = {name: part for name, part in found.parts.items() if name in wanted}
        starts = {
            f"start.{name}": (part.start, len(events) * part.step + 1)
            for name, part in parts.items()
        }
        numbers = {k: a.copy() for k, a in device.download(found.totals | starts).items()}
        columns = _download(device, parts, numbers)
        return [
            _result(event, e, numbers, parts, columns, keep, limits, stopped_by)
            for e, event in enumerate(events)
        ]


def _result(
    event: RawEvent,
    e: int,
    numbers: Mapping[str, Array],
    parts: Mapping[str, Part],
    columns: Mapping[str, Array],
    keep: Collection[str],
    limits: PatatrackLimits,
    stopped_by: str,
) -> PatatrackResult | EventError:
    """Return the result of one event.

    Args:
        event: the event.
        e: its place in the batch.
        numbers: counts, and starts of the parts, of all events.
        parts: the nouns on the device.
        columns: their columns, ``part.column``.
        keep, limits, stopped_by: as of :meth:`CudaPatatrack._collect`.
    """
    stream = Stream(*numbers["status"][e].tolist())
    found = Found(stopped_by=stopped_by)
    try:
        check_stream(event.event, stream, limits.words)
    except LimitExceeded as error:
        if limits.beyond == "error":
            return error
        found.stop(error)
        return found.result(event.event, keep)
    except EventError as error:
        return error
    for name, part in parts.items():
        start = numbers[f"start.{name}"]
        first, last = start[e * part.step], start[(e + 1) * part.step]
        found.nouns[name] = part.noun(
            *(columns[f"{name}.{key}"][first:last].copy() for key in part.noun.schema())
        )
    counts = found.counts
    counts["words"] = stream.n_words
    if "modules" in numbers:
        counts["modules"] = int(numbers["modules"][e])
    for name, step in (("clusters", N_LAYERS), ("doublets", 1), ("ntuplets", 1)):
        if name in numbers:
            counts[name] = int(numbers[name][(e + 1) * step] - numbers[name][e * step])
    for name in ("tracks", "vertices"):
        counts[name] = len(found.nouns.get(name, ()))
    return found.result(event.event, keep)


class Layers(NamedTuple):
    """Layers of the detector.

    Attributes:
        start: int32[11], first module of each layer, and the number of modules.
        of_module: uint8[modules], layer of each module.
    """

    start: Any
    of_module: Any


def _words_of(event: RawEvent) -> Array:
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
