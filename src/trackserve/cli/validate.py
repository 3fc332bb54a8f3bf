"""``trackserve validate``: is the physics right?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..edm import RawEvent
from ..io import read_events
from .common import (
    Config,
    DataDirectory,
    InFlight,
    Result,
    Url,
    console,
    patatrack,
    reconstruct_all,
    report_failures,
)

commands = typer.Typer(no_args_is_help=True, help="Compare with the truth: numbers and plots.")


@commands.callback()
def _group() -> None:
    pass


@commands.command("patatrack")
def validate_patatrack(
    directory: DataDirectory,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write a report here.", show_default=False
        ),
    ] = None,
    config: Config = "default",
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
    from ..performance import validate

    events = list(read_events(directory))
    if against is not None:
        _compare(directory, output, events, [against, config])
        return
    with patatrack(directory, config, url, in_flight, keep=("hits",)) as reconstruct:
        results = reconstruct_all(events, reconstruct)
    summary = validate.validate_patatrack(directory, results)
    reference = validate.compare_with_reference(directory, results)
    console.print(validate.summary_table(summary, reference))
    if output is not None:
        with console.status("drawing"):
            report = validate.write_validation_report(output, directory, results)
        console.print(f"wrote {report}")
    report_failures(results)


def _compare(
    directory: Path, output: Path | None, events: list[RawEvent], configs: list[str]
) -> None:
    from ..performance import comparison_table, match_directory, write_comparison_report

    matches = {}
    results: list[Result] = []
    for config in configs:
        with patatrack(directory, config, None, keep=("hits",)) as reconstruct:
            results = reconstruct_all(events, reconstruct, config)
        matches[config] = match_directory(directory, results)
    console.print(comparison_table(matches))
    if output is not None:
        with console.status("drawing"):
            report = write_comparison_report(output, directory, matches)
        console.print(f"wrote {report}")
    report_failures(results)
