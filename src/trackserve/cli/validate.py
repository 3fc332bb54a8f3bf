"""``trackserve validate``: is the physics right?"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from trackserve.edm import GRAPH_STAGES, RawEvent
from trackserve.errors import EventError
from trackserve.io import PointsEvents, open_points, read_events

from .common import (
    Config,
    DataDirectory,
    Device,
    InFlight,
    Model,
    PointsPath,
    PointsResult,
    Precision,
    Result,
    Url,
    Where,
    console,
    exatrkx,
    patatrack,
    reconstruct_all,
    report_failures,
)

if TYPE_CHECKING:
    from trackserve.physics.points.metrics import PointsMatches

commands = typer.Typer(no_args_is_help=True, help="Compare with the truth: numbers and plots.")


@commands.callback()
def _group() -> None:
    pass


Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="DIR", help="Write a report here.", show_default=False),
]


@commands.command("patatrack")
def validate_patatrack(
    directory: DataDirectory,
    output: Output = None,
    config: Config = "default",
    device: Device = "cpu",
    url: Url = None,
    in_flight: InFlight = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="CONFIG",
            help="Compare with another configuration, on this machine.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Efficiency, fakes, duplicates, resolutions, pulls and vertices against truth.npz.

    Where the three validation files are there, counts are compared with the C++ program's.
    docs/validation.md has the definitions.
    """
    from trackserve.report import pixel as validate

    _check_against(against, url)
    events = list(read_events(directory))
    if against is not None:
        _compare(directory, output, events, [against, config], device)
        return
    with patatrack(directory, config, Where(url, in_flight, device), ("hits",)) as reconstruct:
        results = reconstruct_all(events, reconstruct)
    summary = validate.validate_patatrack(directory, results)
    reference = validate.compare_with_reference(directory, results)
    console.print(validate.summary_table(summary, reference))
    if output is not None:
        with console.status("drawing"):
            report = validate.write_validation_report(output, directory, results)
        console.print(f"wrote {report}")
    report_failures(results)


def _check_against(against: str | None, url: str | None) -> None:
    if against is not None and url is not None:
        raise typer.BadParameter("--against compares on this machine: leave out --url")


def _compare(
    directory: Path,
    output: Path | None,
    events: list[RawEvent],
    configs: list[str],
    device: str,
) -> None:
    from trackserve.report.pixel import match_directory
    from trackserve.report.pixel_comparison import comparison_table, write_comparison_report

    matches = {}
    results: list[Result] = []
    for config in configs:
        with patatrack(directory, config, Where(device=device), ("hits",)) as reconstruct:
            results = reconstruct_all(events, reconstruct, config)
        matches[config] = match_directory(directory, results)
    console.print(comparison_table(matches))
    if output is not None:
        with console.status("drawing"):
            report = write_comparison_report(output, directory, matches)
        console.print(f"wrote {report}")
    report_failures(results)


@commands.command("exatrkx")
def validate_exatrkx(
    path: PointsPath,
    output: Output = None,
    model: Model = "default",
    device: Device = "cpu",
    precision: Precision = "fp32",
    url: Url = None,
    in_flight: InFlight = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Compare with another model, on this machine.", show_default=False
        ),
    ] = None,
) -> None:
    """Efficiency, fakes, duplicates and score against the truth, and where tracks are lost.

    PATH is a directory of simulated events, one of TrackML events, or one of those events.
    What a graph loses is known only on this machine: without --url. docs/validation.md has the
    definitions.
    """
    from trackserve.physics.points.metrics import summarize_points
    from trackserve.report import points as points

    _check_against(against, url)
    events, name = open_points(path), path.resolve().name
    where = Where(url, in_flight, device, precision)
    errors: list[EventError] = []
    if against is None:
        matches = _match_points(events, model, where, errors)
        for table in points.points_tables(summarize_points(matches)):
            console.print(table)
        title = f"{model} on {name}" if url is None else f"{model} at {url} on {name}"
        draw = functools.partial(points.write_points_report, title=title, matches=matches)
    else:
        both = {one: _match_points(events, one, where, errors) for one in (against, model)}
        console.print(points.compared_table(both))
        draw = functools.partial(
            points.write_compared_report,
            title=f"{against} and {model} on {name}",
            matches=both,
        )
    if output is not None:
        with console.status("drawing"):
            report = draw(output)
        console.print(f"wrote {report}")
    report_failures(errors)


def _match_points(
    events: PointsEvents,
    model: str,
    where: Where,
    errors: list[EventError],
) -> PointsMatches:
    """Reconstruct and match event by event; those that fail leave their error in ``errors``."""
    from trackserve.physics.points.metrics import match_points_events

    keep = () if where.url else GRAPH_STAGES
    with exatrkx(model, where, keep, events.detector) as reconstruct:
        results = track(
            reconstruct(events), model, total=len(events), console=console, transient=True
        )
        return match_points_events(events, _noting(results, errors))


def _noting(results: Iterable[PointsResult], errors: list[EventError]) -> Iterator[PointsResult]:
    for result in results:
        if isinstance(result, EventError):
            errors.append(result)
        yield result
