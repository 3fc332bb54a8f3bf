"""One grammar for every tracker: ``trackserve COMMAND TRACKER PATH [--option ...]``.

A command is one function of a tracker, the values of its options, and what all trackers share.
:func:`add_commands` makes a subcommand for each tracker that is installed, with the tracker's
options beside the shared ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from trackserve.errors import InputError, TrackserveError
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker, tracker_names

Device = Annotated[
    str,
    typer.Option(
        help="Where to reconstruct: cpu, or cuda; some trackers take cuda:1 and more. What is "
        "served has its own."
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Events at the same time, on a CPU.")]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Use the server at grpc://HOST:PORT or http://HOST:PORT instead of this machine. "
        "Several: with commas between them, or @FILE with a url on each line, which is read again "
        "when it changes. A name stands for all its addresses.",
        show_default=False,
    ),
]
Served = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --url: the server's name of the model; by default the tracker's name.",
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
FallBack = Annotated[
    bool,
    typer.Option(
        "--fallback",
        help="With --url: reconstruct on this machine, with the options given here, while no "
        "server can answer.",
    ),
]
Identity = Annotated[
    str | None,
    typer.Option(
        metavar="IDENTITY",
        help="With --url: the identity that the model must have, as `status` shows it, or its "
        "hash; or `unchecked`. By default that of PATH's conditions and of the options.",
        show_default=False,
    ),
]
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

_GIVEN = ("tracker", "options")


def add_commands(group: typer.Typer, run: Callable[..., None]) -> None:
    """Add a subcommand of ``group`` for each tracker.

    Args:
        group: gets the subcommands.
        run: takes ``tracker``, ``options`` (values by name), ``path`` or ``paths``, and what is
            shared; its docstring is the help.
    """

    @group.callback()
    def _group() -> None:
        pass

    for name in tracker_names():
        try:
            command = _command(find_tracker(name), run)
        except TrackserveError as error:
            command = _broken(error)
        group.command(name, no_args_is_help=True)(command)


def _command(tracker: Tracker[Any, Any], run: Callable[..., None]) -> Callable[..., None]:
    hints = get_type_hints(run, include_extras=True)
    for name, kind, metavar in (("path", Path, "PATH"), ("paths", list[Path], "PATH...")):
        hints[name] = Annotated[
            kind, typer.Argument(metavar=metavar, help=tracker.path_help, show_default=False)
        ]
    shared = [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(run).parameters.values()
        if parameter.name not in _GIVEN
    ]
    names = {option.name for option in tracker.options}
    if taken := sorted(names & {parameter.name for parameter in shared}):
        raise InputError(
            "an option has the name of a shared one", tracker=tracker.name, found=taken
        )
    own = [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=option.default,
            annotation=Annotated[
                str,
                typer.Option(
                    help=option.help, metavar=option.metavar, show_default=bool(option.default)
                ),
            ],
        )
        for option in tracker.options
    ]

    def command(**arguments: Any) -> None:
        options = {option.name: arguments.pop(option.name) for option in tracker.options}
        run(tracker, options, **arguments)

    parameters = [*shared, *own]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    command.__doc__ = f"{tracker.summary}\n\n{inspect.getdoc(run) or ''}"
    return command


def _broken(error: TrackserveError) -> Callable[..., None]:
    """A command of a tracker that cannot be imported: it says why."""

    def command(path: list[Path]) -> None:
        raise error

    command.__doc__ = f"Does not work here: {error}"
    return command
