"""``trackserve demo``: the whole main path of both trackers, once."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table

from trackserve.errors import EventError
from trackserve.io import open_pixel, open_points

from .common import (
    DataDirectory,
    Model,
    PointsPath,
    console,
    reconstruct_all,
    report_failures,
)

if TYPE_CHECKING:
    from trackserve.client import Client

_ROUNDS = 5


class _Comparison(NamedTuple):
    """A model directly and served: results, events per second and latency, s."""

    model: str
    results: dict[str, list[Any]]
    rates: dict[str, float]
    latencies: dict[str, float]

    @property
    def n_different(self) -> int:
        return sum(a != b for a, b in zip(*self.results.values(), strict=True))


def demo(
    directory: DataDirectory,
    tracker: PointsPath,
    model: Model = "default",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the reports.")
    ] = Path("demo"),
) -> None:
    """Reconstruct events here and on a Triton server started for them, and compare.

    DIR is for Patatrack, PATH for the learned tracker; one server runs both. The two answers
    must agree bit for bit. Prints speed and physics, and writes reports.
    """
    from trackserve.report.pixel import PixelValidation
    from trackserve.report.points import PointsValidation
    from trackserve.report.validation import tables, write_validation
    from trackserve.studies import throughput
    from trackserve.trackers.exatrkx import ExatrkxPipeline
    from trackserve.trackers.patatrack import PatatrackPipeline

    raw, opened = open_pixel(directory), open_points(tracker)
    raw_events, tracker_events = list(raw), list(opened)
    with console.status("building the pipelines (the first time, compiling them)"):
        patatrack = PatatrackPipeline.from_directory(directory)
        exatrkx = ExatrkxPipeline.from_model(model, detector=opened.detector)
        patatrack.run(raw_events[:1])
        exatrkx.warm_up()
    with _serving(directory, model) as client:
        classic = _compare("patatrack", patatrack.run, raw_events, client, ("hits",))
        learned = _compare("exatrkx", exatrkx.run, tracker_events, client)
    console.print(_table(f"trackserve on {throughput.cpu_name()}", [classic, learned]))
    pixel, points = PixelValidation(), PointsValidation()
    tracks = {"patatrack": pixel.match(raw, classic.results["served"])}
    candidates = {model: points.match(tracker_events, learned.results["served"])}
    for physics in (*tables(pixel, tracks), *tables(points, candidates)):
        console.print(physics)
    with console.status("drawing"):
        title = f"Patatrack pixel tracking on {raw.name}"
        pages = (
            write_validation(output / "patatrack", title, pixel, tracks),
            write_validation(output / "exatrkx", f"{model} model", points, candidates),
        )
    for page in pages:
        console.print(f"wrote {page}")
    _conclude([classic, learned])


@contextmanager
def _serving(conditions: Path, model: str) -> Iterator[Client]:
    """A client of one server with both models."""
    from trackserve.client import Client
    from trackserve.serving.repository import write_exatrkx, write_patatrack
    from trackserve.serving.server import Server

    with tempfile.TemporaryDirectory(prefix="trackserve-") as repository:
        write_patatrack(repository, conditions)
        write_exatrkx(repository, model)
        server = Server(repository, grpc_port=0, http_port=0, metrics_port=0)
        start = time.perf_counter()
        with console.status("starting Triton"):
            server.start()
        try:
            seconds = time.perf_counter() - start
            console.print(f"Triton ready after {seconds:.1f} s: {', '.join(server.models)}")
            with Client(server.grpc_url) as client:
                yield client
        finally:
            server.stop()


def _compare(
    model: str,
    run: Callable[..., list[Any]],
    events: Sequence[Any],
    client: Client,
    keep: Collection[str] = (),
) -> _Comparison:
    from trackserve.studies import throughput

    results = {
        "direct": reconstruct_all(
            events, lambda all_: (run([event], keep)[0] for event in all_), f"{model}, direct"
        ),
        "served": reconstruct_all(
            events, lambda all_: client.stream(model, all_, keep), f"{model}, served"
        ),
    }
    with console.status(f"measuring {model}"):
        seconds = throughput.alternate(
            {
                "direct": lambda: run(events),
                "served": lambda: throughput.run_served(client, model, events),
            },
            _ROUNDS,
            lambda: None,
        )
        latencies = throughput.latencies(
            {
                "direct": lambda event: run([event]),
                "served": lambda event: client.reconstruct(model, event),
            },
            events,
            _ROUNDS,
            lambda: None,
        )
    return _Comparison(
        model,
        results,
        {way: len(events) / median(spent) for way, spent in seconds.items()},
        {way: latency.median for way, latency in latencies.items()},
    )


def _table(title: str, comparisons: Sequence[_Comparison]) -> Table:
    table = Table(title=title)
    for name in ("", "", "events/s", "latency, ms", "tracks / event"):
        table.add_column(name, justify="left" if not name else "right")
    for compared in comparisons:
        for way, results in compared.results.items():
            tracks = [_count(result) for result in results if not isinstance(result, EventError)]
            table.add_row(
                compared.model if way == "direct" else "",
                way,
                f"{compared.rates[way]:.1f}",
                f"{1e3 * compared.latencies[way]:.2f}",
                f"{fmean(tracks):.1f}" if tracks else "",
            )
    return table


def _count(result: Any) -> int:
    found = result.tracks if hasattr(result, "tracks") else result.candidates
    return len(found)


def _conclude(comparisons: Sequence[_Comparison]) -> None:
    """Exit with 1 if an event failed or differs."""
    for compared in comparisons:
        report_failures(compared.results["served"])
        if n := compared.n_different:
            console.print(f"[bold red]{compared.model}: served and direct differ in {n} events[/]")
            raise typer.Exit(1)
        n = len(compared.results["served"])
        console.print(
            f"[bold green]{compared.model}: served = direct, bit for bit, in all {n} events[/]"
        )
