"""``trackserve study``: the measurements of the paper, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from trackserve.errors import TrackserveError
from trackserve.studies.catalogue import STUDIES, find_study

from .common import console, progress, report_failures, report_folder, wrote
from .grammar import Device

if TYPE_CHECKING:
    from trackserve.studies.study import How
    from trackserve.studies.table import Record

commands = typer.Typer(
    no_args_is_help=True,
    help="Measure the cost and the gain of serving; write data, figures and a report.",
)

Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder of data, figures and report."),
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Few points and short times: a minute for each study.")
]
Events = Annotated[
    list[str] | None,
    typer.Option(
        "--events",
        metavar="TRACKER=PATH",
        help="Events to measure with; may be repeated; a study with one sample takes the first "
        "one of its tracker. By default events of both trackers are simulated into DIR/events.",
        show_default=False,
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option(min=2, help="How often each point is measured.", show_default="3 or 10"),
]
Seconds = Annotated[
    float | None,
    typer.Option(min=0.01, help="Length of a measurement, s.", show_default="0.5 or 2"),
]
BackendName = Annotated[
    str | None,
    typer.Option(
        "--backend",
        metavar="native|python",
        help="Backend of servers, unless a study compares backends.",
        show_default="native if it works",
    ),
]
Watts = Annotated[float, typer.Option(help="Power of a core, W, if no meter can be read.")]
Again = Annotated[bool, typer.Option("--again", help="Measure again, also if there are data.")]


def _command(names: Sequence[str]) -> Callable[..., None]:
    def command(
        output: Output,
        quick: Quick = False,
        events: Events = None,
        rounds: Rounds = None,
        seconds: Seconds = None,
        backend: BackendName = None,
        device: Device = "cpu",
        watts: Watts = 10.0,
        again: Again = False,
    ) -> None:
        from trackserve.studies.pages import SUBJECT

        report_folder(output, SUBJECT)
        how = _how(output, quick, events, rounds, seconds, backend, device, watts)
        failed = _measure(names, how, output, again)
        if len(failed) < len(names):
            _write(output)
        report_failures(failed, "study")

    return command


def _how(
    output: Path,
    quick: bool,
    events: list[str] | None,
    rounds: int | None,
    seconds: float | None,
    backend: str | None,
    device: str,
    watts: float,
) -> How:
    from trackserve.serving.repository import best_backend
    from trackserve.studies import samples
    from trackserve.studies.study import How

    usual = backend or best_backend(device)[0]
    some = samples.given(events) if events else samples.simulated(output / "events", quick)
    return How(
        tuple(some),
        quick,
        rounds or (3 if quick else 10),
        seconds or (0.5 if quick else 2.0),
        usual,
        device,
        watts,
    )


def _measure(names: Sequence[str], how: How, output: Path, again: bool) -> list[str]:
    """Run the studies that are not measured yet, and print their tables.

    Returns:
        the failures: of several studies, one that fails does not end the others.
    """
    from trackserve.studies import samples
    from trackserve.studies.run import run
    from trackserve.studies.table import read_record

    with progress() as show:
        for sample in how.samples:
            samples.prepare(sample, show)
    failed = []
    for name in names:
        if not again and read_record(output, name):
            console.print(f"{name}: measured already in {output}; --again measures anew")
            continue
        start = time.perf_counter()
        try:
            with progress() as show:
                record = run(find_study(name), how, output, show)
        except TrackserveError as error:
            if len(names) == 1:
                raise
            failed.append(f"{name}: {error}")
            continue
        _print(record)
        console.print(f"{name}: {time.perf_counter() - start:.0f} s")
    return failed


def _print(record: Record) -> None:
    from trackserve.report.tables import fitting, rich_table
    from trackserve.studies import pages

    content = pages.shown(record)
    for table in content.tables:
        console.print(rich_table(find_study(record.study).title, fitting(table, console.width)))
    if content.text:
        console.print(content.text, highlight=False)
    busy = "[yellow]the machine was busy:[/] " if pages.is_busy(record.rows) else ""
    console.print(f"{busy}{escape(pages.conditions(record.rows))}", highlight=False)


def _write(folder: Path) -> None:
    from trackserve.studies.pages import write_pages

    with console.status("drawing"):
        page = write_pages(folder)
    wrote(page)


for _name, _summary in STUDIES.items():
    commands.command(_name, help=_summary)(_command([_name]))
commands.command("all", help="All of these studies.")(_command(list(STUDIES)))


@commands.command()
def plot(
    folder: Annotated[
        Path,
        typer.Argument(
            exists=True, file_okay=False, metavar="DIR", help="Folder of data.", show_default=False
        ),
    ],
) -> None:
    """Draw figures and report again from the data in DIR, without measuring."""
    from trackserve.report.drawing import require_matplotlib
    from trackserve.studies.pages import read_all

    require_matplotlib()
    for record in read_all(folder):
        _print(record)
    _write(folder)
