"""All commands, and the help that lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import trackserve
from trackserve.errors import TrackserveError
from trackserve.trackers.registry import find_tracker, tracker_names

from . import (
    bench,
    compare,
    demo,
    display,
    export,
    fit,
    fleet,
    front,
    hlt,
    inspect,
    model,
    pixels,
    reach,
    reconstruct,
    serve,
    simulate,
    status,
    study,
    top,
    train,
    validate,
)
from .grammar import with_options

if TYPE_CHECKING:
    from trackserve.trackers.base import Tracker


class _Help(TyperGroup):
    """The group of all commands; its help ends with the trackers of this installation."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        self.help = "\n".join(
            [self.help or "", "**Trackers** that are installed:", "", *_trackers()]
        )
        super().format_help(ctx, formatter)


def _trackers() -> Iterator[str]:
    """A line for each tracker: what it does, and its configurations or models."""
    for name in tracker_names():
        try:
            yield f"- `{name}`: {_described(find_tracker(name))}"
        except TrackserveError as error:
            yield f"- `{name}` does not work here: {error}"


def _described(tracker: Tracker[Any, Any]) -> str:
    variants = ", ".join(f"`{variant}`" for variant in tracker.variants())
    return f"{tracker.summary} `--{tracker.variant}` {variants}" if variants else tracker.summary


def _version(wanted: bool) -> None:
    if wanted:
        print(f"trackserve {trackserve.__version__}")
        raise typer.Exit


commands = typer.Typer(
    name="trackserve",
    cls=_Help,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""
Track reconstruction for collider experiments: directly on this machine, or on a Triton server.

A **data directory** holds conditions and raw events in the nine-file form of the public
Patatrack program (`fedIds.bin`, `cablingMap.bin`, `gain.bin`, `cpefast.bin`, `beamspot.bin`,
`raw.bin` and three optional validation files).

- make one: `trackserve simulate pixel --pileup 50 --events 100 -o DIR`
- what is in it? `trackserve inspect DIR -o report/contents`

**Space points** are the events of the learned tracker, simulated or from files such as TrackML's.

- make some: `trackserve simulate points --pileup 20 --events 100 -o EVENTS`
- keep those in the pixels: `trackserve pixels EVENTS -o PIXELS`

Every tracker has the same commands.

- reconstruct here: `trackserve reconstruct patatrack DIR -o tracks.parquet`, or `exatrkx EVENTS`
- fit candidates with ACTS: `trackserve fit EVENTS candidates.parquet -o tracks.parquet`
- start a server: `trackserve serve patatrack,conditions=DIR exatrkx`
- what does the server do? `trackserve status`; as a live table: `trackserve top`
- one address for many servers, with TLS and tokens:
  `trackserve front grpc://a:8001 grpc://b:8001`
- reconstruct on a server:
  `trackserve reconstruct patatrack DIR --url grpc://localhost:8001 -o ...`
- run a trigger menu: `trackserve hlt DIR -o decisions.parquet`
- do two results differ? `trackserve compare A.parquet B.parquet`
- results for ROOT: `trackserve export tracks.parquet -o tracks.root`
- what does an event look like? `trackserve display DIR -o event.html`
- is the physics right? `trackserve validate patatrack DIR -o report/patatrack`
- how fast is it? `trackserve bench patatrack DIR`
- what does serving cost, and what does it gain? `trackserve study all --quick -o STUDIES`
- how many servers for 500 jobs? `trackserve fleet --jobs 500 --service-times FILE`
- which learned model? `trackserve model show`; a new one: `trackserve train exatrkx`
- what works on this machine? `trackserve doctor`; why does a server not answer? `doctor --url URL`
""",
)
commands.add_typer(simulate.commands, name="simulate")
commands.add_typer(reconstruct.commands, name="reconstruct")
commands.add_typer(train.commands, name="train")
commands.add_typer(model.commands, name="model")
commands.add_typer(validate.commands, name="validate")
commands.add_typer(bench.commands, name="bench")
commands.add_typer(study.commands, name="study")
commands.command()(fit.fit)
commands.command()(serve.serve)
commands.command()(serve.repository)
commands.command(no_args_is_help=True)(front.front)
commands.command()(hlt.hlt)
commands.command()(compare.compare)
commands.command()(export.export)
commands.command()(pixels.pixels)
commands.command()(inspect.inspect)
commands.command()(status.status)
commands.command()(top.top)
commands.command(no_args_is_help=True)(fleet.fleet)
commands.command("display")(with_options(display.display))
commands.command()(demo.demo)
commands.command()(reach.doctor)


@commands.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """Take the options of no command."""
