"""``trackserve reconstruct``: events to a Parquet file of tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from trackserve.edm import Result
from trackserve.trackers.base import Tracker

from .common import (
    Where,
    console,
    counts_table,
    reconstruction,
    report_failures,
    show_progress,
)
from .grammar import Device, Identity, InFlight, Served, Threads, Url, add_commands

commands = typer.Typer(no_args_is_help=True, help="Reconstruct events into a Parquet file.")


def reconstruct(
    tracker: Tracker[Any, Any],
    options: dict[str, str],
    path: Path,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.parquet", help="File to write.")
    ] = Path("tracks.parquet"),
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART", help="Write an intermediate too; may be repeated.", show_default=False
        ),
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
    url: Url = None,
    served: Served = None,
    in_flight: InFlight = None,
    identity: Identity = None,
) -> None:
    """OUT.parquet gets one row per event.

    Columns: event, error, counts, the parts of the tracker's result, and what --keep names. An
    event that cannot be reconstructed keeps its row, with the reason in error.
    """
    from trackserve.io.parquet import write_parquet

    tracker.result.check_keep(keep or ())
    events = tracker.open_events(path)
    where = Where(url, served, in_flight, device, threads, identity)
    with reconstruction(tracker, options, where, events, keep or ()) as run:
        outcomes = list(show_progress(run(events), len(events), "Reconstructing"))
    write_parquet(output, outcomes, tracker.result, keep or (), run.about)
    console.print(counts_table([one.counts for one in outcomes if isinstance(one, Result)]))
    console.print(f"wrote {output}")
    console.print(f"by {escape(run.identity)}", highlight=False, soft_wrap=True)
    report_failures(outcomes)


add_commands(commands, reconstruct)
