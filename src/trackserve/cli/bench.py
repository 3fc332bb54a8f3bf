"""``trackserve bench``: how fast is it?"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer
from rich.progress import Progress
from rich.table import Table

from trackserve.edm import GraphCounts, PointsEvent, RawEvent
from trackserve.io import open_points, read_events

from .common import (
    Config,
    DataDirectory,
    Device,
    Model,
    PointsPath,
    Precision,
    Url,
    console,
)

if TYPE_CHECKING:
    from trackserve.client import Timings
    from trackserve.studies.throughput import Latency

Event = TypeVar("Event", RawEvent, PointsEvent)

commands = typer.Typer(no_args_is_help=True, help="Measure throughput, latency and memory.")


@commands.callback()
def _group() -> None:
    pass


Threads = Annotated[str, typer.Option(help="Numbers of threads, as in 1,2.")]
Windows = Annotated[
    str, typer.Option(help="With --url: events in flight, as in 1,2,auto; auto finds it.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")]


@commands.command("patatrack")
def bench_patatrack(
    directory: DataDirectory,
    config: Config = "default",
    device: Device = "cpu",
    threads: Threads = "1,2",
    url: Url = None,
    in_flight: Windows = "1,auto",
    rounds: Rounds = 15,
) -> None:
    """Events per second, time per stage, peak memory; with --url the cost of the service.

    What is compared takes turns round by round, since machines are noisy.
    """
    from trackserve.trackers.patatrack import PatatrackPipeline

    pipelines = {
        n: PatatrackPipeline.from_directory(directory, config, n, device)
        for n in _numbers(threads if device == "cpu" else "1")
    }
    one = next(iter(pipelines.values()))
    subject = Subject(
        directory.name,
        "patatrack",
        list(read_events(directory)),
        {n: pipeline.run for n, pipeline in pipelines.items()},
        one.reconstruct,
        (lambda event, lap: one.run_stages(event, (), lap)) if device == "cpu" else None,
    )
    _bench(subject, url, _windows(in_flight), rounds)


@commands.command("exatrkx")
def bench_exatrkx(
    path: PointsPath,
    model: Model = "default",
    device: Device = "cpu",
    precision: Precision = "fp32",
    threads: Threads = "1,2",
    url: Url = None,
    served: Annotated[str, typer.Option(help="With --url: the server's name of it.")] = "exatrkx",
    in_flight: Windows = "1,auto",
    rounds: Rounds = 5,
) -> None:
    """Events per second, time per stage and per point, edges; with --url the cost of the service.

    What is compared takes turns round by round, since machines are noisy.
    """
    from trackserve.trackers.exatrkx import ExatrkxPipeline

    opened = open_points(path)
    events = list(opened)
    pipelines = {
        n: ExatrkxPipeline.from_model(
            model, detector=opened.detector, device=device, threads=n, precision=precision
        )
        for n in _numbers(threads if device == "cpu" else "1")
    }
    one = next(iter(pipelines.values()))
    counts = [one.reconstruct(event).counts for event in events]
    subject = Subject(
        path.name,
        served,
        events,
        {n: pipeline.run for n, pipeline in pipelines.items()},
        one.reconstruct,
        lambda event, lap: one.run([event], lap=lap),
        fmean(len(event.points) for event in events) if events else None,
    )
    _bench(subject, url, _windows(in_flight), rounds)
    console.print(_graph_sizes(counts))


@dataclass(frozen=True)
class Subject(Generic[Event]):
    """What is measured.

    Attributes:
        name: of the events.
        model: name at the server.
        run: reconstructs a batch, by number of threads.
        reconstruct: one event, on the first of those numbers of threads.
        run_stages: the same, and calls its second argument as each stage ends; None where
            stages are not timed.
        points: mean space points of an event, where time per point means something.
    """

    name: str
    model: str
    events: list[Event]
    run: dict[int, Callable[[list[Event]], Any]]
    reconstruct: Callable[[Event], Any]
    run_stages: Callable[[Event, Callable[[str], None]], Any] | None
    points: float | None = None


def _bench(
    subject: Subject[Event], url: str | None, windows: list[int | None], rounds: int
) -> None:
    """Measure and print."""
    from trackserve.studies import throughput

    events = subject.events
    timings: list[Timings] = []
    console.print(f"{throughput.cpu_name()}; {subject.name}, {len(events)} events")
    with Progress(console=console, transient=True) as bar, ExitStack() as stack:
        steps = 2 * rounds if url is None else 4 * rounds + 1
        task = bar.add_task("measuring", total=steps)

        def progress() -> None:
            bar.advance(task)

        direct = throughput.alternate(
            {
                f"direct, {n} thread{'s' * (n > 1)}": functools.partial(run, events)
                for n, run in subject.run.items()
            },
            rounds,
            progress,
        )
        stages = {}
        if subject.run_stages is not None:
            stages = throughput.stage_times(subject.run_stages, events, rounds, progress)
        served: dict[str, list[float]] = {}
        latency: dict[str, Latency] = {}
        if url is not None:
            from trackserve.client import Client, keep_freed_memory

            keep_freed_memory()
            client = stack.enter_context(Client(url))
            served = throughput.alternate(
                {
                    f"served, {n or 'auto'} in flight": functools.partial(
                        throughput.run_served, client, subject.model, events, n
                    )
                    for n in windows
                },
                rounds,
                progress,
            )
            timing = stack.enter_context(Client(url, on_timings=timings.append))
            latency = throughput.latencies(
                {
                    "direct": subject.reconstruct,
                    "served": lambda event: timing.reconstruct(subject.model, event),
                },
                events,
                rounds,
                progress,
            )
    console.print(_rates(direct | served, len(events)))
    if stages:
        console.print(_stages(stages, next(iter(subject.run)), subject.points))
    if latency:
        console.print(_latencies(latency))
        console.print(_split(timings[len(events) :]))
    console.print(f"peak memory of this process: {throughput.peak_memory() / 2**20:.0f} MiB")


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of positive numbers such as 1,2")
    return numbers


def _windows(text: str) -> list[int | None]:
    """Events in flight; None stands for auto."""
    parts = text.split(",")
    numbers = iter(_numbers(",".join(part for part in parts if part != "auto") or "1"))
    return [None if part == "auto" else next(numbers) for part in parts]


def _rates(seconds: dict[str, list[float]], n_events: int) -> Table:
    table = Table(title="Throughput")
    table.add_column("")
    for name in ("events/s", "slowest", "fastest", "ratio to first"):
        table.add_column(name, justify="right")
    rates = {name: [n_events / value for value in values] for name, values in seconds.items()}
    first = next(iter(rates.values()))
    for name, values in rates.items():
        ratio = median(a / b for a, b in zip(values, first, strict=True))
        row = (median(values), min(values), max(values))
        table.add_row(
            name,
            *(f"{value:.3g}" if value < 10 else f"{value:.0f}" for value in row),
            f"{ratio:.2f}",
        )
    return table


def _stages(stages: dict[str, float], threads: int, points: float | None) -> Table:
    table = Table(title=f"Time per event, {threads} thread{'s' * (threads > 1)}")
    table.add_column("stage")
    for name in ("ms", "share", "µs / point")[: 2 if points is None else 3]:
        table.add_column(name, justify="right")

    def row(name: str, seconds: float, share: str) -> None:
        per_point = () if points is None else (f"{1e6 * seconds / points:.3f}",)
        table.add_row(name, f"{1e3 * seconds:.3f}", share, *per_point)

    total = sum(stages.values())
    for name, seconds in stages.items():
        row(name, seconds, f"{seconds / total:.0%}")
    table.add_section()
    row("all", total, "")
    return table


def _graph_sizes(counts: Sequence[GraphCounts]) -> Table:
    """Means over events of what the learned tracker counts."""
    table = Table(title=f"Graphs, means over {len(counts)} events")
    table.add_column("")
    table.add_column("per event", justify="right")
    table.add_column("per point", justify="right")
    points = sum(one.points for one in counts)
    for name in GraphCounts.__dataclass_fields__:
        total = sum(getattr(one, name) for one in counts)
        if points:
            row = (name.replace("_", " "), f"{total / len(counts):.0f}", f"{total / points:.3f}")
            table.add_row(*row)
    return table


def _latencies(latency: dict[str, Latency]) -> Table:
    """Latencies, and what the service adds."""
    table = Table(title="Latency, one event at a time")
    table.add_column("")
    table.add_column("median, ms", justify="right")
    table.add_column("95 %, ms", justify="right")
    for name, value in latency.items():
        table.add_row(name, f"{1e3 * value.median:.2f}", f"{1e3 * value.p95:.2f}")
    added = latency["served"].median - latency["direct"].median
    table.add_section()
    table.add_row("added by the service", f"{1e3 * added:.2f}", "")
    return table


def _split(timings: Sequence[Timings]) -> Table:
    """Where the time of a served event goes."""
    table = Table(title="A served event, mean")
    table.add_column("")
    table.add_column("ms", justify="right")
    for part in ("client", "network", "queue", "compute", "total"):
        if part == "total":
            table.add_section()
        table.add_row(part, f"{1e3 * fmean(getattr(t, part) for t in timings):.2f}")
    return table
