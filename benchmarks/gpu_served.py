"""A tracker served by Triton at saturation, beside the same pipeline called directly.

usage: python -m benchmarks.gpu_served patatrack DIR [--device cpu] [--instances N...] [--rounds N]
       python -m benchmarks.gpu_served exatrkx EVENTS [--precision P] [...]

The direct way has as many pipelines as one instance of the server has workers, each in a thread,
on batches. The served way has several client processes (:mod:`.load`). The ways take turns, and
medians count. The first backend has all rows, another one the first. With ``--more``: "no batches"
is a server that runs each event alone; "answers at once" is a server whose answers are ready: it
shows what clients, Triton and the backend carry without a pipeline.
The program exits with 1 if a server fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from types import TracebackType
from typing import Any, NamedTuple, Self

from trackserve import Client
from trackserve.client import keep_freed_memory
from trackserve.errors import ServerError
from trackserve.serving.backend.runtime import cores
from trackserve.serving.limits import Limits, default_limits
from trackserve.serving.repository import BACKENDS, write_model
from trackserve.serving.server import Server
from trackserve.studies.machine import processor_seconds
from trackserve.studies.meter import Meter, Usage
from trackserve.studies.throughput import latencies
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker

from .gpu import cycle, describe_device, throughput
from .instant import replace_by_instant
from .load import LEAD, events_of

START_TIMEOUT = 180.0


class Subject(NamedTuple):
    """A tracker on some events, and the sizes of batches.

    Attributes:
        tracker: the tracker.
        options: values of the tracker's options, by name.
        device: where the tracker runs.
        path: where the events come from.
        events: the events.
        batch: number of events in a direct batch.
        waiting: number of events that clients keep in flight for each instance.
        per_request: number of events in a request, in rows with several.
    """

    tracker: Tracker[Any, Any]
    options: dict[str, str]
    device: str
    path: str
    events: list[Any]
    batch: int
    waiting: int
    per_request: int

    @property
    def name(self) -> str:
        return self.tracker.name

    def build(self) -> Any:
        return self.tracker.build(self.options, device=self.device)


class Served(NamedTuple):
    """Speed of one measurement.

    Attributes:
        rate: events per second.
        times: seconds of a request, by part of its way.
        cores: number of processors that Triton and its backends kept busy.
        usage: utilisation and energy.
    """

    rate: float
    times: dict[str, float]
    cores: float
    usage: Usage


class Clients:
    """Client processes of one server; they work while :meth:`measure` runs.

    Args:
        server: the server.
        subject: the tracker and its events.
        transport: "shm" or "grpc".
        per_request: number of events in a request.
        waiting: number of events that all clients together keep in flight.
        n: number of processes.
    """

    def __init__(
        self,
        server: Server,
        subject: Subject,
        *,
        transport: str,
        per_request: int,
        waiting: int,
        n: int,
    ) -> None:
        self._server = server
        in_flight = max(1, waiting // n // per_request)
        command = [
            *(sys.executable, "-m", "benchmarks.load"),
            *(server.grpc_url, subject.name, subject.path, str(len(subject.events))),
            *("--transport", transport, "--in-flight", str(in_flight)),
            *("--per-request", str(per_request)),
        ]
        self._processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(n)
        ]

    def __enter__(self) -> Self:
        for _ in self._answers():
            pass
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            process.communicate()

    def measure(self, seconds: float) -> Served:
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        time.sleep(LEAD)
        assert self._server.pid
        before = processor_seconds(self._server.pid)
        with Meter() as meter:
            time.sleep(seconds)
        spent = processor_seconds(self._server.pid) - before
        answers = [json.loads(answer) for answer in self._answers()]
        n = sum(answer.pop("answered") for answer in answers)
        times = {part: fmean(answer[part] for answer in answers) for part in answers[0]}
        return Served(n / seconds, times, spent / seconds, meter.usage)

    def _answers(self) -> Iterator[str]:
        for process in self._processes:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise ServerError("a client process failed", url=self._server.grpc_url)
            yield line


def make_subject(options: argparse.Namespace) -> Subject:
    events = events_of(options.tracker, options.path, options.events)
    on_cpu = options.device == "cpu"
    if options.tracker == "patatrack":
        given = {"conditions": options.path}
        sizes = (len(events), 4 * cores(), 4) if on_cpu else (64, 192, 8)
    else:
        given = {"model": options.model, "precision": options.precision}
        sizes = (len(events), 4 * cores(), 1) if on_cpu else (3, 24, 1)
    tracker = find_tracker(options.tracker)
    return Subject(tracker, given, options.device, options.path, events, *sizes)


def direct_runs(subject: Subject, device: str) -> list[Callable[[list[Any]], Any]]:
    """A function for each worker of an instance; on a CPU all belong to one pipeline."""
    n = default_limits(device).workers or cores()
    if device == "cpu":
        return [subject.build().run] * n
    return [subject.build().run for _ in range(n)]


@contextmanager
def serve(
    subject: Subject,
    instances: int,
    limits: Limits,
    backend: str,
    change: Callable[[Path], None] = lambda repository: None,
) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        write_model(
            directory,
            subject.name,
            subject.options,
            device=subject.device,
            instances=instances,
            limits=limits,
            backend=backend,
        )
        change(Path(directory))
        start = time.perf_counter()
        with Server(
            directory,
            grpc_port=0,
            http_port=0,
            metrics_port=0,
            start_timeout=START_TIMEOUT,
            notice=print,
        ) as server:
            print(f"started in {time.perf_counter() - start:.0f} s", flush=True)
            yield server


def check(server: Server, subject: Subject, direct: dict[int, Any]) -> None:
    """Print the number of answers that equal the direct ones."""
    with Client(server.grpc_url, timeout=120) as client:
        alone = [client.reconstruct(subject.name, event) for event in subject.events]
        together = list(client.stream(subject.name, cycle(subject.events, 64), in_flight=32))
    for name, answers in (("one by one", alone), ("32 in flight", together)):
        same = sum(answer == direct[answer.event] for answer in answers)
        print(f"{name}: {same} of {len(answers)} answers equal the direct ones bit for bit")
        if subject.name == "exatrkx":
            alike = sum(answer.labels == direct[answer.event].labels for answer in answers)
            print(f"{name}: {alike} of {len(answers)} have the same labels")


def print_latencies(server: Server, subject: Subject, run: Any, rounds: int) -> None:
    with (
        Client(server.grpc_url, transport="shm") as shm,
        Client(server.grpc_url, transport="grpc") as grpc,
    ):
        calls = {
            "direct": lambda event: run([event]),
            "shared memory": lambda event: shm.reconstruct(subject.name, event),
            "gRPC": lambda event: grpc.reconstruct(subject.name, event),
        }
        found = latencies(calls, subject.events[:3], rounds)
    for name, latency in found.items():
        print(f"one event, {name}: {1e3 * latency.median:.2f} ms, "
              f"95 % below {1e3 * latency.p95:.2f}")  # fmt: skip


def row(
    name: str,
    clients: Clients,
    options: argparse.Namespace,
    direct: Callable[[], float] | None,
) -> None:
    """Measure, then print the round with the median rate, and the median of all ratios."""
    rates, served = [], []
    for _ in range(options.rounds):
        if direct is not None:
            rates.append(direct())
        served.append(clients.measure(options.seconds))
    ratios = [s.rate / rate for s, rate in zip(served, rates, strict=False)]
    middle = sorted(served, key=lambda s: s.rate)[len(served) // 2]
    beside = f"{median(rates):9.1f} {median(ratios):6.3f}" if rates else f"{'-':>9} {'-':>6}"
    times = ", ".join(f"{part} {1e3 * t:.1f}" for part, t in middle.times.items())
    print(f"{name:42s} {middle.rate:9.1f} {beside}  "
          f"{middle.usage.describe(middle.rate * middle.usage.seconds)}; "
          f"server on {middle.cores:.1f} cores; ms: {times}", flush=True)  # fmt: skip


def main() -> int:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description="Served against direct, at saturation.")
    parser.add_argument("tracker", choices=["patatrack", "exatrkx"])
    parser.add_argument("path", metavar="DIR|EVENTS")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--events", type=int, default=10, help="to take, at most")
    parser.add_argument("--instances", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--backends", choices=BACKENDS, nargs="+", default=["native", "python"])
    parser.add_argument("--clients", type=int, default=max(1, min(8, cores() // 2)))
    parser.add_argument("--model", default="default", help="of exatrkx")
    parser.add_argument("--precision", default="fp32", help="of exatrkx")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--more", action="store_true", help="no batches; answers at once")
    options = parser.parse_args()

    print(describe_device(options.device))
    subject = make_subject(options)
    print(f"{subject.name}: {len(subject.events)} events of {Path(options.path).name}, "
          f"{options.clients} client processes")  # fmt: skip
    runs = direct_runs(subject, options.device)
    results = {event.event: runs[0]([event])[0] for event in subject.events}
    batch = cycle(subject.events, subject.batch)
    limits = default_limits(options.device)
    failures = 0

    def direct() -> float:
        return throughput(runs, batch, options.seconds).rate

    def measure(
        name: str,
        instances: int,
        ways: list[tuple[str, int]],
        *,
        first: bool = False,
        change: Callable[[Path], None] = lambda repository: None,
        beside: Callable[[], float] | None = direct,
        backend: str = options.backends[0],
        **changes: Any,
    ) -> None:
        """Start a server and print a row for each way: transport, number of events in a request."""
        nonlocal failures
        name = f"{backend}, {name}"
        try:
            with serve(subject, instances, replace(limits, **changes), backend, change) as server:
                if first:
                    check(server, subject, results)
                    print_latencies(server, subject, runs[0], options.rounds)
                    print(f"\n{'':42s}  events/s    direct  ratio")
                for transport, n in ways:
                    together = f", {n} a request" if n > 1 else ""
                    with Clients(
                        server,
                        subject,
                        transport=transport,
                        per_request=n,
                        waiting=subject.waiting * instances,
                        n=options.clients,
                    ) as clients:
                        row(f"{name}, {transport}{together}", clients, options, beside)
        except ServerError as error:
            failures += 1
            print(f"{name} FAILED: {error}", flush=True)

    def instant(repository: Path) -> None:
        replace_by_instant(repository, subject.name, subject.tracker.codec, results)

    first, *more = options.instances
    most = max(options.instances)
    several = ("shm", subject.per_request)
    ways = [*dict.fromkeys([("shm", 1), several]), ("grpc", 1)]
    measure(f"{first} instance", first, ways, first=True)
    for other in options.backends[1:]:
        measure(f"{first} instance", first, [("shm", 1)], first=True, backend=other)
    for n in more:
        measure(f"{n} instances", n, [several])
    if options.more:
        measure(f"{most} instances, no batches", most, [several], batch_events=1)
        measure("answers at once", 1, ways, change=instant, beside=None)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
