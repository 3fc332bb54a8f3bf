"""``trackserve demo``: the whole main path, once."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.table import Table

from ..edm import PatatrackResult
from ..io import read_events
from .common import DataDirectory, console, reconstruct_all, report_failures


def demo(
    directory: DataDirectory,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write the report.")
    ] = Path("demo"),
) -> None:
    """Reconstruct a data directory here and on a Triton server started for it, and compare.

    The two answers must agree bit for bit. Prints speed and physics, and writes a report.
    """
    from ..client import Client
    from ..patatrack import PatatrackPipeline
    from ..performance import throughput, validate
    from ..serving.repository import write_repository
    from ..serving.server import Server

    events = list(read_events(directory))
    keep = ("hits",)
    with console.status("building the pipeline (the first time, compiling it)"):
        pipeline = PatatrackPipeline.from_directory(directory)
        direct = pipeline.run(events, keep)
    with tempfile.TemporaryDirectory(prefix="trackserve-") as repository:
        write_repository(repository, directory)
        server = Server(repository, grpc_port=0, http_port=0, metrics_port=0)
        start = time.perf_counter()
        with console.status("starting Triton"):
            server.start()
        try:
            console.print(f"Triton ready after {time.perf_counter() - start:.1f} s")
            with Client(server.grpc_url) as client:
                served = reconstruct_all(
                    events, lambda all_: client.stream("patatrack", all_, keep), "Served"
                )
                rounds = 5
                with console.status("measuring"):
                    seconds = throughput.alternate(
                        {
                            "direct": lambda: pipeline.run(events),
                            "served": lambda: throughput.run_served(client, "patatrack", events),
                        },
                        rounds,
                        lambda: None,
                    )
                    latency = throughput.latencies(
                        {
                            "direct": pipeline.reconstruct,
                            "served": lambda e: client.reconstruct("patatrack", e),
                        },
                        events,
                        rounds,
                        lambda: None,
                    )
        finally:
            server.stop()
    same = sum(mine == theirs for mine, theirs in zip(direct, served, strict=True))
    table = Table(title=f"trackserve on {throughput.cpu_name()}")
    for name in ("", "events/s", "latency, ms", "tracks", "vertices", "efficiency", "fakes"):
        table.add_column(name, justify="right")
    summaries = {}
    for name, results in (("direct", direct), ("served", served)):
        good = [result for result in results if isinstance(result, PatatrackResult)]
        physics = summaries[name] = validate.validate_patatrack(directory, good)
        table.add_row(
            name,
            f"{len(events) / median(seconds[name]):.0f}",
            f"{1e3 * latency[name].median:.2f}",
            f"{sum(r.counts.tracks for r in good) / len(good):.1f}",
            f"{sum(r.counts.vertices for r in good) / len(good):.1f}",
            f"{physics.efficiency['1-2'].value:.3f}",
            f"{physics.fake_rate.value:.3f}",
        )
    console.print(table)
    console.print("tracks and vertices per event; efficiency at pT 1-2 GeV")
    reference = validate.compare_with_reference(directory, served)
    console.print(validate.summary_table(summaries["served"], reference))
    with console.status("drawing"):
        report = validate.write_validation_report(output, directory, served)
    console.print(f"wrote {report}")
    report_failures(served)
    if same < len(events):
        console.print(f"[bold red]served and direct differ in {len(events) - same} events[/]")
        raise typer.Exit(1)
    console.print(f"[bold green]served = direct, bit for bit, in all {same} events[/]")
