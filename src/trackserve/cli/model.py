"""``trackserve model``: make a model folder of published networks, or describe one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import typer
from rich.table import Table

from trackserve.errors import InputError

from .common import console, progress, wrote

if TYPE_CHECKING:
    from trackserve.trackers.exatrkx.architecture import Activation
    from trackserve.trackers.exatrkx.model import Description
    from trackserve.trackers.exatrkx.training.data import Sample

commands = typer.Typer(no_args_is_help=True, help="Models of the learned tracker.")

_Network = Annotated[
    Path,
    typer.Option(
        exists=True,
        dir_okay=False,
        help="TorchScript, a state dict or a checkpoint (.pt, .ckpt), ONNX (.onnx), or the arrays "
        "of a state dict (.npz).",
        show_default=False,
    ),
]
_Three = Annotated[
    str,
    typer.Option(
        metavar="R,PHI,Z", help="Three numbers, in mm, rad, mm; see above.", show_default=False
    ),
]
_Activation = Annotated[
    str, typer.Option(help="tanh, relu or silu; it counts only if the file cannot be run.")
]


@commands.command("import")
def import_(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")],
    embedding: _Network,
    filter: _Network,
    gnn: _Network,
    scales: _Three,
    radius: Annotated[float, typer.Option(help="Radius in the embedding.", show_default=False)],
    filter_cut: Annotated[
        float, typer.Option(help="Least score of the filter, 0..1.", show_default=False)
    ],
    edge_cut: Annotated[
        float, typer.Option(help="Least score of the graph network, 0..1.", show_default=False)
    ],
    detector: Annotated[
        str, typer.Option(help="Name of the detector of the points.", show_default=False)
    ],
    min_points: Annotated[int, typer.Option(help="Least points of a candidate.")] = 3,
    low: _Three | None = None,
    high: _Three | None = None,
    embedding_activation: _Activation = "tanh",
    filter_activation: _Activation = "relu",
    steps: Annotated[
        int,
        typer.Option(min=1, help="Steps of the graph network, if its file does not say so."),
    ] = 8,
) -> None:
    """Write a model folder of published networks.

    The embedding takes points [n, 3]. The filter takes points and edges [2, m], or pairs of points
    [m, 6]. The graph network takes points and edges; it is the attention network of the public
    service or acorn's InteractionGNN2. docs/exatrkx.md has the details.

    --scales are the scales of the features. --low and --high are the least and the largest scaled
    features in training; with them the model refuses points beyond. TorchScript and ONNX files run
    beside the imported networks, and must give the same answers.
    """
    from trackserve.trackers.exatrkx.architecture import Cuts, Features
    from trackserve.trackers.exatrkx.importing import Published, import_model
    from trackserve.trackers.exatrkx.model import save_model

    activations = (
        cast("Activation", embedding_activation),
        cast("Activation", filter_activation),
    )
    model = import_model(
        Published(embedding, filter, gnn, activations, steps),
        name=output.name,
        detector=detector,
        features=Features(
            _three(scales, "--scales"),
            None if low is None else _three(low, "--low"),
            None if high is None else _three(high, "--high"),
        ),
        cuts=Cuts(radius, filter_cut, edge_cut, min_points),
    )
    save_model(model, output)
    _print(model.description)
    wrote(output)


@commands.command("doublets")
def doublets_(
    model: Annotated[str, typer.Argument(metavar="NAME|DIR")],
    *,
    data: Annotated[
        list[Path],
        typer.Option(metavar="DIR", help="Events with truth; may be given more than once."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write.")],
    segments: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=1,
            help="Share of the segments of true tracks to keep; by default that of a training.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Give a trained model cuts on pairs of points, chosen from true tracks, and write it.

    The last event of each DIR is not used to choose them: what they leave of its segments, and of
    the pairs within the model's radius, is shown.
    """
    from trackserve.trackers.exatrkx.model import load_model, require_detector, save_model
    from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline
    from trackserve.trackers.exatrkx.training.config import TrainingConfig
    from trackserve.trackers.exatrkx.training.data import Data
    from trackserve.trackers.exatrkx.training.doublets import (
        SEGMENTS_PER_CELL,
        choose_doublets,
        judge_doublets,
        with_doublets,
    )

    old = with_doublets(load_model(model), None)
    config = TrainingConfig(validation_events=1)
    opened = Data(data, config)
    require_detector(old, opened.detector)
    n = opened.n_of_training(config.segment_events)
    with progress() as show:

        def samples() -> Iterator[Sample]:
            for done, sample in enumerate(opened.some_of_training(config.segment_events)):
                yield sample
                show("segments", done + 1, n)

        chosen = choose_doublets(samples(), segments or config.segments)
    if chosen is None:
        raise InputError(
            "too few segments of tracks to choose cuts on pairs of points",
            bound=f">= {SEGMENTS_PER_CELL}",
        )
    table = Table("events", "segments kept", "pairs kept", "edges per point", "without the cuts")
    pipeline = ExatrkxPipeline(old)
    for number, name in enumerate(opened.names):
        (sample,) = opened.validation_samples(number)
        edges = pipeline.reconstruct(sample.event, ["radius_edges"]).radius_edges
        assert edges is not None
        kept = judge_doublets(chosen, sample, np.stack([edges.source, edges.target]))
        per_point = (f"{n / len(sample):.2f}" for n in (kept.pairs.passed, kept.pairs.total))
        table.add_row(name, f"{kept.segments.value:.4f}", f"{kept.pairs.value:.4f}", *per_point)
    save_model(with_doublets(old, chosen), output)
    console.print(table)
    wrote(output)


@commands.command("show")
def show(
    model: Annotated[str, typer.Argument(metavar="NAME|DIR")] = "default",
) -> None:
    """Describe a model: its detector, its networks, its cuts and how it was made."""
    from trackserve.trackers.exatrkx.model import load_model

    _print(load_model(model).description)


def _three(text: str, option: str) -> tuple[float, float, float]:
    try:
        r, phi, z = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{option} {text!r} is not three numbers R,PHI,Z") from None
    return r, phi, z


def _print(description: Description) -> None:
    d = description
    table = Table(title=f"model {d.name}, for the detector {d.detector}", show_header=False)
    table.add_row("order of points", d.order)
    table.add_section()
    _add(table, "features", d.features, absent="not known")
    weights = d.shapes()
    for network in ("embedding", "filter", "gnn"):
        table.add_section()
        _add(table, network, getattr(d, network))
        sizes = [shape for name, shape in weights.items() if name.startswith(f"{network}.")]
        n = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in sizes)
        table.add_row(f"{network}: weights", f"{n:,}")
    table.add_section()
    cells = "none" if d.doublets is None else f"{d.doublets.n_cells} cells of r, dr, dz"
    table.add_row("doublets", cells)
    for name, cuts in {"cuts": d.cuts, **d.working_points}.items():
        table.add_section()
        _add(table, name, cuts)
    if d.record:
        table.add_section()
        for key, value in d.record.items():
            table.add_row(key, _text(value))
    console.print(table)


def _add(table: Table, what: str, part: Any, absent: str = "none") -> None:
    for field in fields(part):
        table.add_row(f"{what}: {field.name}", _text(getattr(part, field.name), absent))


def _text(value: Any, absent: str = "none") -> str:
    if value is None:
        return absent
    if is_dataclass(value):
        value = {field.name: _text(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return str(value)
