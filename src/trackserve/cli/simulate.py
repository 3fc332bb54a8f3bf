"""``trackserve simulate``: events from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from .common import console, progress

if TYPE_CHECKING:
    from trackserve.simulation.chain.run import SimulationSummary

commands = typer.Typer(no_args_is_help=True, help="Simulate events.")


@commands.callback()
def _group() -> None:
    pass


Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Data directory to write."),
]
Process = Annotated[
    str,
    typer.Option(
        help="ttbar or minbias (Pythia); or a gun: muons, electrons, pions, kaons, protons."
    ),
]
Pileup = Annotated[
    float, typer.Option(help="Mean number of inelastic collisions beside the hard one.")
]
Events = Annotated[int, typer.Option(help="How many events.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Processes = Annotated[
    int | None,
    typer.Option(help="How many work at a time; the number of cores.", show_default=False),
]
Particles = Annotated[int, typer.Option(help="Gun: particles per event.")]
Pt = Annotated[tuple[float, float], typer.Option(metavar="MIN MAX", help="Gun: range of pT, GeV.")]
FlatPt = Annotated[
    bool, typer.Option("--flat-pt", help="Gun: uniform in pT, not in its logarithm.")
]
Eta = Annotated[float, typer.Option(help="Gun: largest |eta|.")]


@commands.command("pixel")
def simulate_pixel(
    output: Output,
    *,
    process: Process = "ttbar",
    pileup: Pileup = 50.0,
    events: Events = 100,
    seed: Seed = 1,
    processes: Processes = None,
    particles: Particles = 10,
    pt: Pt = (0.5, 100.0),
    flat_pt: FlatPt = False,
    eta: Eta = 2.5,
) -> None:
    """Proton collisions in a detector like CMS' Phase-1 pixel detector, as raw data with truth.

    14 TeV collisions from Pythia 8, transport and response of our own. DIR is
    then a data directory as any other, with truth.npz. The same arguments give the same
    bytes, for any number of processes. A run that was interrupted continues,
    and more --events extend a directory.
    docs/simulation.md says what is simulated, and what is not.
    """
    from trackserve.simulation.chain.collisions import Setup
    from trackserve.simulation.chain.generate import Gun
    from trackserve.simulation.pixel.simulate import simulate_pixel
    from trackserve.simulation.pixel.simulator import MAX_MODULE_PIXELS

    gun = Gun(particles, *pt, flat_pt=flat_pt, max_eta=eta)
    with progress() as show:
        setup = Setup(process, pileup, events, seed, gun)
        done = simulate_pixel(output, setup, processes, show)
    console.print(_summary(done, events))
    if crowded := done.counts["crowded"]:
        console.print(
            f"[yellow]{crowded} modules have more than {MAX_MODULE_PIXELS} pixels in an event; "
            "the public C++ program drops the rest[/]"
        )
    console.print(f"wrote {output}")


@commands.command("points")
def simulate_points(
    output: Output,
    *,
    process: Process = "ttbar",
    pileup: Pileup = 20.0,
    events: Events = 100,
    seed: Seed = 1,
    processes: Processes = None,
    particles: Particles = 10,
    pt: Pt = (0.5, 100.0),
    flat_pt: FlatPt = False,
    eta: Eta = 2.5,
) -> None:
    """Proton collisions in the TrackML detector (ACTS' GenericDetector), as space points.

    14 TeV collisions from Pythia 8, transport by ACTS Fatras at 2 T, a point for every
    crossing of a sensor, smeared with its resolution. DIR then holds points.parquet,
    particles.parquet and measurements.parquet. The same arguments give the same bytes, for any
    number of processes. A run that was interrupted continues,
    and more --events extend a directory. docs/simulation.md says what is
    simulated, and what is not.
    """
    from trackserve.simulation.chain.collisions import Setup
    from trackserve.simulation.chain.generate import Gun
    from trackserve.simulation.points.simulate import simulate_points

    gun = Gun(particles, *pt, flat_pt=flat_pt, max_eta=eta)
    with progress() as show:
        setup = Setup(process, pileup, events, seed, gun)
        done = simulate_points(output, setup, processes, show)
    console.print(_summary(done, events))
    console.print(f"wrote {output}")


def _summary(done: SimulationSummary, events: int) -> Table:
    """Counts and CPU time per event."""
    table = Table(title=f"{events} events, {done.new} new")
    table.add_column("per event")
    table.add_column(justify="right")
    for name, count in done.counts.items():
        table.add_row(name, f"{count / events:.1f}")
    if done.new:
        table.add_section()
        for name, seconds in done.seconds.items():
            table.add_row(f"{name}, CPU s", f"{seconds / done.new:.3f}")
    return table
