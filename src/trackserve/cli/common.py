"""Arguments and small helpers that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from ..edm import PatatrackResult, RawEvent
from ..errors import EventError

console = Console()

DataDirectory = Annotated[
    Path,
    typer.Argument(
        exists=True,
        file_okay=False,
        metavar="DIR",
        help="Data directory: conditions and raw events.",
        show_default=False,
    ),
]
Config = Annotated[str, typer.Option(help="Configuration of the algorithm.")]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="grpc://HOST:PORT",
        help="Use this server instead of this machine.",
        show_default=False,
    ),
]

Result = PatatrackResult | EventError
Reconstruct = Callable[[RawEvent], PatatrackResult]


@contextmanager
def patatrack(
    directory: Path, config: str, url: str | None, keep: Collection[str] = ()
) -> Iterator[Reconstruct]:
    """A function that reconstructs one event, here or on a server."""
    if url is not None:
        from ..client import Client

        with Client(url) as client:
            yield lambda event: client.reconstruct("patatrack", event, keep)
    else:
        from ..patatrack import PatatrackPipeline

        pipeline = PatatrackPipeline.from_directory(directory, config)
        yield lambda event: pipeline.reconstruct(event, keep)


def reconstruct_all(
    events: Sequence[RawEvent], reconstruct: Reconstruct, description: str = "Reconstructing"
) -> list[Result]:
    """Results in order, with a progress bar; a bad event leaves its error in its place."""
    results: list[Result] = []
    for event in track(events, description, console=console, transient=True):
        try:
            results.append(reconstruct(event))
        except EventError as error:
            results.append(error)
    return results


def report_failures(results: Sequence[Result]) -> None:
    """Print the errors of the events that failed, if any, and then exit with 1."""
    failed = [result for result in results if isinstance(result, EventError)]
    for error in failed:
        console.print(
            f"[red]event failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
    if failed:
        raise typer.Exit(1)
