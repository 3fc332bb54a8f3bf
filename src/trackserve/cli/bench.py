"""``trackserve bench``: how fast is it?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from ..edm import RawEvent
from ..io import read_events
from .common import Config, DataDirectory, Url, console

if TYPE_CHECKING:
    from ..client import Timings
    from ..performance.throughput import Latency

commands = typer.Typer(no_args_is_help=True, help="Measure throughput, latency and memory.")


@commands.callback()
def _group() -> None:
    pass


@commands.command("patatrack")
def bench_patatrack(
    directory: DataDirectory,
    config: Config = "default",
    threads: Annotated[str, typer.Option(help="Numbers of threads, as in 1,2.")] = "1,2",
    url: Url = None,
    in_flight: Annotated[
        str,
        typer.Option(help="With --url: events in flight, as in 1,2,auto; auto finds it."),
    ] = "1,auto",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")] = 15,
) -> None:
    """Events per second, time per stage, peak memory; with --url the cost of the service.

    What is compared takes turns round by round, since machines are noisy.
    """
    from ..patatrack import PatatrackPipeline
    from ..performance import throughput

    events = list(read_events(directory))
    counts, windows = _numbers(threads), _windows(in_flight)
    timings: list[Timings] = []
    console.print(f"{throughput.cpu_name()}; {directory.name}, {len(events)} events")
    with Progress(console=console, transient=True) as bar, ExitStack() as stack:
        steps = 2 * rounds if url is None else 4 * rounds + 1
        task = bar.add_task("measuring", total=steps)

        def progress() -> None:
            bar.advance(task)

        pipelines = {n: PatatrackPipeline.from_directory(directory, config, n) for n in counts}
        direct = throughput.alternate(
            {
                f"direct, {n} thread{'s' * (n > 1)}": lambda p=p: p.run(events)  # type: ignore[misc]
                for n, p in pipelines.items()
            },
            rounds,
            progress,
        )
        one = next(iter(pipelines.values()))
        stages = throughput.stage_times(one, events, rounds, progress)
        served: dict[str, list[float]] = {}
        latency: dict[str, Latency] = {}
        if url is not None:
            from ..client import Client, keep_freed_memory

            keep_freed_memory()
            client = stack.enter_context(Client(url))
            served = throughput.alternate(
                {
                    f"served, {n or 'auto'} in flight": lambda n=n: throughput.run_served(  # type: ignore[misc]
                        client, "patatrack", events, n
                    )
                    for n in windows
                },
                rounds,
                progress,
            )
            timing = stack.enter_context(Client(url, on_timings=timings.append))
            latency = throughput.latencies(
                {
                    "direct": one.reconstruct,
                    "served": lambda event: timing.reconstruct("patatrack", event),
                },
                events,
                rounds,
                progress,
            )
    console.print(_rates(direct | served, events))
    console.print(_stages(stages))
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


def _rates(seconds: dict[str, list[float]], events: Sequence[RawEvent]) -> Table:
    table = Table(title="Throughput")
    table.add_column("")
    for name in ("events/s", "slowest", "fastest", "ratio to first"):
        table.add_column(name, justify="right")
    rates = {name: [len(events) / value for value in values] for name, values in seconds.items()}
    first = next(iter(rates.values()))
    for name, values in rates.items():
        ratio = median(a / b for a, b in zip(values, first, strict=True))
        row = (median(values), min(values), max(values))
        table.add_row(name, *(f"{value:.0f}" for value in row), f"{ratio:.2f}")
    return table


def _stages(stages: dict[str, float]) -> Table:
    table = Table(title="Time per event, one thread")
    table.add_column("stage")
    table.add_column("ms", justify="right")
    table.add_column("share", justify="right")
    total = sum(stages.values())
    for name, seconds in stages.items():
        table.add_row(name, f"{1e3 * seconds:.3f}", f"{seconds / total:.0%}")
    table.add_section()
    table.add_row("all", f"{1e3 * total:.3f}", "")
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
