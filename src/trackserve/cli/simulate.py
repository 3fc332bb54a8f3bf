"""``trackserve simulate``: events from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.table import Table

from trackserve.simulation.chain.samples import NAMED_SAMPLES, named_sample

from .common import console, progress, wrote

if TYPE_CHECKING:
    from trackserve.simulation.chain.collisions import Setup
    from trackserve.simulation.chain.run import SimulationSummary

commands = typer.Typer(no_args_is_help=True, help="Simulate events.")


@commands.callback()
def _group() -> None:
    pass


_SAMPLES = "; ".join(f"{name}: {sample.what}" for name, sample in NAMED_SAMPLES.items())
_OF_SAMPLE = "as in the sample"
Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Data directory to write."),
]
Sample = Annotated[
    str, typer.Option(help=f"Sample to simulate; other options change it. {_SAMPLES}.")
]
Process = Annotated[
    str | None,
    typer.Option(
        help="ttbar, minbias or jets (Pythia); or a gun: muons, electrons, pions, kaons, protons.",
        show_default=_OF_SAMPLE,
    ),
]
Pileup = Annotated[
    float | None,
    typer.Option(
        help="Mean number of inelastic collisions besides the hard one.", show_default=_OF_SAMPLE
    ),
]
Events = Annotated[int, typer.Option(help="How many events.")]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
Processes = Annotated[
    int | None,
    typer.Option(
        help="Processes at the same time; by default one for each core.", show_default=False
    ),
]
Particles = Annotated[
    int | None, typer.Option(help="Gun: particles per event.", show_default=_OF_SAMPLE)
]
Pt = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="MIN MAX", help="Gun: range of pT, GeV.", show_default=_OF_SAMPLE),
]
FlatPt = Annotated[
    bool, typer.Option("--flat-pt", help="Gun: uniform in pT, not in its logarithm.")
]
Eta = Annotated[float | None, typer.Option(help="Gun: largest |eta|.", show_default=_OF_SAMPLE)]
PtHat = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="MIN MAX",
        help="Jets: range of the pT of the two partons, GeV.",
        show_default=_OF_SAMPLE,
    ),
]
Noise = Annotated[float, typer.Option(help="Share of points without a particle, 0 to 0.9.")]


@commands.command("pixel")
def simulate_pixel(
    output: Output,
    *,
    sample: Sample = "ttbar50",
    process: Process = None,
    pileup: Pileup = None,
    events: Events = 100,
    seed: Seed = 1,
    processes: Processes = None,
    particles: Particles = None,
    pt: Pt = None,
    flat_pt: FlatPt = False,
    eta: Eta = None,
    pthat: PtHat = None,
) -> None:
    """Simulate proton collisions in a detector like CMS' Phase-1 pixel detector, as raw data.

    Pythia 8 makes collisions of 14 TeV; transport and response are our own. DIR is a data
    directory with truth.npz. The same arguments give the same bytes, for any number of processes.
    The same command continues an interrupted run; with more --events it extends DIR.
    docs/simulation.md says what is simulated, and what is not.
    """
    from trackserve.simulation.pixel.simulate import simulate_pixel
    from trackserve.simulation.pixel.simulator import MAX_MODULE_PIXELS

    given = _Given(process, pileup, particles, pt, flat_pt, eta, pthat)
    setup = _setup(sample, given)._replace(events=events, seed=seed)
    with progress() as show:
        done = simulate_pixel(output, setup, processes, show)
    console.print(_summary(done, events))
    if crowded := done.counts["crowded"]:
        console.print(
            f"[yellow]{crowded} modules have more than {MAX_MODULE_PIXELS} pixels in an event; "
            "the public C++ program drops the rest[/]"
        )
    wrote(output)


@commands.command("points")
def simulate_points(
    output: Output,
    *,
    sample: Sample = "ttbar20",
    process: Process = None,
    pileup: Pileup = None,
    events: Events = 100,
    seed: Seed = 1,
    processes: Processes = None,
    particles: Particles = None,
    pt: Pt = None,
    flat_pt: FlatPt = False,
    eta: Eta = None,
    pthat: PtHat = None,
    noise: Noise = 0.0,
) -> None:
    """Simulate proton collisions in the TrackML detector (ACTS' GenericDetector), as space points.

    Pythia 8 makes collisions of 14 TeV; the transport at 2 T is our own. Every crossing of a sensor
    is a point, smeared with the sensor's resolution. DIR has points.parquet, particles.parquet and
    measurements.parquet. The same arguments give the same bytes, for any number of processes. The
    same command continues an interrupted run; with more --events it extends DIR.
    docs/simulation.md says what is simulated, and what is not.
    """
    from trackserve.simulation.points.simulate import simulate_points

    given = _Given(process, pileup, particles, pt, flat_pt, eta, pthat)
    setup = _setup(sample, given)._replace(events=events, seed=seed)
    with progress() as show:
        done = simulate_points(output, setup, processes, show, noise)
    console.print(_summary(done, events))
    wrote(output)


class _Given(NamedTuple):
    """What the options say beside the sample; None where they say nothing."""

    process: str | None
    pileup: float | None
    particles: int | None
    pt: tuple[float, float] | None
    flat_pt: bool
    eta: float | None
    pthat: tuple[float, float] | None


def _setup(sample: str, given: _Given) -> Setup:
    """The setup of a sample, with what is given in place of it."""
    setup = named_sample(sample)
    min_pt, max_pt = given.pt or (None, None)
    min_pthat, max_pthat = given.pthat or (None, None)
    gun = {
        "particles": given.particles,
        "min_pt": min_pt,
        "max_pt": max_pt,
        "flat_pt": given.flat_pt or None,
        "max_eta": given.eta,
    }
    jets = {"min_pthat": min_pthat, "max_pthat": max_pthat}
    return setup._replace(
        gun=setup.gun._replace(**_told(gun)),
        jets=setup.jets._replace(**_told(jets)),
        **_told({"process": given.process, "pileup": given.pileup}),
    )


def _told(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


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
