"""``trackserve reconstruct``: events to a Parquet file of tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.table import Table

from trackserve.edm import (
    INTERMEDIATE,
    Counts,
    ExatrkxResult,
    GraphCounts,
    PatatrackResult,
)
from trackserve.io import open_points, read_events

from .common import (
    Config,
    DataDirectory,
    Device,
    InFlight,
    Model,
    PointsPath,
    Precision,
    Url,
    Where,
    console,
    exatrkx,
    patatrack,
    reconstruct_all,
    report_failures,
)

commands = typer.Typer(no_args_is_help=True, help="Reconstruct events into a Parquet file.")


@commands.callback()
def _group() -> None:
    pass


Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="OUT.parquet", help="File to write.")
]


@commands.command("patatrack")
def reconstruct_patatrack(
    directory: DataDirectory,
    output: Output = Path("tracks.parquet"),
    config: Config = "default",
    device: Device = "cpu",
    url: Url = None,
    in_flight: InFlight = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(help=f"Write these too: {', '.join(INTERMEDIATE)}; may be repeated."),
    ] = None,
) -> None:
    """Pixel tracks and vertices, one row per event.

    Columns: event, error, counts, tracks, vertices, readout_errors, and what --keep names.
    Lengths are in cm and relative to the beam spot, momenta in GeV. An event that cannot be
    reconstructed keeps its row, with the reason in error.
    """
    from trackserve.io.parquet import write_parquet

    events = list(read_events(directory))
    with patatrack(directory, config, Where(url, in_flight, device), keep or ()) as reconstruct:
        results = reconstruct_all(events, reconstruct)
    write_parquet(output, results)
    good = [result.counts for result in results if isinstance(result, PatatrackResult)]
    console.print(counts_table(Counts, good))
    console.print(f"wrote {output}")
    report_failures(results)


@commands.command("exatrkx")
def reconstruct_exatrkx(
    path: PointsPath,
    output: Output = Path("tracks.parquet"),
    model: Model = "default",
    device: Device = "cpu",
    precision: Precision = "fp32",
    url: Url = None,
    in_flight: InFlight = None,
) -> None:
    """Track candidates of the learned tracker, one row per event.

    Columns: event, error, counts, labels (the component of each space point), candidates
    (points from the inside out, and score). An event that cannot be reconstructed keeps its
    row, with the reason in error.
    """
    from trackserve.io.parquet import write_exatrkx

    events = open_points(path)
    where = Where(url, in_flight, device, precision)
    with exatrkx(model, where, detector=events.detector) as reconstruct:
        results = reconstruct_all(events, reconstruct)
    write_exatrkx(output, results)
    good = [result.counts for result in results if isinstance(result, ExatrkxResult)]
    console.print(counts_table(GraphCounts, good))
    console.print(f"wrote {output}")
    report_failures(results)


def counts_table(kind: type[Counts | GraphCounts], counts: Sequence[Counts | GraphCounts]) -> Table:
    """Mean counts per event."""
    table = Table(title=f"{len(counts)} events, means per event")
    names = [field.name for field in fields(kind)]
    for name in names:
        table.add_column(name, justify="right")
    if counts:
        table.add_row(*(f"{fmean(getattr(c, name) for c in counts):.1f}" for name in names))
    return table
