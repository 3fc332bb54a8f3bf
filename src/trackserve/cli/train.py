"""``trackserve train``: models from simulated events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from trackserve.errors import InputError, MissingExtraError
from trackserve.install import install_command

from .common import console, progress, wrote

if TYPE_CHECKING:
    from trackserve.physics.statistics import Fraction
    from trackserve.trackers.exatrkx.training.train import Trained

commands = typer.Typer(no_args_is_help=True, help="Train a model.")


@commands.callback()
def _group() -> None:
    pass


@commands.command("exatrkx")
def train_exatrkx(
    data: Annotated[
        list[Path],
        typer.Option(metavar="DIR", help="Events with truth; may be repeated."),
    ],
    output: Annotated[
        Path, typer.Option("--out", "-o", metavar="MODEL", help="Model folder to write.")
    ],
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Settings: default, those of the shipped model; or small, for a smaller model "
            "with fewer steps of training.",
        ),
    ] = "default",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with the settings that differ from the preset.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where PyTorch trains: cpu, cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch on a CPU.")] = 2,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted training.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Start from the weights of this model: NAME or DIR, [@POINT]. The networks keep "
            "its sizes.",
            show_default=False,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NETWORK",
            help="Train only this network of --start: embedding, filter, gnn. May be repeated. The "
            "other networks stay, with the model's cuts.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train embedding, filter and graph network, one after the other, and choose their cuts.

    The last events of each DIR are for validation. MODEL is a model folder. MODEL/training has
    checkpoints, curves (CSV, PNG, and TensorBoard if it is installed) and the scan of the cuts. If
    the trained model finds no particle, the command exits with 1. docs/training.md has the details.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError(f"training needs PyTorch: {install_command('train')}") from None
    from trackserve.trackers.exatrkx.model import load_model
    from trackserve.trackers.exatrkx.training.config import NETWORKS, find_preset, read_config
    from trackserve.trackers.exatrkx.training.start import Start
    from trackserve.trackers.exatrkx.training.train import train

    if only and start is None:
        raise InputError("--only says which networks of --start are trained: give --start too")
    first = None if start is None else Start(load_model(start), only or NETWORKS)

    torch.set_num_threads(threads)
    base = find_preset(preset)
    told = base if config is None else read_config(config, base)
    with progress(transient=False) as show:

        def on_step(what: str, done: int, total: int, figures: dict[str, float]) -> None:
            note = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
            show(what, done, total, note)

        trained = train(data, output, told, on_step, device=device, resume=resume, start=first)
    console.print(_summary(trained))
    wrote(output)
    for name, point in trained.working_points.items():
        if not point.fakes <= told.max_fakes:
            console.print(
                f"[yellow]warning:[/] no cuts keep the fakes of {escape(name)} below "
                f"{told.max_fakes:.3g}; those with the fewest were taken",
                highlight=False,
                soft_wrap=True,
            )
    if trained.found_nothing:
        console.print(
            "[bold red]warning: this model finds no particle[/]; it needs more steps, or more "
            f"events (the curves in {escape(str(output / 'training'))} show where it stopped "
            "learning)",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)


def _summary(trained: Trained) -> Table:
    """Return what the model reaches on the validation events, and where it loses particles."""
    from trackserve.trackers.exatrkx.training.train import judged

    summary = trained.summary
    table = Table(title=f"{summary.n_events} validation events")
    table.add_column("")
    table.add_column(justify="right")
    largest = summary.wanted.central_eta
    table.add_row(f"efficiency, double majority, |eta| < {largest:g}", _share(judged(summary)))
    table.add_row("fakes, single majority", _share(summary.fake_rate.single))
    table.add_row("duplicates", _share(summary.duplicate_rate))
    table.add_section()
    for stage, left in summary.left.items():
        table.add_row(f"could be found after: {stage}", _share(left))
    for stage, graph in summary.graphs.items():
        table.add_row(f"edges per point after: {stage}", f"{graph.edges_per_point:.2f}")
    for name, point in trained.working_points.items():
        table.add_section()
        table.add_row(f"working point {name}: efficiency", f"{point.efficiency:.4f}")
        table.add_row("fakes", f"{point.fakes:.4f}")
        for cut in ("radius", "filter", "edge", "min_points"):
            table.add_row(f"cut: {cut}", f"{getattr(point.cuts, cut):.4g}")
    return table


def _share(share: Fraction) -> str:
    return f"{share.value:.4f} ± {share.error:.4f}"
