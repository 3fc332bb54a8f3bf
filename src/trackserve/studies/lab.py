"""What a study measures with: events, pipelines, servers, clients. Each is made once, when it is
asked for, and kept while the setting of the points stays."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from trackserve.client import Client, Timings, keep_freed_memory
from trackserve.errors import InputError, ServerError
from trackserve.serving import prometheus
from trackserve.serving.http import Http
from trackserve.trackers.base import Pipeline, Tracker
from trackserve.trackers.registry import find_tracker

from .load import Load, Span, by_stream
from .machine import processor_seconds
from .proxy import Proxy
from .samples import Progress, Sample, prepare
from .study import How

if TYPE_CHECKING:
    from trackserve.serving.limits import Limits
    from trackserve.serving.server import Server

T = TypeVar("T")
_TIMEOUT = 300.0
"""Seconds that an event may take: one that waits behind many large ones takes long."""


class Timed(NamedTuple):
    """A client, and the times of its latest events."""

    client: Client
    timings: list[Timings]


class ServerTimes(NamedTuple):
    """Seconds of all requests to a model so far, by Triton's own statistics, and their number.

    The Python backend cannot tell them: there only the sum of all parts is right.
    """

    requests: int
    queue: float
    input: float
    compute: float
    output: float

    def since(self, before: ServerTimes) -> ServerTimes:
        """What has been added to ``before``."""
        return ServerTimes(*(now - then for now, then in zip(self, before, strict=True)))  # type: ignore[arg-type]


class Served(NamedTuple):
    """A server and its model of one tracker."""

    server: Server
    model: str

    @property
    def url(self) -> str:
        return self.server.grpc_url

    def way(self, transport: str) -> tuple[str, str]:
        """The url for a client with this transport, and the transport."""
        url = self.server.http_url if transport == "http" else self.server.grpc_url
        return url, transport

    @property
    def seconds(self) -> float:
        """Seconds that the server's processes have computed so far."""
        return processor_seconds(self.server.pid or 0)

    def share_of(self, stage: str) -> float:
        """The share of a stage in the workers' time so far, by the server's metrics.

        Raises:
            ServerError: the server does not tell.
        """
        try:
            text = Http(self.server.host, self.server.ports.metrics).get("/metrics")[1]
            samples = prometheus.parse(text)
        except (OSError, ValueError) as error:
            raise ServerError("no metrics", url=self.url, reason=repr(error)) from error
        stages = "trackserve_stage_seconds_total"
        spent = prometheus.total(samples, stages, model=self.model, stage=stage)
        whole = prometheus.total(samples, "trackserve_compute_seconds_total", model=self.model)
        return spent / whole if whole else 0.0

    def times(self) -> ServerTimes:
        """Triton's statistics of the model.

        Raises:
            ServerError: the server does not tell.
        """
        service = Http(self.server.host, self.server.ports.http)
        try:
            answer = service.get_json(f"/v2/models/{self.model}/stats", dict)
            counts = answer["model_stats"][0]["inference_stats"]
            parts = ("queue", "compute_input", "compute_infer", "compute_output")
            seconds = [1e-9 * counts[part]["ns"] for part in parts]
            return ServerTimes(int(counts["success"]["count"]), *seconds)
        except (OSError, LookupError, TypeError) as error:
            raise ServerError("no statistics", url=self.url, reason=repr(error)) from error


class Lab:
    """What a study measures with; a context manager.

    Args:
        how: how the studies are run.
        progress: shows what is being prepared.

    Attributes:
        span: how long a load is measured now.
        is_warming: whether this is not measured, only run once before.
        identities: text of the identity of each pipeline that was measured.
        notes: what a reader of the report must know beside the numbers, each once.
        commands: command lines of other programs that were run.
    """

    def __init__(self, how: How, progress: Progress = lambda what, done, total: None) -> None:
        keep_freed_memory()
        self.how = how
        self.span = Span(how.seconds)
        self.is_warming = False
        self.identities: dict[str, str] = {}
        self.notes: dict[str, None] = {}
        self.commands: dict[str, None] = {}
        self._progress = progress
        self._kept: dict[Any, Any] = {}
        self._events: dict[Sample, list[Any]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *error: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Let go of everything that was made."""
        self._kept.clear()
        self._stack.close()

    def keep(self, key: Any, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What ``make`` makes, which is ended when the setting changes.

        Args:
            key: what is asked for again has the same key.
            make: is called if there is nothing of this key yet.
        """
        if key not in self._kept:
            self._kept[key] = self._stack.enter_context(make())
        found: T = self._kept[key]
        return found

    def note(self, text: str) -> None:
        """Note what a reader of the report must know."""
        self.notes[text] = None

    def opened(self, sample: Sample) -> Any:
        """The events of a sample, as the tracker opens them; simulated if need be."""
        prepare(sample, self._progress)
        return find_tracker(sample.tracker).open_events(sample.path)

    def events(self, sample: Sample) -> list[Any]:
        """The events of a sample, in memory, with different numbers.

        Raises:
            InputError: there are none.
            EventError: one is damaged.
        """
        if sample not in self._events:
            self._events[sample] = self._read(sample)
        return self._events[sample]

    def _read(self, sample: Sample) -> list[Any]:
        opened = self.opened(sample)
        n = min(sample.events or len(opened), len(opened))
        events = [opened[index] for index in range(n)]
        if not events:
            raise InputError("no events to measure with", path=str(sample.path))
        if len({event.event for event in events}) < len(events):
            raise InputError("events have the same number", path=str(sample.path))
        return events

    def options(self, sample: Sample) -> dict[str, str]:
        """Options of the tracker that the events of a sample need, as its conditions."""
        options = find_tracker(sample.tracker).options
        return {o.name: str(sample.path) for o in options if o.stored and not o.default}

    def pipeline(self, sample: Sample, threads: int = 1) -> Pipeline[Any, Any]:
        """A pipeline for the events of a sample, warm."""

        @contextmanager
        def make() -> Iterator[Pipeline[Any, Any]]:
            opened = self.opened(sample)
            tracker: Tracker[Any, Any] = find_tracker(sample.tracker)
            pipeline = tracker.build({}, device=self.how.device, threads=threads, events=opened)
            pipeline.warm_up()
            self.identities[f"{sample.tracker} {sample.name}"] = str(pipeline.identity)
            yield pipeline

        return self.keep(("pipeline", sample, threads), make)

    def expected(self, sample: Sample) -> dict[int, Any]:
        """The direct results of a sample, by number of event."""

        @contextmanager
        def make() -> Iterator[dict[int, Any]]:
            pipeline = self.pipeline(sample)
            yield {event.event: pipeline.reconstruct(event) for event in self.events(sample)}

        return self.keep(("expected", sample), make)

    def cost(self, sample: Sample) -> float:
        """About the time of an event of a sample, directly, s."""

        @contextmanager
        def make() -> Iterator[float]:
            pipeline, events = self.pipeline(sample), self.events(sample)
            pipeline.reconstruct(events[0])
            start = time.perf_counter()
            pipeline.reconstruct(events[0])
            yield time.perf_counter() - start

        return self.keep(("cost", sample), make)

    def served(
        self,
        sample: Sample,
        *,
        backend: str = "",
        instances: int = 1,
        limits: Limits | None = None,
        on_cores: frozenset[int] = frozenset(),
    ) -> Served:
        """A server with a model for the events of a sample, ready.

        Args:
            sample: the events.
            backend: backend of the model; by default that of the studies.
            instances: number of its instances.
            limits: limits on its work.
            on_cores: numbers of the processors that the server may use; empty: all of ours.
        """
        self.opened(sample)
        how = (backend or self.how.backend, instances, limits, on_cores)
        return self.keep(("server", sample, how), partial(_serve, self, sample, *how))

    def client(self, url: str, transport: str = "auto") -> Timed:
        """A client of a server; all that ask for it share it."""

        @contextmanager
        def make() -> Iterator[Timed]:
            timings: list[Timings] = []
            with Client(
                url, transport=transport, timeout=_TIMEOUT, on_timings=timings.append
            ) as client:
                yield Timed(client, timings)

        return self.keep(("client", url, transport), make)

    def stream(
        self,
        timed: Timed,
        model: str,
        sample: Sample,
        *,
        in_flight: int | None = None,
        per_request: int | None = None,
        lead: float | None = None,
    ) -> Load:
        """Load of a stream of a sample's events, compared with the direct results.

        Args:
            timed: the client, as :meth:`client` made it.
            model: name of the model.
            sample: the events.
            in_flight, per_request, lead: as of :func:`.load.by_stream`.

        Raises:
            TrackserveError: as of the stream; an event failed.
        """
        return by_stream(
            timed.client,
            model,
            self.events(sample),
            self.span,
            self.expected(sample),
            timed.timings,
            in_flight=in_flight,
            per_request=per_request,
            lead=lead,
        )

    def proxy(self, served: Served) -> Proxy:
        """A proxy before the gRPC service of a server, whose delay can be set."""
        port = served.server.ports.grpc
        return self.keep(("proxy", port), lambda: Proxy(served.server.host, port))


@contextmanager
def _serve(
    lab: Lab,
    sample: Sample,
    backend: str,
    instances: int,
    limits: Limits | None,
    on_cores: frozenset[int],
) -> Iterator[Served]:
    from trackserve.serving.repository import write_model
    from trackserve.serving.server import Server

    def notice(text: str) -> None:
        lab.note(f"{sample.tracker}, {backend}: {text}")

    with tempfile.TemporaryDirectory(prefix="trackserve-") as repository:
        write_model(
            repository,
            sample.tracker,
            lab.options(sample),
            device=lab.how.device,
            instances=instances,
            limits=limits,
            backend=backend,
        )
        server = Server(repository, grpc_port=0, http_port=0, metrics_port=0, notice=notice)
        with pinned(on_cores):
            server.start()
        try:
            yield Served(server, sample.tracker)
        finally:
            server.stop()


@contextmanager
def pinned(on_cores: frozenset[int]) -> Iterator[None]:
    """Let this thread, and the processes that it starts, use these processors only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, on_cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def size_of(sample: Sample, results: Mapping[int, Any]) -> float:
    """Mean size of the events of a sample, in the unit of its tracker."""
    name = find_tracker(sample.tracker).size
    sizes = [getattr(result.counts, name) for result in results.values()] if name else [0]
    return float(sum(sizes) / len(sizes))


def output_bytes(sample: Sample, results: Mapping[int, Any]) -> float:
    """Mean number of bytes of an answer, as our clients ask for it."""
    codec = find_tracker(sample.tracker).codec
    each = [codec.encode_result(result, codec.output_names()) for result in results.values()]
    return sum(array.nbytes for tensors in each for array in tensors.values()) / len(each)


def input_bytes(sample: Sample, events: Sequence[Any]) -> float:
    """Mean number of bytes of an event's tensors."""
    codec = find_tracker(sample.tracker).codec
    each = [codec.encode_event(event) for event in events]
    return sum(array.nbytes for tensors in each for array in tensors.values()) / len(each)
