"""``trackserve status``: how is the server?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from trackserve.errors import ServerError
from trackserve.wire.access import Access
from trackserve.wire.address import Address

from .common import console

if TYPE_CHECKING:
    from trackserve.serving.status import ModelStatus

_TO_METRICS = {"grpc": 1, "http": 2}
"""From a service's port to the metrics' port, as Triton numbers them by default."""


def status(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="grpc://HOST:PORT or http://HOST:PORT; or several, as in --url."
        ),
    ] = "grpc://127.0.0.1:8001",
    metrics_port: Annotated[
        int | None,
        typer.Option(help="By default as in 8000, 8001, 8002.", show_default=False),
    ] = None,
) -> None:
    """The models of a server, what waits there, and means since it started.

    Times are per request. The server sends itself a tiny request every second, which counts.
    """
    from trackserve.client.servers import current, parse_servers

    servers = current(parse_servers(url))
    down: list[str] = []
    for address in servers:
        try:
            _show(address, metrics_port)
        except ServerError as error:
            if len(servers) == 1:
                raise
            down.append(str(error))
    for text in down:
        console.print(f"[red]{escape(text)}[/]", highlight=False, soft_wrap=True)
    if down:
        raise typer.Exit(1)


def _show(address: Address, metrics_port: int | None) -> None:
    """Print the status of a server.

    Raises:
        ServerError: it does not answer.
    """
    from trackserve.serving.http import Http
    from trackserve.serving.status import read_status

    url = address.url
    port = metrics_port or address.port + _TO_METRICS[address.protocol]
    found = read_status(address, Http(address.host, port), Access.from_environment())
    state = "[green]ready[/]" if found.ready else "[red]not ready[/]"
    console.print(f"{url}: {state}, Triton {found.version}", highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("")
    for model in found.models:
        table.add_column(f"{model.name} {model.version}", justify="right")
    rows: dict[str, Callable[[ModelStatus], str]] = {
        "waiting": lambda model: _number(model.waiting),
        "in work": lambda model: _number(model.in_work),
        "answered": lambda model: str(model.outcomes.get("ok", 0)),
        "errors": lambda model: _errors(model.outcomes),
        "events per batch": lambda model: _number(model.batch, digits=2),
        "queue, ms": lambda model: _number(model.queue, 1e3, 2),
        "compute, ms": lambda model: _number(model.compute, 1e3, 2),
    }
    for name, cell in rows.items():
        table.add_row(name, *map(cell, found.models))
    console.print(table)
    for model in found.models:
        if model.identity:
            text = escape(model.identity)
            console.print(f"{model.name}: {text}", highlight=False, soft_wrap=True)
    if not found.has_metrics:
        console.print(f"no metrics on port {port} (--metrics-port)", highlight=False)


def _number(value: float | None, scale: float = 1, digits: int = 0) -> str:
    return "" if value is None else f"{scale * value:.{digits}f}"


def _errors(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in outcomes.items() if n and name != "ok")
