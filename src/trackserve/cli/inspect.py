"""``trackserve inspect``: what is in a data directory?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .common import beside_main, console, progress, report_failures, report_folder, wrote
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
        typer.Option(min=1, help="Read only this many first events.", show_default=False),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Compare with another data directory and with the public CMS sample: how busy "
            "are the events?",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the contents of a data directory: event sizes, occupancy, clusters, truth, provenance.

    If there is a truth.npz, it also compares the positions of hits with it. With --against it
    prints hits, their sizes and charge in each layer, doublets, ntuplets and vertices of both.
    """
    from trackserve.io.pixel_directory import check_pixel

    check_pixel(directory)
    if against is not None:
        check_pixel(against)
        _compare(directory, against, output, events)
        return
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
        wrote(report)
    report_failures(survey.failed)


def _compare(directory: Path, against: Path, output: Path | None, events: int | None) -> None:
    from trackserve.report.tables import rich_table
    from trackserve.studies.inspect.comparison import comparison_tables, write_comparison
    from trackserve.studies.inspect.occupancy import measure_occupancy, read_cms

    title = f"{directory.resolve().name} against {against.resolve().name}"
    if output is not None:
        report_folder(output, title)
    with progress() as show:
        measured = beside_main(
            lambda show: [measure_occupancy(path, events, show) for path in (directory, against)],
            show,
        )
    if directory.resolve().name == against.resolve().name:
        paths = (str(directory.resolve()), str(against.resolve()))
        measured = [replace(one, name=path) for one, path in zip(measured, paths, strict=True)]
    samples = [*measured, read_cms()]
    for name, table in comparison_tables(samples).items():
        console.print(rich_table(name, table))
    if output is not None:
        with console.status("drawing"):
            report = write_comparison(output, samples, title)
        wrote(report)
    report_failures([error for sample in measured for error in sample.failed])
