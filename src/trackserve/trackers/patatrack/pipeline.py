"""The Patatrack pipeline: raw words to tracks and vertices (paper, figure 2)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from trackserve.detectors.phase1.cabling import make_unpack_tables
from trackserve.detectors.phase1.checks import is_beam_spot
from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.detectors.phase1.gains import make_gain_tables
from trackserve.device.heap import keep_freed_memory
from trackserve.device.held import hold
from trackserve.edm import Clusters, Digis, Doublets, EventLimits, Hits, RawEvent, Tracks, Vertices
from trackserve.edm.columns import Array
from trackserve.edm.limits import check_limit, of_event
from trackserve.errors import EventError, InputError, LimitExceeded, TagError
from trackserve.io import read_conditions
from trackserve.wire.events import check_raw_event

from ..base import Lap
from ..batch import run_batch
from ..deadline import Watch
from ..single import SingleEventPipeline
from ..tagged import TaggedPipeline
from .chain import STAGES, Tables, all_ntuplets, constants_of, most_of, to_vertices
from .config import PatatrackConfig, find_config
from .doublets import Cells, OrderedHits
from .hits import make_position_tables
from .identity import identity_of
from .limits import PatatrackLimits
from .result import Found, PatatrackResult
from .shape import make_shape_tables
from .unpack import check_stream, errors_of, stream_words

if TYPE_CHECKING:
    from .cuda import CudaPatatrack

DEVICES = ("cpu", "cuda")


class PatatrackPipeline(SingleEventPipeline[RawEvent, PatatrackResult]):
    """Pixel tracking, built once for a detector and called on batches of events.

    Args:
        conditions: conditions of the detector; look-up tables are made of them here, once.
        config: constants of the algorithm, or the name of a configuration.
        device: "cpu", or "cuda" for the current CUDA device, which takes a batch as a whole.
        threads: events that run at the same time on a CPU; no bit depends on it.

    Raises:
        InputError: the configuration or the device does not exist.
        MissingExtraError: a package is missing that the device needs.
    """

    def __init__(
        self,
        conditions: PixelConditions,
        config: PatatrackConfig | str = "default",
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        if isinstance(config, str):
            config = find_config(config)
        if device not in DEVICES:
            raise InputError("no such device", found=device, bound=list(DEVICES))
        keep_freed_memory()
        super().__init__(
            identity_of(conditions, config, device), PatatrackResult, threads, PatatrackLimits
        )
        self.config = config
        self.device = device
        self._cuda: CudaPatatrack | None = None
        if device == "cuda":
            from .cuda import CudaPatatrack

            self._cuda = CudaPatatrack(conditions, config)
        positions = make_position_tables(conditions)
        self._constants = constants_of(config)
        self._tables = hold(
            Tables(
                cabling=hold(make_unpack_tables(conditions)),
                gains=hold(make_gain_tables(conditions)),
                positions=hold(positions),
                shapes=hold(make_shape_tables(positions)),
            )
        )

    @classmethod
    def from_directory(
        cls,
        directory: str | Path,
        config: PatatrackConfig | str = "default",
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> Self:
        """Build a pipeline from the conditions files of a pixel data directory.

        Raises:
            ConditionsError: a file is missing, short or inconsistent.
            InputError, MissingExtraError: as above.
        """
        return cls(read_conditions(directory), config, device=device, threads=threads)

    def with_tags(self, folder: str | Path) -> TaggedPipeline[RawEvent, PatatrackResult]:
        """Build a pipeline that takes the conditions that an event names too.

        Args:
            folder: folder with a pixel data directory for each tag, by its name.

        Raises:
            InputError: there is no such folder.
        """

        def build(directory: Path) -> PatatrackPipeline:
            how = {"device": self.device, "threads": self.threads}
            return type(self).from_directory(directory, self.config, **how)  # type: ignore[arg-type]

        return TaggedPipeline(self, folder, build)

    def run(
        self,
        events: Iterable[RawEvent],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: EventLimits | None = None,
    ) -> list[PatatrackResult | EventError]:
        """Reconstruct a batch of events.

        Args:
            events: any number, see :func:`..batch.one_by_one`.
            keep: which of "digis", "clusters", "hits", "doublets" and "ntuplets" to return.
            lap: called with the name of each stage as it ends. Then all is on one thread, and the
                host waits for a GPU after each stage of a batch.
            limits: the most work on each event, a :class:`.limits.PatatrackLimits`. The deadline
                counts from the begin of the event; on a GPU from that of the batch.

        Returns:
            for each event its result, or the :class:`EventError` that says why there is none.

        Raises:
            InputError: ``keep`` has an unknown name, ``events`` cannot be iterated, or ``limits``
                are those of another tracker.
        """
        cuda = self._cuda
        if cuda is None:
            return super().run(events, keep, lap, limits)
        PatatrackResult.check_keep(keep)
        most = PatatrackLimits.of(limits)
        return run_batch(
            events, _check, lambda good: cuda.run(good, keep, lap, most), self.identity
        )

    def warm_up(self) -> None:
        """Compile or load all code.

        The event has no FEDs. It is read-only, as that of a request is.
        """
        self.run([RawEvent(np.frombuffer(bytes(4), np.uint8))])

    def reconstruct_stages(
        self, event: RawEvent, keep: Collection[str], lap: Watch, limits: PatatrackLimits
    ) -> PatatrackResult:
        """Reconstruct one event on a CPU, and call ``lap`` as each stage ends.

        Raises:
            EventError: it cannot be reconstructed, is malformed, or is beyond a limit.
        """
        _check(event)
        beam_spot = event.beam_spot.position()
        if not is_beam_spot(beam_spot):
            raise EventError(
                "beam spot is not inside the beam pipe", event=event.event, found=beam_spot.tolist()
            )
        found = Found()
        try:
            self._run_stages(event, beam_spot, keep, lap, limits, found)
        except LimitExceeded as error:
            if limits.beyond == "error":
                raise of_event(error, event.event) from None
            found.stop(error)
        return found.result(event.event, keep)

    def _run_stages(
        self,
        event: RawEvent,
        beam_spot: Array,
        keep: Collection[str],
        lap: Watch,
        limits: PatatrackLimits,
        found: Found,
    ) -> None:
        """Run the stages, and put what each finds into ``found``.

        Raises:
            EventError: the event cannot be reconstructed.
            LimitExceeded: it is beyond a limit.
        """
        words, most = stream_words(event), most_of(limits)
        done = to_vertices(
            words, beam_spot, self._tables, self._constants, most, lap.end, lap.clock
        )
        counts, nouns, n, others = found.counts, found.nouns, done.numbers, done.others
        ended = lap.behind_call(STAGES, done.times, done.late)
        check_stream(event.event, done.stream, limits.words)
        nouns["readout_errors"] = errors_of(done.errors, done.n_errors)
        counts["words"] = done.stream.n_words
        ended("unpack")
        if "digis" in keep:
            nouns["digis"] = Digis(*others.value.digis.value)
        ended("calibrate")
        check_limit("module_digis", n.module_digis, limits.module_digis)
        check_limit("clusters", n.clusters, limits.clusters)
        counts["modules"], counts["clusters"] = n.modules, n.clusters
        if "clusters" in keep:
            nouns["clusters"] = Clusters(*others.value.clusters.value)
        ended("clusters")
        if "hits" in keep:
            nouns["hits"] = Hits(*others.value.hits.value)
        ended("hits")
        ended("phi order")
        check_limit("doublets", n.doublets, limits.doublets, exact=False)
        counts["doublets"] = n.doublets
        if "doublets" in keep:
            nouns["doublets"] = _doublets(others.value.cells.value, others.value.ordered.value)
        ended("doublets")
        check_limit("triplets", n.triplets, limits.triplets)
        check_limit("connections", n.connections, limits.connections, exact=False)
        ended("connection")
        if "doublets" in keep:
            graph = others.value.graph.value
            nouns["doublets"].killed[graph.cell] = ~graph.alive
        ended("fishbone")
        check_limit("ntuplets", n.ntuplets, limits.ntuplets, exact=False)
        ended("ntuplets")
        ended("fit")
        ended("selection")
        ended("vertices")
        tracks, vertices = Tracks(*done.tracks), Vertices(*done.vertices)
        nouns["tracks"], nouns["vertices"] = tracks, vertices
        counts["ntuplets"], counts["tracks"] = n.ntuplets, len(tracks)
        counts["vertices"] = len(vertices)
        if "ntuplets" in keep:
            nouns["ntuplets"] = Tracks(*all_ntuplets(others))


def _check(event: RawEvent) -> None:
    """Refuse an event that is malformed, or names conditions: this pipeline has its own alone.

    Raises:
        MalformedEvent, TagError: as it says.
    """
    check_raw_event(event)
    if event.conditions:
        message = "no conditions have tags here: see with_tags, --tags"
        raise TagError(message, event=event.event, found=event.conditions[:80])


def _doublets(cells: Cells, ordered: OrderedHits) -> Doublets:
    """The doublets, none of them killed."""
    killed = np.zeros(len(cells.inner), np.bool_)
    return Doublets(ordered.order[cells.inner], ordered.order[cells.outer], cells.pair, killed)
