"""Small calls to Triton's HTTP services, without another library."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from trackserve.errors import InputError, parse_json

T = TypeVar("T")


class Http(NamedTuple):
    """An HTTP service; each call has its own connection, with TLS if there is a ``context``.

    Raises:
        OSError: in all calls: there is no answer.
    """

    host: str
    port: int
    timeout: float = 5.0
    context: ssl.SSLContext | None = None

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and text of the answer."""
        return self._call("GET", path, None, headers)

    def get_json(self, path: str, kind: type[T], headers: Mapping[str, str] | None = None) -> T:
        """The JSON content of an answer; OSError if it is no ``kind`` or its status is not 200."""
        status, text = self.get(path, headers)
        try:
            if status == 200:
                return parse_json(text, kind)
        except InputError as error:
            text = str(error)
        raise OSError(f"{path}: status {status}: {text[:200]}")

    def post(
        self, path: str, body: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status and text of the answer."""
        return self._call("POST", path, body, headers)

    def _call(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str] | None
    ) -> tuple[int, str]:
        where: dict[str, Any] = {"host": self.host, "port": self.port, "timeout": self.timeout}
        connection = (
            http.client.HTTPConnection(**where)
            if self.context is None
            else http.client.HTTPSConnection(**where, context=self.context)
        )
        try:
            connection.request(method, path, body, dict(headers or {}))
            reply = connection.getresponse()
            return reply.status, reply.read().decode(errors="replace")
        except http.client.HTTPException as error:
            raise OSError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
