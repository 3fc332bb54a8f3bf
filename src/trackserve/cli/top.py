"""``trackserve top``: what servers do, all the time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table

from trackserve.errors import ServerError
from trackserve.wire.address import Address

from .common import console
from .status import look, number

if TYPE_CHECKING:
    from trackserve.serving.status import ModelStatus, Status

_MOST_AT_ONCE = 32
Seen = dict[Address, "Status | ServerError"]


def top(
    urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="[URL...]", help="Servers, as in --url.", show_default=False),
    ] = None,
    *,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two tables.")] = 1.0,
    looks: Annotated[
        int | None, typer.Option(min=1, help="End after this many tables.", show_default=False)
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="By default counted as in 8000 (HTTP), 8001 (gRPC), 8002 (metrics).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show a live table of servers, until Ctrl-C.

    It has models, throughput, times and devices, since the last table. ev/s and err/s: answered
    events, and those without a result. wait and work: events that wait, and that are in work. queue
    ms and comp. ms: mean wait and work of an event. busy: mean number of busy workers. The server's
    own probe, one event a second, counts too.
    """
    from trackserve.client.servers import current, parse_servers

    sources = parse_servers(",".join(urls or ["grpc://127.0.0.1:8001"]))

    def see() -> tuple[float, Seen]:
        return time.monotonic(), _look_at_all(current(sources), metrics_port)

    begin, before = see()
    n_tables = 0
    try:
        with Live(console=console, auto_refresh=False) as live:
            while looks is None or n_tables < looks:
                time.sleep(every)
                end, after = see()
                table = _table(before, after, end - begin)
                if live.is_started and console.is_terminal:
                    live.update(table, refresh=True)
                else:
                    console.print(table)
                begin, before = end, after
                n_tables += 1
    except KeyboardInterrupt:
        return


def _look_at_all(addresses: list[Address], metrics_port: int | None) -> Seen:
    """The status of each server; a slow one delays no other."""

    def one(address: Address) -> Status | ServerError:
        try:
            return look(address, metrics_port)
        except ServerError as error:
            return error

    with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(addresses) or 1)) as pool:
        return dict(zip(addresses, pool.map(one, addresses), strict=True))


def _table(before: Seen, after: Seen, seconds: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("server", "model", "on"):
        table.add_column(name, no_wrap=True)
    for name in ("ev/s", "err/s", "wait", "work", "queue ms", "comp. ms", "busy", "new starts"):
        table.add_column(name, justify="right", min_width=max(map(len, [*name.split(), "00.00"])))
    for address, found in after.items():
        if isinstance(found, ServerError):
            table.add_row(address.url, f"[red]{found.message}[/]")
            continue
        earlier = before.get(address)
        known = {} if earlier is None or isinstance(earlier, ServerError) else _by_name(earlier)
        state = "" if found.ready else " [red]not ready[/]"
        for model in found.models:
            restarts = "" if found.restarts is None else str(found.restarts)
            cells = _cells(known.get(model.name, model), model, seconds)
            table.add_row(f"{address.target}{state}", model.name, *cells, restarts)
    return table


def _by_name(status: Status) -> dict[str, ModelStatus]:
    return {model.name: model for model in status.models}


def _cells(before: ModelStatus, after: ModelStatus, seconds: float) -> list[str]:
    from trackserve.serving.status import rates

    found = rates(before, after, seconds)
    device = (after.identity or "").rpartition(" on ")[2]
    return [
        device,
        number(found.events, 1, 1),
        number(found.errors, 1, 1),
        number(after.waiting),
        number(after.in_work),
        number(found.queue, 1e3, 2),
        number(found.compute, 1e3, 2),
        number(found.busy, 1, 2),
    ]
