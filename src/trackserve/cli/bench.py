"""``trackserve bench``: how fast is it?"""

from __future__ import annotations

import importlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from trackserve.errors import EventError, InputError
from trackserve.trackers.base import Pipeline, Tracker

from .common import (
    Progress,
    Where,
    agree,
    beside_main,
    console,
    counts_table,
    progress,
    report_failures,
    report_folder,
    tell,
    wrote,
)
from .grammar import Device, Identity, Served, Url, add_commands

if TYPE_CHECKING:
    from trackserve.studies.bench import Remote
    from trackserve.studies.table import Record

commands = typer.Typer(no_args_is_help=True, help="Measure throughput, latency and memory.")


def bench(
    tracker: Tracker[Any, Any],
    options: dict[str, str],
    path: Path,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write bench.csv, bench.parquet, bench.json and a report here.",
            show_default=False,
        ),
    ] = None,
    device: Device = "cpu",
    threads: Annotated[str, typer.Option(help="Numbers of threads, such as 1,2.")] = "1,2",
    url: Url = None,
    served: Served = None,
    in_flight: Annotated[
        str,
        typer.Option(
            help="With --url: events in flight, such as 1,2,auto; auto finds the number itself."
        ),
    ] = "1,auto",
    identity: Identity = None,
    served_only: Annotated[
        bool,
        typer.Option(
            "--served-only",
            help="With --url: measure the server alone. If this machine lacks the pipelines or "
            "their data, the command always does so.",
        ),
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; the result is their mean.")] = 7,
) -> None:
    """Print events per second, time per stage, peak memory; with --url the cost of the service.

    Compared ways run in turns, round by round, because the speed of a machine changes. An event
    that cannot be read or reconstructed is left out, and listed at the end.
    """
    from trackserve.studies.bench import Subject, bench_of
    from trackserve.studies.machine import cpu_name
    from trackserve.studies.pages import SUBJECT, write_pages
    from trackserve.studies.run import run
    from trackserve.studies.study import How
    from trackserve.studies.throughput import peak_memory

    if url is None:
        Where(url, served, identity=identity).check(tracker, options)
        if served_only:
            raise typer.BadParameter("--served-only is for a server: give --url")
    numbers = _numbers(threads) if device == "cpu" else [1]
    windows = _windows(in_flight)
    if output is not None:
        report_folder(output, SUBJECT)
    events = tracker.open_events(path)
    if not len(events):
        raise InputError("no events to measure with", path=str(path))
    pipelines: dict[int, Pipeline[Any, Any]] = {}
    if url is None or not (served_only or _is_mere_client(tracker, options, events)):
        pipelines = {
            n: tracker.build(options, device=device, threads=n, events=events) for n in numbers
        }
    one = next(iter(pipelines.values()), None)
    with ExitStack() as stack:
        remote = None
        if url is not None:
            expected = identity
            if expected is None and one is not None:
                expected = str(one.identity)
            if expected is None:
                expected = Where(url, served).expected(tracker, options, events)
            model = served or tracker.name
            remote = stack.enter_context(_connect(url, model, expected))
        with progress() as show:
            batch, counts, failed = beside_main(partial(_warm_up, events, one, remote), show)
        if not batch:
            report_failures(failed)
        console.print(f"{cpu_name()}; {events.name}, {len(batch)} events")
        size = counts[tracker.size] / len(batch) if tracker.size else 0.0
        unit = tracker.size.removesuffix("s")
        identities = [str(one.identity)] if one else []
        identities += [remote.identity] if remote else []
        subject = Subject(batch, unit, size, pipelines, remote, windows, identities[0])
        how = How((), rounds=rounds, device=device)
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        what = f"{tracker.name} {path}, {identities[0]}, {url or 'here'}"
        with progress() as show:
            record = beside_main(lambda show: run(bench_of(subject), how, folder, show, what), show)
    _print(record)
    console.print(counts_table(counts, len(batch), tracker.size))
    console.print(f"peak memory of this process: {peak_memory() / 2**20:.0f} MiB")
    if output is not None:
        wrote(write_pages(output))
    report_failures(failed)


def _is_mere_client(tracker: Tracker[Any, Any], options: dict[str, str], events: Any) -> bool:
    """Whether a pipeline cannot be built here, for want of packages or of data."""
    try:
        for module in tracker.modules:
            importlib.import_module(module)
        found = tracker.identity(options, events=events) is None
    except ImportError:
        found = True
    if found:
        tell("the pipeline is not installed here, or its data are not: only served is measured")
    return found


@contextmanager
def _connect(url: str, model: str, expected: str | None) -> Iterator[Remote]:
    from trackserve.client import Client, Timings, keep_freed_memory
    from trackserve.studies.bench import Remote

    keep_freed_memory()
    timings: list[Timings] = []
    with Client(url, on_timings=timings.append) as client:
        yield Remote(client, timings, model, agree(client, model, expected))


def _warm_up(
    events: Any, pipeline: Pipeline[Any, Any] | None, remote: Remote | None, show: Progress
) -> tuple[list[Any], Counter[str], list[EventError]]:
    """The events that can be reconstructed, the sums of their counts, and the errors of others."""
    batch = []
    counts: Counter[str] = Counter()
    failed: list[EventError] = []
    for index in range(len(events)):
        try:
            event = events[index]
            if pipeline is not None:
                result = pipeline.reconstruct(event)
            else:
                assert remote is not None
                result = remote.client.reconstruct(remote.model, event, identity=remote.identity)
            counts.update(vars(result.counts))
            batch.append(event)
        except EventError as error:
            failed.append(error)
        show("warming up", index + 1, len(events))
    return batch, counts, failed


def _print(record: Record) -> None:
    from trackserve.report.tables import rich_table
    from trackserve.studies import pages

    for table in pages.shown(record).tables:
        console.print(rich_table("", table))
    busy = "[yellow]the machine was busy:[/] " if pages.is_busy(record.rows) else ""
    console.print(f"{busy}{escape(pages.conditions(record.rows))}", highlight=False)


add_commands(commands, bench)


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise typer.BadParameter(f"{text!r} is not a list of positive numbers such as 1,2")
    return list(dict.fromkeys(numbers))


def _windows(text: str) -> Sequence[int | None]:
    """Events in flight; None stands for auto."""
    parts = dict.fromkeys(text.split(","))
    return [None if part == "auto" else _numbers(part)[0] for part in parts]
