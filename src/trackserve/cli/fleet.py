"""``trackserve fleet``: how many servers do so many jobs need?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import typer

from trackserve.errors import InputError

from .common import Progress, beside_main, console, progress, report_folder, wrote

_STUDY = "hlt"
_DAY = 86_400.0
_DEFAULT_DAY = "a night, a morning that rises, an evening"


def fleet(
    service_times: Annotated[
        Path,
        typer.Option(
            "--service-times",
            metavar="FILE",
            help="Job and server with their times, as TOML (docs/fleet.md); or the folder of "
            "`trackserve study hlt`, for its measured times.",
            show_default=False,
        ),
    ],
    jobs: Annotated[int, typer.Option(min=1, help="Largest number of client jobs in a day.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write a report here, and the simulated job and server as fleet.toml.",
            show_default=False,
        ),
    ] = None,
    synchronised: Annotated[
        bool,
        typer.Option(
            "--synchronised", help="All jobs start at the same time, with the same events."
        ),
    ] = False,
    day: Annotated[
        str | None,
        typer.Option(
            metavar="SHARES",
            help="Jobs through a day, as shares of --jobs at equal distances: 0.2,1,0.6.",
            show_default=_DEFAULT_DAY,
        ),
    ] = None,
    target: Annotated[
        float,
        typer.Option(min=0.05, max=1.0, help="Load of a server that the rule keeps; 1: full."),
    ] = 0.7,
    start: Annotated[
        float, typer.Option(min=0.0, max=_DAY, help="Seconds until a new server answers.")
    ] = 60.0,
    hold: Annotated[
        float,
        typer.Option(min=0.0, max=_DAY, help="Seconds until a server without need is removed."),
    ] = 300.0,
    cores: Annotated[
        int,
        typer.Option(min=1, help="Cores of a node; without servers each node has a device."),
    ] = 64,
    events: Annotated[
        int,
        typer.Option(min=100, help="Events of each simulation; more events give smaller errors."),
    ] = 12_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random numbers.")] = 0,
) -> None:
    """Simulate client jobs and servers.

    Prints how many jobs a device can feed, how many servers --jobs jobs need, and a day in which a
    rule adds and removes servers.
    """
    from trackserve.report.tables import fitting, rich_table
    from trackserve.studies.fleet.answer import Question, answer
    from trackserve.studies.fleet.day import DAY, Rule
    from trackserve.studies.fleet.file import describe_fleet
    from trackserve.studies.fleet.report import TITLE, show_answer, write_fleet_report
    from trackserve.studies.fleet.simulate import Run, require_simpy

    require_simpy()
    if output is not None:
        report_folder(output, TITLE)
    shares = _shares(day) if day is not None else DAY
    rule = Rule(target=target, start=start, hold=hold)
    question = Question(jobs, shares, rule, synchronised, cores, Run(seed, events))
    times = _read(service_times)
    try:
        described = describe_fleet(times)
    except InputError as error:
        raise InputError(error.message, file=str(service_times), **error.fields) from None
    with progress() as show:
        found = beside_main(lambda show: answer(described, question, _counted(show)), show)
    content = show_answer(found)
    for table in content.tables:
        console.print(rich_table("Fleet", fitting(table, console.width)))
    console.print(content.text, highlight=False)
    if output is not None:
        with console.status("drawing"):
            page = write_fleet_report(output, content, times)
        wrote(page)


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of a fleet, or what a study in a folder has measured.

    Raises:
        ConditionsError: it cannot be read.
        InputError: it is something else.
    """
    from trackserve.studies.fleet.file import read_fleet
    from trackserve.studies.hlt.simulated import times_of
    from trackserve.studies.table import read_record

    if not path.is_dir():
        return read_fleet(path)
    record = read_record(path, _STUDY)
    if record is None:
        raise InputError(f"no data of `trackserve study {_STUDY}` here", folder=str(path))
    return times_of(record.rows)


def _counted(show: Progress) -> Callable[[str], None]:
    """Shows each simulation of a fleet, and how many have been done before."""
    numbers = count()
    return lambda note: show("simulating", next(numbers), 0, note)


def _shares(text: str) -> list[float]:
    """The shares of a day.

    Raises:
        InputError: they are no numbers from 0 to 1, or all 0.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not all(0 <= share <= 1 for share in shares) or not any(shares):
        raise InputError("a day is numbers from 0 to 1 with commas", option="day", found=text)
    return shares
