"""``trackserve reconstruct``: raw events to a Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..edm import INTERMEDIATE, Counts, PatatrackResult
from ..io import read_events
from ..io.parquet import write_parquet
from .common import (
    Config,
    DataDirectory,
    InFlight,
    Result,
    Url,
    console,
    patatrack,
    reconstruct_all,
    report_failures,
)

commands = typer.Typer(no_args_is_help=True, help="Reconstruct raw events into a Parquet file.")


@commands.callback()
def _group() -> None:
    pass


@commands.command("patatrack")
def reconstruct_patatrack(
    directory: DataDirectory,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.parquet", help="File to write.")
    ] = Path("tracks.parquet"),
    config: Config = "default",
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
    events = list(read_events(directory))
    with patatrack(directory, config, url, in_flight, keep or ()) as reconstruct:
        results = reconstruct_all(events, reconstruct)
    write_parquet(output, results)
    console.print(counts_table(results))
    console.print(f"wrote {output}")
    report_failures(results)


def counts_table(results: list[Result]) -> Table:
    """Mean counts per event."""
    good = [result for result in results if isinstance(result, PatatrackResult)]
    table = Table(title=f"{len(good)} events, means per event")
    names = list(Counts.__dataclass_fields__)
    for name in names:
        table.add_column(name, justify="right")
    if good:
        table.add_row(
            *(f"{sum(getattr(r.counts, name) for r in good) / len(good):.1f}" for name in names)
        )
    return table
