"""``trackserve demo``: the whole main path of both trackers, once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from trackserve.errors import EventError, InputError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker

from .common import Where, compiling, console, facts_of, progress, report_failures, wrote
from .grammar import DataDirectory

if TYPE_CHECKING:
    from trackserve.client import Client

_ROUNDS = 5
_ATTEMPTS = 3
"""Times that the speed is measured at most, if it makes no sense."""
_MOST_SPEED_UP = 1.15
"""A server does all that a direct call does, on the same cores, and more. Where it seems faster by
more than this, other programs disturbed the measurement."""
_SHOWN = 3
"""Events of a page."""


class _Subject(NamedTuple):
    """A tracker and the events that it is shown with, as it opens them."""

    tracker: Tracker[Any, Any]
    events: Any
    options: Mapping[str, str | Path]


class Speed(NamedTuple):
    """Speed of a model directly and served.

    Attributes:
        rates: events per second, by way; direct runs as many threads as the server has workers.
        latencies: seconds of an event by itself, by way.
        seen: what the machine did for others meanwhile, of a :class:`.machine.Watch`.
    """

    rates: dict[str, float]
    latencies: dict[str, float]
    seen: dict[str, float]

    @property
    def speed_up(self) -> float:
        """How many times as fast the server seems; more than about 1 makes no sense."""
        return max(
            self.rates["served"] / self.rates["direct"],
            self.latencies["direct"] / self.latencies["served"],
        )

    @property
    def makes_sense(self) -> bool:
        """Whether the figures are those of this program."""
        return self.speed_up <= _MOST_SPEED_UP

    def caveat(self, model: str) -> str:
        """What to know about the figures; empty if there is nothing."""
        from trackserve.studies.machine import meanwhile

        busy = meanwhile(self.seen)
        if not self.makes_sense:
            return (
                f"{model}: no speed, because served seemed {self.speed_up:.1f} times as fast as "
                f"direct. {(busy or 'other programs disturbed it').capitalize()}: try again on a "
                "quiet machine"
            )
        return busy and f"{model}: {busy} while this was measured: the figures are rough"


class Comparison(NamedTuple):
    """A model directly and served: identity, outcomes and speed."""

    model: str
    identity: str
    outcomes: dict[str, list[Any]]
    speed: Speed

    @property
    def n_different(self) -> int:
        return sum(a != b for a, b in zip(*self.outcomes.values(), strict=True))


def demo(
    directory: DataDirectory,
    points: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="Events of space points, for exatrkx.", show_default=False
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the reports.")
    ] = Path("demo"),
) -> None:
    """Reconstruct events here and on a Triton server started for them, and compare.

    DIR is for Patatrack, PATH for Exa.TrkX; one server runs both. The two answers
    must agree bit for bit. Prints speed and physics, and writes reports and pages that show events.
    This process has as many threads as the server has workers. If other programs keep the machine
    busy meanwhile, the command says so.
    """
    from trackserve.report.validation import tables, write_validation
    from trackserve.studies.machine import cpu_name

    patatrack, exatrkx = find_tracker("patatrack"), find_tracker("exatrkx")
    subjects = [
        _Subject(patatrack, patatrack.open_events(directory), {"conditions": directory}),
        _Subject(exatrkx, exatrkx.open_events(points), {}),
    ]
    with _serving(subjects) as client:
        comparisons = [_compare(subject, client) for subject in subjects]
    console.print(speed_table(f"trackserve on {cpu_name()}", comparisons))
    for compared in comparisons:
        if caveat := compared.speed.caveat(compared.model):
            console.print(f"[yellow]{escape(caveat)}[/]", highlight=False, soft_wrap=True)
    for (tracker, events, _), path, compared in zip(
        subjects, (directory, points), comparisons, strict=True
    ):
        validation = tracker.validation()
        matches = {tracker.name: validation.match(events, compared.outcomes["served"])}
        for table in tables(validation, matches):
            console.print(table)
        with console.status("drawing"):
            title = f"{tracker.name} on {events.name}"
            page = write_validation(
                output / tracker.name,
                title,
                validation,
                matches,
                identities={tracker.name: compared.identity},
                about=facts_of(events, path, Where(), {tracker.name: tracker.complete({})}),
            )
        wrote(page)
    _conclude(comparisons)
    pages = [_show(*both, output) for both in zip(subjects, comparisons, strict=True)]
    console.print("events to look at, in any browser:", *pages, sep="\n  ", soft_wrap=True)


def _show(subject: _Subject, compared: Comparison, output: Path) -> Path:
    """Write a page with the first events."""
    from trackserve.display import make_scene, write_page

    tracker, events, _ = subject
    outcomes = compared.outcomes["served"][:_SHOWN]
    scene = make_scene(tracker, events, range(len(outcomes)), outcomes)
    return write_page(output / tracker.name / "event.html", scene)


@contextmanager
def _serving(subjects: Sequence[_Subject]) -> Iterator[Client]:
    """A client of one server with the models of all subjects."""
    from trackserve.client import Client
    from trackserve.serving.repository import best_backend, write_model
    from trackserve.serving.server import Server

    with tempfile.TemporaryDirectory(prefix="trackserve-") as repository:
        backend, _ = best_backend("cpu")
        for subject in subjects:
            write_model(repository, subject.tracker.name, subject.options, backend=backend)
        server = Server(repository, grpc_port=0, http_port=0, metrics_port=0)
        start = time.perf_counter()
        with progress() as show:
            show("starting Triton", 0, 0)
            server.start(compiling(show))
        try:
            seconds = time.perf_counter() - start
            console.print(f"Triton ready after {seconds:.1f} s: {', '.join(server.models)}")
            with Client(server.grpc_url) as client:
                yield client
        finally:
            server.stop()


def _compare(subject: _Subject, client: Client) -> Comparison:
    from trackserve.serving.backend.runtime import cores

    tracker = subject.tracker
    model, keep = tracker.name, tracker.validation().keep
    pipeline = tracker.build({}, threads=cores(), events=subject.events)
    with progress() as show:
        show(f"building {model}", 0, 0)
        pipeline.warm_up()
    events = list(subject.events)
    direct = (pipeline.run([event], keep)[0] for event in events)
    served = client.stream(model, events, keep, identity=pipeline.identity)
    outcomes = {
        way: _shown(stream, len(events), f"{model}, {way}")
        for way, stream in {"direct": direct, "served": served}.items()
    }
    good = [
        event
        for event, outcome in zip(events, outcomes["direct"], strict=True)
        if not isinstance(outcome, EventError)
    ]
    if not good:
        raise InputError("no events to measure with", tracker=model)
    with console.status(f"measuring {model}"):
        for _ in range(_ATTEMPTS):
            speed = _measure(pipeline, client, model, good)
            if speed.makes_sense:
                break
    return Comparison(model, str(pipeline.identity), outcomes, speed)


def _measure(pipeline: Any, client: Client, model: str, events: Sequence[Any]) -> Speed:
    from trackserve.studies import throughput
    from trackserve.studies.machine import Watch

    with Watch() as watch:
        seconds = throughput.alternate(
            {
                "direct": lambda: pipeline.run(events),
                "served": lambda: throughput.run_served(client, model, events),
            },
            _ROUNDS,
        )
        latencies = throughput.latencies(
            {
                "direct": lambda event: pipeline.run([event]),
                "served": lambda event: client.reconstruct(model, event),
            },
            events,
            _ROUNDS,
        )
    return Speed(
        {way: len(events) / median(spent) for way, spent in seconds.items()},
        {way: latency.median for way, latency in latencies.items()},
        watch.seen,
    )


def _shown(outcomes: Iterable[Any], n: int, what: str) -> list[Any]:
    """All outcomes; a bar shows how many there are."""
    found = []
    with progress() as show:
        for outcome in outcomes:
            found.append(outcome)
            show(what, len(found), n)
    return found


def speed_table(title: str, comparisons: Sequence[Comparison]) -> Table:
    table = Table(title=title)
    for name in ("", "", "events/s", "latency, ms", "tracks / event"):
        table.add_column(name, justify="left" if not name else "right")
    for compared in comparisons:
        for way, outcomes in compared.outcomes.items():
            tracks = [_count(one) for one in outcomes if not isinstance(one, EventError)]
            speed = compared.speed
            figures = f"{speed.rates[way]:.1f}", f"{1e3 * speed.latencies[way]:.2f}"
            table.add_row(
                compared.model if way == "direct" else "",
                way,
                *(figures if speed.makes_sense else ("-", "-")),
                f"{fmean(tracks):.1f}" if tracks else "",
            )
    return table


def _count(result: Any) -> int:
    found = result.tracks if hasattr(result, "tracks") else result.candidates
    return len(found)


def _conclude(comparisons: Sequence[Comparison]) -> None:
    """Exit with 1 if an event failed or differs."""
    for compared in comparisons:
        served = compared.outcomes["served"]
        report_failures(one for one in served if isinstance(one, EventError))
        if n := compared.n_different:
            console.print(f"[bold red]{compared.model}: served and direct differ in {n} events[/]")
            raise typer.Exit(1)
        n = len(compared.outcomes["served"])
        console.print(
            f"[bold green]{compared.model}: served = direct, bit for bit, in all {n} events[/]"
        )
