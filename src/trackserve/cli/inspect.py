"""``trackserve inspect``: what is in a data directory?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table as RichTable

from .common import console, report_failures
from .grammar import DataDirectory

if TYPE_CHECKING:
    from trackserve.report.page import Table


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
    from trackserve.studies.inspect.report import contents_tables, write_inspection_report
    from trackserve.studies.inspect.survey import survey_directory

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("reading events", total=events)
        survey = survey_directory(directory, events, lambda: bar.advance(task))
    for title, table in contents_tables(directory, survey).items():
        console.print(_rich(title, table))
    if output is not None:
        with console.status("drawing"):
            report = write_inspection_report(output, directory, survey)
        console.print(f"wrote {report}")
    report_failures(survey.failed)


def _rich(title: str, table: Table) -> RichTable:
    rich = RichTable(title=title, caption=table.caption or None)
    for i, name in enumerate(table.header):
        rich.add_column(escape(name), justify="left" if i == 0 else "right", no_wrap=i == 0)
    for row in table.rows:
        rich.add_row(*(escape(cell) for cell in row))
    return rich
