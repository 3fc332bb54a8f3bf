"""``trackserve validate``: is the physics right?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.progress import track

from trackserve.errors import EventError
from trackserve.io import open_pixel, open_points

from .common import (
    Config,
    DataDirectory,
    Device,
    InFlight,
    Model,
    PointsPath,
    Precision,
    Url,
    Where,
    console,
    exatrkx,
    patatrack,
    report_failures,
)

if TYPE_CHECKING:
    from trackserve.report.validation import Validation

M = TypeVar("M")

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
    from trackserve.report.pixel import PixelValidation

    _check_against(against, url)
    events, validation = open_pixel(directory), PixelValidation()
    errors: list[EventError] = []
    matches = {}
    for name in (config,) if against is None else (against, config):
        where = Where(url, in_flight, device)
        with patatrack(directory, name, where, validation.keep) as reconstruct:
            results = _reconstruct(events, reconstruct, name)
            matches[name] = validation.match(events, _noting(results, errors))
    title = "Patatrack pixel tracking" if against is None else " and ".join(matches)
    _show(validation, matches, f"{title} on {events.name}", output)
    report_failures(errors)


def _reconstruct(events: Any, reconstruct: Any, name: str) -> Any:
    return track(reconstruct(events), name, total=len(events), console=console, transient=True)


def _show(
    validation: Validation[M], matches: Mapping[str, M], title: str, output: Path | None
) -> None:
    """Print the numbers, and write a report if there is an ``output``."""
    from trackserve.report.validation import tables, write_validation

    for table in tables(validation, matches):
        console.print(table)
    if output is not None:
        with console.status("drawing"):
            report = write_validation(output, title, validation, matches)
        console.print(f"wrote {report}")


def _check_against(against: str | None, url: str | None) -> None:
    if against is not None and url is not None:
        raise typer.BadParameter("--against compares on this machine: leave out --url")


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
    from trackserve.report.points import PointsValidation

    _check_against(against, url)
    events, validation = open_points(path), PointsValidation()
    where = Where(url, in_flight, device, precision)
    errors: list[EventError] = []
    matches = {}
    for name in (model,) if against is None else (against, model):
        keep = () if url else validation.keep
        with exatrkx(name, where, keep, events.detector) as reconstruct:
            results = _reconstruct(events, reconstruct, name)
            matches[name] = validation.match(events, _noting(results, errors))
    title = " and ".join(matches) + (f" at {url}" if url else "")
    _show(validation, matches, f"{title} on {events.name}", output)
    report_failures(errors)


def _noting(results: Iterable[Any], errors: list[EventError]) -> Iterator[Any]:
    for result in results:
        if isinstance(result, EventError):
            errors.append(result)
        yield result
