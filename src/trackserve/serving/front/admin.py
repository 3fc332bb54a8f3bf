"""The administration of a running Envoy, by a socket that only its user can open."""

from __future__ import annotations

import http.client
import re
import socket
from pathlib import Path
from typing import NamedTuple

_TIMEOUT = 5.0


class Admin(NamedTuple):
    """Envoy's administration.

    Raises:
        OSError: in all calls: there is no answer.
    """

    path: Path

    def get(self, what: str) -> str:
        """The answer to a question."""
        return self._call("GET", what)

    def tell(self, what: str) -> None:
        """Order something."""
        self._call("POST", what)

    def is_ready(self) -> bool:
        """Whether Envoy takes requests."""
        try:
            return self.get("/ready").strip() == "LIVE"
        except OSError:
            return False

    def value(self, name: str) -> int:
        """Value of a counter or gauge; 0 if there is none."""
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.get(f"/stats?filter={name}"), re.M)
        return int(found[1]) if found else 0

    def _call(self, method: str, what: str) -> str:
        connection = _Connection(self.path)
        try:
            connection.request(method, what)
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace")
            if reply.status != 200:
                raise OSError(f"{what}: status {reply.status}: {text[:200]}")
            return text
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP by a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("envoy", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
