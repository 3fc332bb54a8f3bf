"""The address of a server."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from trackserve.errors import InputError


class Address(NamedTuple):
    """A parsed url."""

    scheme: str
    host: str
    port: int

    @property
    def target(self) -> str:
        """``host:port``, with brackets around an IPv6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine: ``localhost``, 127.0.0.0/8, ::1, 0.0.0.0 or ::."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return self.host == "localhost"
        return address.is_loopback or address.is_unspecified


def parse_url(url: str) -> Address:
    """The parts of ``grpc://host:port`` or ``http://host:port``.

    Raises:
        InputError: the url has another form.
    """
    try:
        parts = urlsplit(url)
        address = Address(parts.scheme, parts.hostname or "", parts.port or 0)
    except ValueError:
        address = Address("", "", 0)
    complete = address.scheme in ("grpc", "http") and address.host and address.port
    if not complete or url.lower() != f"{address.scheme}://{address.target}":
        raise InputError("malformed url", found=url, bound="grpc://host:port or http://host:port")
    return address
