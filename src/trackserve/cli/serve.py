"""``trackserve serve`` and ``trackserve repository``."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer

from .common import Config, console

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
Instances = Annotated[int, typer.Option(min=1, help="Backend processes of the model.")]


def serve(
    conditions: Conditions,
    config: Config = "default",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="0 takes a free port, here and below.")] = 8001,
    http_port: int = 8000,
    metrics_port: int = 8002,
    instances: Instances = 1,
    log: Annotated[
        Path | None, typer.Option(help="File for Triton's log.", show_default=False)
    ] = None,
) -> None:
    """Start a Triton server with the Patatrack model, until Ctrl-C.

    Uses the tritonserver of the nvidia-pytriton wheel (`pip install trackserve[server]`), or
    one on PATH.
    """
    from ..serving.repository import write_repository
    from ..serving.server import Server

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        write_repository(directory, conditions, config=config, instances=instances)
        server = Server(
            directory,
            host=host,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            log=log,
        )
        with console.status("starting Triton"):
            server.start()
        try:
            console.print(f"ready: [bold]{server.grpc_url}[/]  metrics: {server.metrics_url}")
            console.print("Ctrl-C stops it")
            stop.wait()
        finally:
            with console.status("stopping"):
                server.stop()


def repository(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where to write.", show_default=False)
    ],
    conditions: Conditions,
    config: Config = "default",
    instances: Instances = 1,
) -> None:
    """Write the model repository and backend alone, for a container or another Triton.

    The tree holds the conditions and can be moved. docs/serving.md says how to mount it.
    """
    from ..serving.repository import write_repository

    write_repository(directory, conditions, config=config, instances=instances)
    console.print(f"wrote {directory}/models and {directory}/backends")
