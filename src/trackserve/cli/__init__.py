"""The command line: ``trackserve --help``."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.markup import escape

from trackserve.errors import TrackserveError

from . import (
    bench,
    demo,
    display,
    doctor,
    fit,
    fleet,
    hlt,
    inspect,
    model,
    reconstruct,
    serve,
    simulate,
    status,
    study,
    train,
    validate,
)

commands = typer.Typer(
    name="trackserve",
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

**Space points** are events of the learned tracker, simulated here or TrackML's.

- make some: `trackserve simulate points --pileup 20 --events 100 -o EVENTS`

Every tracker has the same commands; `trackserve reconstruct` lists the trackers.

- reconstruct here: `trackserve reconstruct patatrack DIR -o tracks.parquet`, or `exatrkx EVENTS`
- fit candidates with ACTS: `trackserve fit EVENTS candidates.parquet -o tracks.parquet`
- start a server: `trackserve serve patatrack,conditions=DIR exatrkx`
- how is it? `trackserve status`
- reconstruct there: `trackserve reconstruct patatrack DIR --url grpc://localhost:8001 -o ...`
- run a trigger menu: `trackserve hlt DIR -o decisions.parquet`
- what does an event look like? `trackserve display DIR -o event.html`
- is the physics right? `trackserve validate patatrack DIR -o report/patatrack`
- how fast is it? `trackserve bench patatrack DIR`
- what does serving cost, and bring? `trackserve study all --quick -o STUDIES`
- how many servers for 500 jobs? `trackserve fleet --jobs 500 --service-times FILE`
- which learned model? `trackserve model show`; a new one: `trackserve train exatrkx`
- what works on this machine? `trackserve doctor`
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
commands.command()(hlt.hlt)
commands.command()(inspect.inspect)
commands.command()(status.status)
commands.command(no_args_is_help=True)(fleet.fleet)
commands.command()(display.display)
commands.command()(demo.demo)
commands.command()(doctor.doctor)


def app() -> None:
    """Run a command; an error of ours, or of the system about a file, is one line."""
    try:
        commands()
    except (TrackserveError, OSError) as error:
        Console(stderr=True).print(
            f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(1)
