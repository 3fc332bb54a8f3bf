"""``trackserve simulate``: events from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress, TaskID
from rich.table import Table

from .common import console

if TYPE_CHECKING:
    from ..simulation.simulate import Report

commands = typer.Typer(no_args_is_help=True, help="Simulate events.")


@commands.callback()
def _group() -> None:
    pass


@commands.command("pixel")
def simulate_pixel(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Data directory to write."),
    ],
    process: Annotated[
        str,
        typer.Option(
            help="ttbar or minbias (Pythia); or a gun: muons, electrons, pions, kaons, protons."
        ),
    ] = "ttbar",
    pileup: Annotated[
        float, typer.Option(help="Mean number of inelastic collisions beside the hard one.")
    ] = 50.0,
    events: Annotated[int, typer.Option(help="How many events.")] = 100,
    seed: Annotated[int, typer.Option(help="Everything random follows from it.")] = 1,
    processes: Annotated[
        int | None,
        typer.Option(help="How many work at a time; the number of cores.", show_default=False),
    ] = None,
    particles: Annotated[int, typer.Option(help="Gun: particles per event.")] = 10,
    pt: Annotated[
        tuple[float, float], typer.Option(metavar="MIN MAX", help="Gun: range of pT, GeV.")
    ] = (0.5, 100.0),
    flat_pt: Annotated[
        bool, typer.Option("--flat-pt", help="Gun: uniform in pT, not in its logarithm.")
    ] = False,
    eta: Annotated[float, typer.Option(help="Gun: largest |eta|.")] = 2.5,
) -> None:
    """Proton collisions in a detector like CMS' Phase-1 pixel detector, as raw data with truth.

    14 TeV collisions from Pythia 8, transport by ACTS Fatras, a response of our own. DIR is
    then a data directory as any other, with truth.npz. The same arguments give the same
    bytes, for any number of processes. A run that was interrupted continues.
    docs/simulation.md says what is simulated, and what is not.
    """
    from ..simulation.generate import Gun
    from ..simulation.simulate import simulate_pixel

    gun = Gun(particles, *pt, flat_pt=flat_pt, max_eta=eta)
    with Progress(console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        report = simulate_pixel(output, process, pileup, events, seed, processes, gun, progress)
    console.print(_summary(report, events))
    if report.counts.crowded:
        console.print(
            f"[yellow]{report.counts.crowded} modules have more than 4000 pixels in an event; "
            "the public C++ program drops the rest[/]"
        )
    console.print(f"wrote {output}")


def _summary(report: Report, events: int) -> Table:
    """Counts and CPU time per event."""
    table = Table(title=f"{events} events, {report.new} new")
    table.add_column("per event")
    table.add_column(justify="right")
    for name, count in report.counts._asdict().items():
        table.add_row(name, f"{count / events:.1f}")
    if report.new:
        table.add_section()
        for name, seconds in report.seconds._asdict().items():
            table.add_row(f"{name}, CPU s", f"{seconds / report.new:.3f}")
    return table
