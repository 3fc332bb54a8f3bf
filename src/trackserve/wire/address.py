"""The address of a server."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from trackserve.errors import InputError

_ENCRYPTED = {"grpcs": "grpc", "https": "http"}
"""Protocols by scheme, with TLS around them."""
_SCHEMES = ("grpc", "http", *_ENCRYPTED)


class Address(NamedTuple):
    """A parsed url.

    Attributes:
        scheme: ``grpc``, ``http``, ``grpcs`` or ``https``.
        host: name or IP address.
        port: number of the port.
        name: name that the server's certificate must have; empty: that of ``host``.
    """

    scheme: str
    host: str
    port: int
    name: str = ""

    @property
    def target(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """``scheme://host:port``."""
        return f"{self.scheme}://{self.target}"

    @property
    def protocol(self) -> str:
        """``grpc`` or ``http``."""
        return _ENCRYPTED.get(self.scheme, self.scheme)

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is around the protocol."""
        return self.scheme in _ENCRYPTED

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine: ``localhost``, 127.0.0.0/8, ::1, 0.0.0.0 or ::."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        return address.is_loopback or address.is_unspecified


def parse_url(url: str) -> Address:
    """The parts of ``grpc://host:port`` or ``http://host:port``, or the same with an ``s``.

    Raises:
        InputError: the url has another form.
    """
    try:
        parts = urlsplit(url)
        address = Address(parts.scheme, parts.hostname or "", parts.port or 0)
    except ValueError:
        address = Address("", "", 0)
    complete = address.scheme in _SCHEMES and address.host and address.port
    if not complete or url.lower() != address.url:
        bound = "grpc[s]://host:port or http[s]://host:port"
        raise InputError("malformed url", found=url, bound=bound)
    return address
