"""``trackserve serve`` and ``trackserve repository``."""

from __future__ import annotations

import signal
import tempfile
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from trackserve.errors import InputError
from trackserve.serving.limits import Limits, default_limits

from .common import (
    Config,
    Device,
    Precision,
    console,
)

if TYPE_CHECKING:
    from trackserve.serving.server import Server

Conditions = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        metavar="DIR",
        help="Serve Patatrack with the conditions files of this directory.",
        show_default=False,
    ),
]
Exatrkx = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[NAME=]MODEL",
        help="Serve the learned tracker with this model: a folder, or the name of a shipped one; "
        "'none' leaves it out. May be repeated, with a NAME for each that is not 'exatrkx'.",
        show_default="the shipped model, if trackserve[exatrkx] is installed",
    ),
]
Instances = Annotated[int, typer.Option(min=1, help="Backend processes; one uses all cores.")]
Workers = Annotated[
    int, typer.Option(min=0, help="Batches at a time; 0 is one per core, or two on a GPU.")
]
Queue = Annotated[
    int, typer.Option(min=1, help="Events held, waiting or in work; more are refused as busy.")
]
_DEFAULTS = Limits()
_POLL = 0.5


def serve(
    conditions: Conditions = None,
    exatrkx: Exatrkx = None,
    device: Device = "cpu",
    precision: Precision = "fp32",
    config: Config = "default",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="0 takes a free port, here and below.")] = 8001,
    http_port: int = 8000,
    metrics_port: int = 8002,
    workers: Workers = _DEFAULTS.workers,
    queue: Queue = _DEFAULTS.queue,
    instances: Instances = 1,
    log: Annotated[
        Path | None, typer.Option(help="File for Triton's log.", show_default=False)
    ] = None,
) -> None:
    """Start a Triton server with the learned tracker and, given conditions, Patatrack.

    It runs until Ctrl-C.

    Uses the tritonserver of the nvidia-pytriton wheel (`pip install trackserve[server]`), or
    one on PATH. Ready means compiled, loaded and run once. Should Triton or the model's
    process die, it is started anew; on Ctrl-C events in flight are answered first.
    """
    from trackserve.serving.server import Server

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        _write_models(
            Path(directory),
            conditions,
            exatrkx,
            device,
            precision,
            config,
            workers,
            queue,
            instances,
        )
        server = Server(
            directory,
            host=host,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            log=log,
            notice=lambda text: console.print(f"[yellow]{escape(text)}[/]"),
        )
        with console.status("starting Triton"):
            server.start()
        try:
            _print_directions(server, conditions)
            while not stop.wait(_POLL):
                if server.failure:
                    raise server.failure
        finally:
            with console.status("answering what is in flight, and stopping"):
                server.stop()


def _write_models(
    directory: Path,
    conditions: Path | None,
    exatrkx: list[str] | None,
    device: str,
    precision: str,
    config: str,
    workers: int,
    queue: int,
    instances: int,
) -> None:
    """Write all models that the command line asks for."""
    from trackserve.serving.repository import write_exatrkx, write_patatrack

    if exatrkx is None:
        exatrkx = ["default"] if find_spec("safetensors") else []
    models = [_parse_model(text) for text in exatrkx if text != "none"]
    names = [name for name, _ in models] + ["patatrack"] * (conditions is not None)
    if not names:
        raise InputError("nothing to serve: give --conditions or install trackserve[exatrkx]")
    if len(set(names)) < len(names):
        raise InputError("two models have the same name: use --exatrkx NAME=MODEL", found=names)
    limits = default_limits(device)
    limits = replace(limits, workers=workers or limits.workers, queue=queue)
    for name, model in models:
        write_exatrkx(
            directory,
            model,
            name=name,
            device=device,
            precision=precision,
            instances=instances,
            limits=limits,
        )
    if conditions is not None:
        write_patatrack(
            directory,
            conditions,
            config=config,
            device=device,
            instances=instances,
            limits=limits,
        )


def _parse_model(text: str) -> tuple[str, str]:
    """Name and model of ``[NAME=]MODEL``."""
    name, separator, model = text.partition("=")
    return (name, model) if separator else ("exatrkx", text)


def _print_directions(server: Server, conditions: Path | None) -> None:
    url = server.grpc_url
    port = f" --metrics-port {server.ports.metrics}"
    if conditions is None:
        first = f"exatrkx EVENTS --url {url}"
    else:
        events = conditions if (conditions / "raw.bin").exists() else "DIR"
        first = f"patatrack {events} --url {url}"
    lines = [
        f"ready: [bold]{url}[/] {server.http_url} (metrics: {server.metrics_url})",
        f"models: {', '.join(server.models)}",
        f"try it: trackserve reconstruct {first} -o tracks.parquet",
        f"how is it? trackserve status {url}{port}",
        "Ctrl-C stops it",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def repository(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write.", show_default=False)
    ],
    conditions: Conditions = None,
    exatrkx: Exatrkx = None,
    device: Device = "cpu",
    precision: Precision = "fp32",
    config: Config = "default",
    workers: Workers = _DEFAULTS.workers,
    queue: Queue = _DEFAULTS.queue,
    instances: Instances = 1,
) -> None:
    """Write the model repository and backends alone, for a container or another Triton.

    The tree holds conditions and models and can be moved; models that are there already
    stay. docs/serving.md says how to mount it.
    """
    _write_models(
        directory, conditions, exatrkx, device, precision, config, workers, queue, instances
    )
    console.print(f"wrote {directory}/models and {directory}/backends")
