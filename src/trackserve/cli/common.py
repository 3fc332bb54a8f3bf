"""Code that several commands share: they reconstruct events, here or on a server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from trackserve import __version__
from trackserve.edm import ResultCounts
from trackserve.edm.result import Outcome
from trackserve.errors import EventError, IdentityMismatch
from trackserve.trackers.base import Tracker
from trackserve.wire.identity import UNCHECKED, check_identity

if TYPE_CHECKING:
    from trackserve.client import Client

console = Console()

_BATCH = 64
"""Events that a pipeline gets at once, if it works on several."""


class Reconstruct(NamedTuple):
    """A way to reconstruct events; call it.

    Attributes:
        run: takes events, and gives what they come to.
        identity: text of the identity of what reconstructs; "unchecked" where it is unknown.
    """

    run: Callable[[Iterable[Any]], Iterator[Outcome]]
    identity: str

    def __call__(self, events: Iterable[Any]) -> Iterator[Outcome]:
        """The outcome of each event."""
        return self.run(events)

    @property
    def about(self) -> dict[str, str]:
        """Metadata of a file of results."""
        return {"identity": self.identity, "version": __version__}


class Where(NamedTuple):
    """The place at which events are reconstructed: a server, or this machine.

    Attributes:
        url: address of the server; None: this machine.
        served: name of the model on the server; None: the tracker's name.
        in_flight: requests in flight to the server; None: as many as it can use.
        device: device of this machine.
        threads: events that run at the same time on a CPU of this machine.
        identity: text of the identity that the model on the server must have, or its hash;
            "unchecked": any; None: that of the options.
    """

    url: str | None = None
    served: str | None = None
    in_flight: int | None = None
    device: str = "cpu"
    threads: int = 1
    identity: str | None = None

    def check(self, tracker: Tracker[Any, Any], options: Mapping[str, str]) -> None:
        """Refuse arguments that would have no effect.

        Raises:
            BadParameter: an option is for a server and there is no url, or the reverse.
        """
        if self.url is None:
            wrong = {"served": self.served, "in-flight": self.in_flight, "identity": self.identity}
            _refuse((k for k, v in wrong.items() if v is not None), "is for a server: give --url")
        else:
            defaults = {"device": "cpu", "threads": 1}
            wrong = {k: getattr(self, k) for k, v in defaults.items() if getattr(self, k) != v}
            _refuse(wrong, "has no effect with --url: the server has its own")

    def expected(
        self, tracker: Tracker[Any, Any], options: Mapping[str, str], events: Any
    ) -> str | None:
        """The identity that the model on the server must have; None if it cannot be known here.

        Args:
            tracker: the tracker.
            options: values by name of option.
            events: what will be reconstructed, as the tracker opens it.

        Raises:
            BadParameter: an option has no effect, because the identity is given or unknown.
        """
        if self.identity is None:
            own = tracker.identity(options, events=events)
            if own is not None:
                return str(own)
        defaults = tracker.complete({})
        given = (name for name, value in options.items() if value != defaults[name])
        reason = "the model's data are not here" if self.identity is None else "--identity is given"
        _refuse(given, f"has no effect with --url: {reason}")
        return self.identity


def _refuse(names: Iterable[str], reason: str) -> None:
    for name in names:
        raise typer.BadParameter(f"--{name.replace('_', '-')} {reason}")


def agree(client: Client, model: str, expected: str | None) -> str:
    """The identity that all answers of a model on a server must have.

    Args:
        client: client of the server.
        model: name of the model.
        expected: identity that it must have; None: the one that it has now; "unchecked": any.

    Raises:
        IdentityMismatch: it has another one. The models of the server are printed then.
    """
    if expected == UNCHECKED:
        return expected
    found = client.identify(model)
    try:
        check_identity(expected or found, found, model=model, url=client.url)
    except IdentityMismatch:
        console.print("models on the server (--served, --identity):")
        for name, identity in client.models().items():
            console.print(f"  {name}: {escape(identity)}", highlight=False, soft_wrap=True)
        raise
    return found


@contextmanager
def reconstruction(
    tracker: Tracker[Any, Any],
    options: Mapping[str, str],
    where: Where,
    events: Any,
    keep: Collection[str] = (),
) -> Iterator[Reconstruct]:
    """A way to reconstruct events; its outcomes are in order, and a bad event leaves its error in
    its place.

    Args:
        tracker: the tracker.
        options: values by name of option.
        where: here or on a server.
        events: what will be reconstructed, as the tracker opens it.
        keep: intermediates to return as well.

    Raises:
        IdentityMismatch: the model on the server has another identity than the expected one.
    """
    where.check(tracker, options)
    if where.url is not None:
        from trackserve.client import Client, keep_freed_memory

        keep_freed_memory()
        model = where.served or tracker.name
        expected = where.expected(tracker, options, events)
        with Client(where.url) as client:
            identity = agree(client, model, expected)
            yield Reconstruct(
                lambda some: client.stream(
                    model, some, keep, in_flight=where.in_flight, identity=identity
                ),
                identity,
            )
    else:
        pipeline = tracker.build(options, device=where.device, threads=where.threads, events=events)
        is_single = where.device == "cpu" and where.threads == 1
        size = 1 if is_single else _BATCH
        yield Reconstruct(
            lambda some: _in_batches(lambda batch: pipeline.run(batch, keep), some, size),
            str(pipeline.identity),
        )


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
