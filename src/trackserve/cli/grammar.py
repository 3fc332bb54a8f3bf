"""One grammar for every tracker: ``trackserve COMMAND TRACKER PATH [--option ...]``.

A command is one function of a tracker, the values of its options, and what all trackers share.
:func:`add_commands` makes a subcommand for each tracker that is installed, with the tracker's
options beside the shared ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from trackserve.edm import EventLimits
from trackserve.errors import InputError, TrackserveError
from trackserve.trackers.base import Option, Tracker
from trackserve.trackers.registry import find_tracker, tracker_names

Slice = Annotated[
    str,
    typer.Option(
        metavar="A:B",
        help="Only events A to B - 1 of all events of the command, counted from 0. As in "
        "Python, A or B may be empty, and a negative number counts from the end.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help="Where to reconstruct: cpu, or cuda; some trackers take cuda:1 and more. A server "
        "uses its own device."
    ),
]
Threads = Annotated[int, typer.Option(min=1, help="Number of events at the same time, on a CPU.")]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Use the server at grpc://HOST:PORT or http://HOST:PORT, not this machine. Several "
        "servers: urls with commas between them, or @FILE with a url on each line; FILE is read "
        "again when it changes. A host name means all its addresses.",
        show_default=False,
    ),
]
Served = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="With --url: name of the model on the server; by default the tracker's name.",
        show_default=False,
    ),
]
InFlight = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --url: events in flight; by default enough to keep the server busy.",
        show_default=False,
    ),
]
FallBack = Annotated[
    bool,
    typer.Option(
        "--fallback",
        help="With --url: while no server can answer, reconstruct on this machine, with the "
        "options of this command.",
    ),
]
Identity = Annotated[
    str | None,
    typer.Option(
        metavar="IDENTITY",
        help="With --url: the identity that the model must have, as `status` prints it, or its "
        "hash; or `unchecked`. By default the identity of PATH's conditions and the options.",
        show_default=False,
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=N",
        help="Largest number of things in one event, such as --limit words=200000; may be "
        "repeated. An event with more has no result. The tracker's page lists names and defaults.",
        show_default=False,
    ),
]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial", help="An event beyond a limit keeps the results of the stages before it."
    ),
]
Deadline = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Longest time for the work on one event; with --url it includes the wait.",
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
"""Arguments of :func:`add_commands` that are no options of a command."""


def limits_of(
    tracker: Tracker[Any, Any], limit: list[str] | None, partial: bool, deadline: float | None
) -> EventLimits:
    """The limits that :data:`Limit`, :data:`Partial` and :data:`Deadline` stand for.

    Raises:
        InputError: a name is unknown, or a value is wrong.
    """
    values: dict[str, Any] = {}
    for text in limit or ():
        name, _, most = text.partition("=")
        name = name.replace("-", "_")
        if not most.isdecimal() or name not in tracker.limits.names():
            bound = [f"{known}=N" for known in tracker.limits.names()]
            raise InputError("no such limit", option="limit", found=text, bound=bound)
        values[name] = int(most)
    if partial:
        values["beyond"] = "partial"
    if deadline is not None:
        values["deadline"] = deadline
    return tracker.limits.make(values)


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
    shared = _declared(run, hints, _GIVEN)
    names = {option.name for option in tracker.options}
    if taken := sorted(names & {parameter.name for parameter in shared}):
        raise InputError(
            "an option has the name of a shared one", tracker=tracker.name, found=taken
        )
    own = [
        _parameter(option, str, option.help, option.default, bool(option.default))
        for option in tracker.options
    ]

    def command(**arguments: Any) -> None:
        options = {option.name: arguments.pop(option.name) for option in tracker.options}
        run(tracker, options, **arguments)

    _sign(command, [*shared, *own])
    command.__doc__ = f"{tracker.summary}\n\n{inspect.getdoc(run) or ''}"
    return command


def with_options(run: Callable[..., None]) -> Callable[..., None]:
    """A command that finds its tracker itself, with the options of every tracker.

    Args:
        run: takes ``options`` (values by name, those that are given), and what else it declares.
    """
    shared = _declared(run, get_type_hints(run, include_extras=True), ("options",))
    own: dict[str, inspect.Parameter] = {}
    for name in tracker_names():
        try:
            tracker = find_tracker(name)
        except TrackserveError:
            continue  # it does not work here, so it reads nothing
        for option in tracker.options:
            text = f"Of {name}: {option.help}"
            if not any(option.name == parameter.name for parameter in shared):
                own.setdefault(option.name, _parameter(option, str | None, text, None, False))

    def command(**arguments: Any) -> None:
        values = {name: arguments.pop(name) for name in own}
        run(options={k: v for k, v in values.items() if v is not None}, **arguments)

    _sign(command, [*shared, *own.values()])
    command.__doc__ = inspect.getdoc(run)
    return command


def _declared(
    run: Callable[..., None], hints: Mapping[str, Any], given: Sequence[str]
) -> list[inspect.Parameter]:
    """The parameters that ``run`` declares, with these types; without those that it is given."""
    return [
        parameter.replace(annotation=hints[parameter.name])
        for parameter in inspect.signature(run).parameters.values()
        if parameter.name not in given
    ]


def _parameter(
    option: Option, kind: Any, text: str, default: str | None, show_default: bool
) -> inspect.Parameter:
    """The parameter of a command for an option of a tracker."""
    told = typer.Option(help=text, metavar=option.metavar, show_default=show_default)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, told],
    )


def _sign(command: Callable[..., None], parameters: list[inspect.Parameter]) -> None:
    """Give a command its parameters."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}


def _broken(error: TrackserveError) -> Callable[..., None]:
    """A command of a tracker that cannot be imported: it says why."""

    def command(path: list[Path]) -> None:
        raise error

    command.__doc__ = f"Does not work here: {error}"
    return command
