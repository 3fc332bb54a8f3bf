"""``trackserve serve`` and ``trackserve repository``."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..serving.limits import Limits
from .common import Config, console

if TYPE_CHECKING:
    from ..serving.server import Server

Conditions = Annotated[
    Path,
    typer.Option(
        exists=True,
        file_okay=False,
        metavar="DIR",
        help="Directory with the conditions files; they are loaded once.",
        show_default=False,
    ),
]
Instances = Annotated[int, typer.Option(min=1, help="Backend processes; one uses all cores.")]
Workers = Annotated[int, typer.Option(min=0, help="Events at a time; 0 is one per core.")]
Queue = Annotated[
    int, typer.Option(min=1, help="Events held, waiting or in work; more are refused as busy.")
]
_DEFAULTS = Limits()
_POLL = 0.5


def serve(
    conditions: Conditions,
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
    """Start a Triton server with the Patatrack model, until Ctrl-C.

    Uses the tritonserver of the nvidia-pytriton wheel (`pip install trackserve[server]`), or
    one on PATH. Ready means compiled, loaded and run once. Should Triton or the model's
    process die, it is started anew; on Ctrl-C events in flight are answered first.
    """
    from ..serving.repository import write_repository
    from ..serving.server import Server

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    limits = Limits(workers=workers, queue=queue)
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        write_repository(directory, conditions, config=config, instances=instances, limits=limits)
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


def _print_directions(server: Server, conditions: Path) -> None:
    url = server.grpc_url
    events = conditions if (conditions / "raw.bin").exists() else "DIR"
    port = f" --metrics-port {server.ports.metrics}"
    lines = [
        f"ready: [bold]{url}[/] {server.http_url} (metrics: {server.metrics_url})",
        f"models: {', '.join(server.models)}",
        f"try it: trackserve reconstruct patatrack {events} --url {url} -o tracks.parquet",
        f"how is it? trackserve status {url}{port}",
        "Ctrl-C stops it",
    ]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def repository(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write.", show_default=False)
    ],
    conditions: Conditions,
    config: Config = "default",
    workers: Workers = _DEFAULTS.workers,
    queue: Queue = _DEFAULTS.queue,
    instances: Instances = 1,
) -> None:
    """Write the model repository and backend alone, for a container or another Triton.

    The tree holds the conditions and can be moved. docs/serving.md says how to mount it.
    """
    from ..serving.repository import write_repository

    limits = Limits(workers=workers, queue=queue)
    write_repository(directory, conditions, config=config, instances=instances, limits=limits)
    console.print(f"wrote {directory}/models and {directory}/backends")
