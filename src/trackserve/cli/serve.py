"""``trackserve serve`` and ``trackserve repository``."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.markup import escape

from trackserve.errors import InputError, ServerError, TrackserveError
from trackserve.io.files import absent_folders, remove_empty
from trackserve.serving.limits import Limits, default_limits
from trackserve.serving.log import JSON, TEXT, checked_format, log_line
from trackserve.serving.tls import exposure, tls_of
from trackserve.trackers.registry import find_tracker, tracker_names

from .common import compiling, console, messages, progress, tell
from .grammar import Device
from .signals import end_in_order, stop_in_order

if TYPE_CHECKING:
    from trackserve.serving.server import Server

_MODELS_HELP = (
    "Models to serve: a tracker, with its options after commas. A name before `=` is the name of "
    "the model; the default is the tracker's name. Examples: `exatrkx`, "
    "`patatrack,conditions=DIR`, `big=exatrkx,model=large`."
)
Models = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[[NAME=]TRACKER[,OPTION=VALUE]...]...",
        help=_MODELS_HELP,
        show_default="every tracker that needs no option",
    ),
]
Instances = Annotated[
    int,
    typer.Option(
        min=1, help="Backend processes, or groups of workers; one of them uses all cores."
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Batches at the same time; 0 means one per core, on a GPU two.")
]
Queue = Annotated[
    int, typer.Option(min=1, help="Most events that wait or are in work; more are refused as busy.")
]
TlsCert = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM",
        help="Use TLS with this certificate, and with those between it and the authority.",
        show_default=False,
    ),
]
TlsKey = Annotated[
    Path | None, typer.Option(metavar="PEM", help="Key of the certificate.", show_default=False)
]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(
        metavar="PEM",
        help="Clients must have a certificate that this authority has signed.",
        show_default=False,
    ),
]
_DEFAULTS = Limits()
_POLL = 0.5


class ServedModel(NamedTuple):
    """A model to serve.

    Attributes:
        name: name of the model on the server.
        tracker: name of its tracker.
        options: options of the tracker, as text by name.
    """

    name: str
    tracker: str
    options: dict[str, str]


class Load(NamedTuple):
    """The device and the backend of all models, and the limits on their work."""

    device: str
    backend: str
    workers: int
    queue: int
    instances: int


def serve(
    models: Models = None,
    *,
    device: Device = "cpu",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="0 means any free port, here and below.")] = 8001,
    http_port: int = 8000,
    metrics_port: int = 8002,
    workers: Workers = _DEFAULTS.workers,
    queue: Queue = _DEFAULTS.queue,
    instances: Instances = 1,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="native|python",
            help="Where the models run: in Triton's process, or in one beside it.",
            show_default="native if it works",
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(help="File for Triton's log, which is added to it.", show_default=False),
    ] = None,
    event_log: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File for a line about each event: its time, the id of its request, what it came "
            "to. `-` is standard error.",
            show_default=False,
        ),
    ] = None,
    log_format: Annotated[
        str,
        typer.Option(
            metavar="text|json", help="Form of these lines, and of those about the server itself."
        ),
    ] = TEXT,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    ready_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the page /ready: 200 while the server takes requests, 503 while it "
            "starts or drains.",
            show_default=False,
        ),
    ] = None,
    drain_delay: Annotated[
        float,
        typer.Option(
            min=0,
            help="At the end, seconds with 503 on /ready while the server still takes requests.",
        ),
    ] = 0.0,
    drain: Annotated[
        float, typer.Option(min=0, help="At the end, seconds to answer requests in flight.")
    ] = 10.0,
) -> None:
    """Start a Triton server; it runs until Ctrl-C.

    Uses the tritonserver of the nvidia-pytriton wheel (extra `server`), or
    one on PATH. It prints `ready` when all models are loaded and have run once. If Triton or a
    process of a model dies, it is restarted. After Ctrl-C the server first answers the events in
    flight; a second Ctrl-C ends it at once. Options of Triton follow after two dashes:
    `serve exatrkx -- --log-verbose=1`.

    With TLS only gRPC is open to other hosts, because Triton has no TLS for HTTP and metrics.
    """
    from trackserve.serving.repository import best_backend
    from trackserve.serving.server import Server

    end_in_order()
    form = checked_format(log_format)
    models, flags = split_flags(models)
    wanted = parse_models(models)
    tls = tls_of(tls_cert, tls_key, tls_client_ca)
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        if backend is None:
            backend, reason = best_backend(device)
            if reason:
                console.print(f"[dim]the Python backend serves: {escape(reason)}[/]")
        load = Load(device, backend, workers, queue, instances)
        _write_models(Path(directory), wanted, load)
        server = Server(
            directory,
            host=host,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            log=log,
            event_log=os.dup(sys.stderr.fileno()) if event_log == "-" else event_log,
            log_format=form,
            notice=lambda text: write_line(form, "warning", text),
            tls=tls,
            flags=flags,
            ready_port=ready_port,
            drain_delay=drain_delay,
            stop_timeout=drain,
            is_temporary=True,
        )
        try:
            with progress() as show:
                show("starting Triton", 0, 0)
                server.start(compiling(show))
            with suppress(KeyboardInterrupt):
                if form == TEXT:
                    _print_directions(server, wanted)
                    warn_of(exposure(is_here(server.host), tls))
                else:
                    _write_places(server, exposure(is_here(server.host), tls))
                while not server.failure:
                    time.sleep(_POLL)
            if server.failure:
                raise server.failure
            write_line(form, "info", "stopping: what is in flight is answered")
        except ServerError as error:
            if form != TEXT:
                write_line(form, "error", str(error))
                raise typer.Exit(1) from None
            raise
        finally:
            stop_in_order(server.stop)
        write_line(form, "info", "stopped")


def repository(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write.", show_default=False)
    ],
    models: Models = None,
    *,
    device: Device = "cpu",
    workers: Workers = _DEFAULTS.workers,
    queue: Queue = _DEFAULTS.queue,
    instances: Instances = 1,
    backend: Annotated[
        str,
        typer.Option(
            metavar="native|python",
            help="Where the models run: in Triton's process (this needs the C library and the "
            "Python of this machine), or in one beside it.",
        ),
    ] = "python",
) -> None:
    """Write the model repository and backend alone, for a container or another Triton.

    The folder holds conditions and models, and you can move it. Models that are in it already stay.
    If Triton is installed here, it also gets Triton's Python backend, and a script that starts a
    plain tritonserver. docs/serving.md says how to mount it.
    """
    from trackserve.serving.installation import find_triton
    from trackserve.serving.plain import START, write_plain

    load = Load(device, backend, workers, queue, instances)
    new = absent_folders(directory)
    try:
        _write_models(directory, parse_models(models), load)
    except TrackserveError:
        if new:
            shutil.rmtree(directory, ignore_errors=True)
            remove_empty(new[1:])
        raise
    console.print(f"wrote {directory}/models and {directory}/backends")
    try:
        write_plain(directory, find_triton())
    except ServerError as error:
        tell(f"without Triton's own Python backend and a script that starts it: {error}")
    else:
        console.print(f"a plain tritonserver: {directory}/{START}")


def write_line(form: str, level: str, message: str, **fields: str | list[str]) -> None:
    """Write a line about the server itself to standard error.

    Args:
        form, level, message: as of :func:`trackserve.serving.log.log_line`.
        fields: what more there is to say.
    """
    with suppress(OSError):  # the terminal may have gone
        print(log_line(form, level, message, fields), file=sys.stderr, flush=True)


def split_flags(texts: list[str] | None) -> tuple[list[str] | None, list[str]]:
    """The models and the options of Triton in the arguments of a command."""
    at = next((i for i, text in enumerate(texts or ()) if text.startswith("--")), None)
    return (texts, []) if texts is None or at is None else (texts[:at] or None, texts[at:])


def is_here(host: str) -> bool:
    """Whether a service that listens on this host is reached from this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def warn_of(exposed: str) -> None:
    """Say what others can do with a service, if anything."""
    if exposed:
        text = f"warning: {exposed} (docs/operations.md)"
        messages.print(text, style="yellow", highlight=False, soft_wrap=True)


def parse_models(texts: list[str] | None) -> list[ServedModel]:
    """The models that the arguments ``texts`` of the command line name; at least one.

    Raises:
        InputError: a text has another form, an option is unknown or has a wrong value, two models
            have the same name, or there is no model.
    """
    wanted = [_parse(text) for text in texts] if texts else _without_options()
    names = [model.name for model in wanted]
    if len(set(names)) < len(names):
        raise InputError("two models have the same name: use NAME=TRACKER", found=names)
    if not wanted:
        raise InputError("nothing to serve: no tracker works here without options")
    return wanted


def _parse(text: str) -> ServedModel:
    head, *pairs = re.split(r",(?=[\w-]+=)", text)
    first, separator, second = head.partition("=")
    name, tracker = (first, second) if separator else (first, first)
    options = dict(pair.split("=", 1) for pair in pairs)
    find_tracker(tracker).complete(options)
    return ServedModel(name, tracker, options)


def _without_options() -> list[ServedModel]:
    """A model of each tracker that is installed here and needs no option."""
    trackers = [find_tracker(name) for name in tracker_names()]
    return [
        ServedModel(tracker.name, tracker.name, {})
        for tracker in trackers
        if all(map(find_spec, tracker.modules))
        and all(option.default for option in tracker.options)
    ]


def _write_models(directory: Path, models: list[ServedModel], load: Load) -> None:
    from trackserve.serving.repository import write_model

    limits = default_limits(load.device)
    limits = replace(limits, workers=load.workers or limits.workers, queue=load.queue)
    for model in models:
        write_model(
            directory,
            model.tracker,
            model.options,
            name=model.name,
            device=load.device,
            instances=load.instances,
            limits=limits,
            backend=load.backend,
        )


def _print_directions(server: Server, models: list[ServedModel]) -> None:
    url = server.grpc_url
    lines = [
        f"ready: [bold]{url}[/] {server.http_url} (metrics: {server.metrics_url})",
        f"models: {', '.join(server.models)}",
        *(f"try it: {escape(_command(model, url))}" for model in models),
        *([f"does it take requests? {server.ready_url}"] if server.ready_url else ()),
        f"how is it? trackserve status {url} --metrics-port {server.ports.metrics}",
        "Ctrl-C stops it",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _write_places(server: Server, exposed: str) -> None:
    """The directions for programs: one line."""
    places = {"grpc": server.grpc_url, "http": server.http_url, "metrics": server.metrics_url}
    if server.ready_url:
        places["ready"] = server.ready_url
    write_line(JSON, "info", "ready", models=server.models, **places)
    if exposed:
        write_line(JSON, "warning", exposed)


def _command(model: ServedModel, url: str) -> str:
    """A command that reconstructs events with a model on the server."""
    words = [] if model.name == model.tracker else ["--served", model.name]
    tracker = find_tracker(model.tracker)
    values = tracker.complete(model.options)
    for option in tracker.options:
        if values[option.name] != option.default != "":  # PATH brings what has no default
            words += [f"--{option.spelling}", values[option.name]]
    return f"trackserve reconstruct {model.tracker} PATH {shlex.join(['--url', url, *words])}"
