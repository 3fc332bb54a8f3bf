"""``trackserve bench``: how fast is it?"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from trackserve.errors import EventError, InputError
from trackserve.trackers.base import Tracker

from .common import Where, agree, console, counts_table, progress, report_failures
from .grammar import Device, Identity, Served, Url, add_commands

if TYPE_CHECKING:
    from trackserve.client import Timings
    from trackserve.studies.throughput import Latency

commands = typer.Typer(no_args_is_help=True, help="Measure throughput, latency and memory.")


def bench(
    tracker: Tracker[Any, Any],
    options: dict[str, str],
    path: Path,
    *,
    device: Device = "cpu",
    threads: Annotated[str, typer.Option(help="Numbers of threads, as in 1,2.")] = "1,2",
    url: Url = None,
    served: Served = None,
    in_flight: Annotated[
        str, typer.Option(help="With --url: events in flight, as in 1,2,auto; auto finds it.")
    ] = "1,auto",
    identity: Identity = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 7,
) -> None:
    """Events per second, time per stage, peak memory; with --url the cost of the service.

    What is compared takes turns round by round, since machines are noisy. An event that cannot be
    read or reconstructed is left out, and listed at the end.
    """
    from trackserve.studies import throughput
    from trackserve.studies.machine import cpu_name

    if url is None:
        Where(url, served, identity=identity).check(tracker, options)
    numbers = _numbers(threads) if device == "cpu" else [1]
    windows = _windows(in_flight)
    events = tracker.open_events(path)
    if not len(events):
        raise InputError("no events to measure with", path=str(path))
    pipelines = {
        n: tracker.build(options, device=device, threads=n, events=events) for n in numbers
    }
    one = pipelines[numbers[0]]
    batch = []
    counts: Counter[str] = Counter()
    failed: list[EventError] = []
    timings: list[Timings] = []
    with progress() as show, ExitStack() as stack:
        if url is not None:
            from trackserve.client import Client, keep_freed_memory

            keep_freed_memory()
            model = served or tracker.name
            client = stack.enter_context(Client(url))
            agreed = agree(client, model, identity or str(one.identity))
        for index in range(len(events)):
            try:
                event = events[index]
                counts.update(vars(one.reconstruct(event).counts))
                batch.append(event)
            except EventError as error:
                failed.append(error)
            show("warming up", index + 1, len(events))
        if not batch:
            report_failures(failed)
        console.print(f"{cpu_name()}; {events.name}, {len(batch)} events")
        rounds_left = iter(range(1, 4 * rounds + 2))
        steps = 2 * rounds if url is None else 4 * rounds + 1

        def step() -> None:
            show("measuring", next(rounds_left), steps)

        rates = throughput.alternate(
            {
                f"direct, {n} thread{'s' * (n > 1)}": functools.partial(pipeline.run, batch)
                for n, pipeline in pipelines.items()
            },
            rounds,
            step,
        )
        stages = throughput.stage_times(one, batch, rounds, step)
        latency: dict[str, Latency] = {}
        if url is not None:
            rates |= throughput.alternate(
                {
                    f"served, {n or 'auto'} in flight": functools.partial(
                        throughput.run_served, client, model, batch, n, agreed
                    )
                    for n in windows
                },
                rounds,
                step,
            )
            timing = stack.enter_context(Client(url, on_timings=timings.append))
            latency = throughput.latencies(
                {
                    "direct": one.reconstruct,
                    "served": lambda event: timing.reconstruct(model, event, identity=agreed),
                },
                batch,
                rounds,
                step,
            )
    console.print(_rates(rates, len(batch)))
    console.print(_stages(stages, numbers[0], tracker.size, counts[tracker.size] / len(batch)))
    if latency:
        console.print(_latencies(latency))
        console.print(_split(timings[len(batch) :]))
    console.print(counts_table(counts, len(batch), tracker.size))
    console.print(f"peak memory of this process: {throughput.peak_memory() / 2**20:.0f} MiB")
    report_failures(failed)


add_commands(commands, bench)


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
    for name in ("events/s", "slowest", "fastest", "ratio to first, median of rounds"):
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


def _stages(stages: dict[str, float], threads: int, unit: str, size: float) -> Table:
    """Times of stages, also per unit of an event's size where it has one."""
    table = Table(title=f"Time per event, {threads} thread{'s' * (threads > 1)}")
    table.add_column("stage")
    for name in ("ms", "share", f"ns / {unit.removesuffix('s')}")[: 3 if size else 2]:
        table.add_column(name, justify="right")

    def row(name: str, seconds: float, share: str) -> None:
        per_unit = (f"{1e9 * seconds / size:.1f}",) if size else ()
        table.add_row(name, f"{1e3 * seconds:.3f}", share, *per_unit)

    total = sum(stages.values())
    for name, seconds in stages.items():
        row(name, seconds, f"{seconds / total:.0%}")
    table.add_section()
    row("all", total, "")
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
    """The parts of the time that a served event takes."""
    table = Table(title="A served event, mean")
    table.add_column("")
    table.add_column("ms", justify="right")
    for part in ("client", "network", "queue", "compute", "total"):
        if part == "total":
            table.add_section()
        table.add_row(part, f"{1e3 * fmean(getattr(t, part) for t in timings):.2f}")
    return table
