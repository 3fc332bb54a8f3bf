"""``trackserve status``: how is the server?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from trackserve.errors import ServerError
from trackserve.wire.access import Access
from trackserve.wire.address import Address

from .common import console

if TYPE_CHECKING:
    from trackserve.serving.status import ModelStatus, Status

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
        typer.Option(
            help="By default counted as in 8000 (HTTP), 8001 (gRPC), 8002 (metrics).",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: a list with each server.")
    ] = False,
) -> None:
    """Show the models of a server, how many events wait, and means since its start.

    Times are per request. The server sends itself a tiny request every second; it counts too.
    """
    from trackserve.client.servers import current, parse_servers

    servers = current(parse_servers(url))
    down: list[str] = []
    found: list[dict[str, Any]] = []
    for address in servers:
        try:
            one = look(address, metrics_port)
        except ServerError as error:
            if len(servers) == 1 and not as_json:
                raise
            down.append(str(error))
            found.append({"url": address.url, "ready": False, "error": str(error)})
        else:
            found.append({"url": address.url, **one.as_json()})
            if not as_json:
                _show(address, one, metrics_port)
    if as_json:
        print(json.dumps(found, indent=1))
        raise typer.Exit(1 if down else 0)
    for text in down:
        console.print(f"[red]{escape(text)}[/]", highlight=False, soft_wrap=True)
    if down:
        raise typer.Exit(1)


def look(address: Address, metrics_port: int | None = None) -> Status:
    """The status of a server.

    Args:
        address: its address.
        metrics_port: port of its metrics; None: as Triton numbers ports by default.

    Raises:
        ServerError: it does not answer.
    """
    from trackserve.serving.http import Http
    from trackserve.serving.status import read_status

    metrics = Http(address.host, _metrics_port(address, metrics_port))
    return read_status(address, metrics, Access.from_environment())


def _metrics_port(address: Address, given: int | None) -> int:
    return given or address.port + _TO_METRICS[address.protocol]


def _show(address: Address, found: Status, metrics_port: int | None) -> None:
    """Print the status of a server."""
    state = "[green]ready[/]" if found.ready else "[red]not ready[/]"
    again = f", started anew {found.restarts} times" if found.restarts else ""
    text = f"{address.url}: {state}, Triton {found.version}{again}"
    console.print(text, highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("")
    for model in found.models:
        table.add_column(f"{model.name} {model.version}", justify="right")
    rows: dict[str, Callable[[ModelStatus], str]] = {
        "waiting": lambda model: number(model.waiting),
        "in work": lambda model: number(model.in_work),
        "answered": lambda model: str(model.outcomes.get("ok", 0)),
        "errors": lambda model: _errors(model.outcomes),
        "events per batch": lambda model: number(model.batch, digits=2),
        "queue, ms": lambda model: number(model.queue, 1e3, 2),
        "compute, ms": lambda model: number(model.compute, 1e3, 2),
    }
    for name, cell in rows.items():
        table.add_row(name, *map(cell, found.models))
    console.print(table)
    for model in found.models:
        if model.identity:
            text = escape(model.identity)
            console.print(f"{model.name}: {text}", highlight=False, soft_wrap=True)
    if not found.has_metrics:
        port = _metrics_port(address, metrics_port)
        console.print(f"no metrics on port {port} (--metrics-port)", highlight=False)


def number(value: float | None, scale: float = 1, digits: int = 0) -> str:
    """A number in a table; empty if it is not known."""
    return "" if value is None else f"{scale * value:.{digits}f}"


def _errors(outcomes: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {name}" for name, n in outcomes.items() if n and name != "ok")
