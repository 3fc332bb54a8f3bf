"""Arguments and small helpers that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from trackserve.edm import (
    ExatrkxResult,
    PatatrackResult,
    PointsEvent,
    RawEvent,
)
from trackserve.errors import EventError

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
PointsPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="Events of space points: a directory of `simulate points` or of TrackML, "
        "or one of its events as in DIR/event000000001.",
        show_default=False,
    ),
]
Config = Annotated[str, typer.Option(help="Configuration of the algorithm.")]
Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|DIR[@POINT]",
        help="Model that ships with the package, or a model folder, at its own cuts or those of a "
        "working point; with --url the server's name of it, of which `exatrkx` is the default.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where to reconstruct: cpu, or cuda; the learned tracker wherever PyTorch can, as in "
        "cuda:1. What is served has its own."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help="Of filter and graph network, on PyTorch's devices: fp32, fp16 or bf16.",
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Use the server at grpc://HOST:PORT or http://HOST:PORT instead of this machine.",
        show_default=False,
    ),
]
InFlight = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --url: events in flight; by default as many as keep the server busy.",
        show_default=False,
    ),
]

Result = PatatrackResult | EventError
Reconstruct = Callable[[Iterable[RawEvent]], Iterator[Result]]
PointsResult = ExatrkxResult | EventError
ReconstructPoints = Callable[[Iterable[PointsEvent]], Iterator[PointsResult]]

_BATCH = 64
"""Events of Patatrack that a device gets at once."""


class Where(NamedTuple):
    """Where events are reconstructed: at a server, or here on a device.

    Attributes:
        in_flight: events that are with the server at a time; None for as many as it can use.
    """

    url: str | None = None
    in_flight: int | None = None
    device: str = "cpu"
    precision: str = "fp32"


Event = TypeVar("Event")
Answer = TypeVar("Answer")


@contextmanager
def patatrack(
    directory: Path, config: str, where: Where, keep: Collection[str] = ()
) -> Iterator[Reconstruct]:
    """A function that reconstructs events, here or on a server; its results are in order,
    and a bad event leaves its error in its place."""
    if where.url is not None:
        from trackserve.client import Client, keep_freed_memory

        keep_freed_memory()
        with Client(where.url) as client:
            yield lambda events: client.stream("patatrack", events, keep, in_flight=where.in_flight)
    else:
        from trackserve.trackers.patatrack import PatatrackPipeline

        pipeline = PatatrackPipeline.from_directory(directory, config, device=where.device)
        batch = 1 if where.device == "cpu" else _BATCH
        yield lambda events: _in_batches(lambda some: pipeline.run(some, keep), events, batch)


@contextmanager
def exatrkx(
    model: str, where: Where, keep: Collection[str] = (), detector: str | None = None
) -> Iterator[ReconstructPoints]:
    """The same for events of a whole tracker; ``detector`` is theirs, if known."""
    if where.url is not None:
        from trackserve.client import Client, keep_freed_memory

        keep_freed_memory()
        name = "exatrkx" if model == "default" else model
        with Client(where.url) as client:
            yield lambda events: client.stream(name, events, keep, in_flight=where.in_flight)
    else:
        from trackserve.trackers.exatrkx import ExatrkxPipeline

        pipeline = ExatrkxPipeline.from_model(
            model, device=where.device, precision=where.precision, detector=detector
        )
        yield lambda events: (pipeline.run([event], keep)[0] for event in events)


def _in_batches(
    run: Callable[[list[Event]], list[Answer]], events: Iterable[Event], size: int
) -> Iterator[Answer]:
    waiting = iter(events)
    while batch := list(islice(waiting, size)):
        yield from run(batch)


def reconstruct_all(
    events: Sequence[Event],
    reconstruct: Callable[[Iterable[Event]], Iterator[Answer]],
    description: str = "Reconstructing",
) -> list[Answer]:
    """All results, with a progress bar."""
    results = reconstruct(events)
    return list(track(results, description, total=len(events), console=console, transient=True))


def report_failures(results: Sequence[object]) -> None:
    """Print the errors of the events that failed, if any, and then exit with 1."""
    failed = [result for result in results if isinstance(result, EventError)]
    for error in failed:
        console.print(
            f"[red]event failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
    if failed:
        raise typer.Exit(1)
