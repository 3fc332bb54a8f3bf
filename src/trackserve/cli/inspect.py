"""``trackserve inspect``: what is in a data directory?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .common import beside_main, console, progress, report_failures, report_folder
from .grammar import DataDirectory


def inspect(
    directory: DataDirectory,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="DIR", help="Write a report here.", show_default=False
        ),
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(min=1, help="Look at the first so many events only.", show_default=False),
    ] = None,
) -> None:
    """Show what a data directory holds: event sizes, occupancy, clusters, truth, provenance.

    Where there is a truth.npz, the positions of hits are compared with it.
    """
    from trackserve.report.tables import rich_table
    from trackserve.studies.inspect.report import (
        contents_tables,
        report_title,
        write_inspection_report,
    )
    from trackserve.studies.inspect.survey import survey_directory

    if output is not None:
        report_folder(output, report_title(directory))
    with progress() as show:
        survey = beside_main(partial(survey_directory, directory, events), show)
    for title, table in contents_tables(directory, survey).items():
        console.print(rich_table(title, table))
    if output is not None:
        with console.status("drawing"):
            report = write_inspection_report(output, directory, survey)
        console.print(f"wrote {report}")
    report_failures(survey.failed)
