"""A page that says whether a server takes requests, for load balancers and orchestrators.

Triton has none that says that it is about to stop: its own health stays good until its port
closes, and over a backend that has died.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trackserve.errors import ServerError

PATH = "/ready"


class Readiness:
    """The page ``/ready``: 200 while the server takes requests, else 503 and the reason.

    Args:
        host: address to listen on.
        port: port; 0 takes a free one.
        reason: returns why the server takes no requests; empty if it does.

    Attributes:
        port: the port that it has.

    Raises:
        ServerError: the port is taken.
    """

    def __init__(self, host: str, port: int, reason: Callable[[], str]) -> None:
        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                why = reason()
                found = self.path == PATH
                body = (why or "ready") if found else f"only {PATH}"
                self.send_response((503 if why else 200) if found else 404)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body) + 1))
                self.end_headers()
                self.wfile.write(f"{body}\n".encode())

            def log_message(self, *arguments: Any) -> None:
                """Write nothing: a probe comes every second."""

        try:
            self._server = ThreadingHTTPServer((host, port), Page)
        except OSError as error:
            text = f"cannot listen: {error.strerror}"
            raise ServerError(text, url=f"{host}:{port}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="readiness", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the page."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
