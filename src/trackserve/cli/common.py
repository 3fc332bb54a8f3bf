"""Code that several commands share: they reconstruct events, here or on a server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from statistics import fmean
from typing import Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from trackserve.edm import ResultCounts
from trackserve.edm.result import Outcome
from trackserve.errors import EventError
from trackserve.trackers.base import Tracker

console = Console()

Reconstruct = Callable[[Iterable[Any]], Iterator[Outcome]]

_BATCH = 64
"""Events that a pipeline gets at once, if it works on several."""


class Where(NamedTuple):
    """The place at which events are reconstructed: a server, or this machine.

    Attributes:
        url: address of the server; None: this machine.
        served: name of the model on the server; None: the tracker's name.
        in_flight: requests in flight to the server; None: as many as it can use.
        device: device of this machine.
        threads: events that run at the same time on a CPU of this machine.
    """

    url: str | None = None
    served: str | None = None
    in_flight: int | None = None
    device: str = "cpu"
    threads: int = 1

    def check(self, tracker: Tracker[Any, Any], options: Mapping[str, str]) -> None:
        """Refuse arguments that would have no effect.

        Raises:
            BadParameter: an option is for a server and there is no url, or the reverse.
        """
        if self.url is None:
            wrong = {"served": self.served is not None, "in-flight": self.in_flight is not None}
            reason = "is for a server: give --url"
        else:
            defaults = tracker.complete({})
            wrong = {name: value != defaults[name] for name, value in options.items()}
            wrong |= {"device": self.device != "cpu", "threads": self.threads != 1}
            reason = "has no effect with --url: the server has its own"
        for name, is_given in wrong.items():
            if is_given:
                raise typer.BadParameter(f"--{name.replace('_', '-')} {reason}")


@contextmanager
def reconstruction(
    tracker: Tracker[Any, Any],
    options: Mapping[str, str],
    where: Where,
    events: Any,
    keep: Collection[str] = (),
) -> Iterator[Reconstruct]:
    """A function that reconstructs events; its outcomes are in order, and a bad event leaves its
    error in its place.

    Args:
        tracker: the tracker.
        options: values by name of option.
        where: here or on a server.
        events: what will be reconstructed, as the tracker opens it.
        keep: intermediates to return as well.
    """
    where.check(tracker, options)
    if where.url is not None:
        from trackserve.client import Client, keep_freed_memory

        keep_freed_memory()
        model = where.served or tracker.name
        with Client(where.url) as client:
            yield lambda some: client.stream(model, some, keep, in_flight=where.in_flight)
    else:
        pipeline = tracker.build(options, device=where.device, threads=where.threads, events=events)
        is_single = where.device == "cpu" and where.threads == 1
        size = 1 if is_single else _BATCH
        yield lambda some: _in_batches(lambda batch: pipeline.run(batch, keep), some, size)


def _in_batches(
    run: Callable[[list[Any]], Sequence[Outcome]], events: Iterable[Any], size: int
) -> Iterator[Outcome]:
    waiting = iter(events)
    while batch := list(islice(waiting, size)):
        yield from run(batch)


def show_progress(outcomes: Iterable[Any], n: int, description: str) -> Iterable[Any]:
    """The outcomes, with a progress bar."""
    return track(outcomes, description, total=n, console=console, transient=True)


def report_failures(outcomes: Iterable[object]) -> None:
    """Print the errors of the events that failed, if any, and then exit with 1."""
    failed = [outcome for outcome in outcomes if isinstance(outcome, EventError)]
    for error in failed:
        console.print(
            f"[red]event failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
    if failed:
        raise typer.Exit(1)


def counts_table(counts: Sequence[ResultCounts], size: str = "") -> Table:
    """Mean counts per event, and per unit of an event's size.

    Args:
        counts: of all events.
        size: name of the count that tells how large an event is.
    """
    table = Table(title=f"Counts, means over {len(counts)} events")
    table.add_column("")
    table.add_column("per event", justify="right")
    total = sum(getattr(one, size) for one in counts) if size else 0
    if total:
        table.add_column(f"per {size.removesuffix('s')}", justify="right")
    for name in counts[0].names() if counts else ():
        values = [getattr(one, name) for one in counts]
        row = [name.replace("_", " "), f"{fmean(values):.1f}"]
        table.add_row(*row, *([f"{sum(values) / total:.3f}"] if total else []))
    return table
