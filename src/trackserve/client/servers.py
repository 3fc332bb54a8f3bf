"""Which servers a client may use: addresses, names with several addresses, files of servers."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from trackserve.errors import InputError
from trackserve.wire.address import Address, parse_url

_FILE = "@"
_COMMENT = "#"
_RESOLVE_AGAIN = 5.0
"""Seconds between two looks at the addresses of a name."""

_log = logging.getLogger("trackserve.client")


class Source(Protocol):
    """Something that names servers, and may name others later."""

    def addresses(self) -> list[Address]:
        """The servers that it names now."""


@dataclass(frozen=True)
class Fixed:
    """A server at an address that does not change."""

    address: Address

    def addresses(self) -> list[Address]:
        return [self.address]


@dataclass
class Name:
    """The servers at all addresses of a host's name.

    A name with one address stands for itself: gRPC resolves it, and its proxies know it. If the
    name cannot be resolved, the last answer holds.
    """

    address: Address
    _last: list[Address] = field(default_factory=list)
    _asked: float = -math.inf

    def addresses(self) -> list[Address]:
        now = time.monotonic()
        if now - self._asked < _RESOLVE_AGAIN:
            return self._last or [self.address]
        self._asked = now
        try:
            found = socket.getaddrinfo(self.address.host, None, type=socket.SOCK_STREAM)
        except OSError:
            return self._last or [self.address]
        family = min(family for family, *_ in found)  # IPv4 where there is any: one path a server
        hosts = sorted({str(where[0]) for kind, *_, where in found if kind == family})
        name = self.address.host if self.address.is_encrypted else ""
        each = [self.address._replace(host=host, name=name) for host in hosts]
        self._last = each if len(each) > 1 else [self.address]
        return self._last


@dataclass
class Listed:
    """The servers in a file, one url a line; it is read again when it changes.

    Lines that are empty, or begin with ``#``, say nothing. While the file cannot be read, or has a
    malformed line, its last good content holds; a warning says so.
    """

    file: Path
    _stamp: tuple[int, int, int] | None = None
    _seen: tuple[int, int, int] | None = None
    _said: str = ""
    _sources: list[Source] = field(default_factory=list)

    def read(self) -> None:
        """Read the file if it has changed, and not again since the last look.

        Raises:
            InputError: it cannot be read, or has a malformed line.
        """
        try:
            found = self.file.stat()
            stamp = found.st_mtime_ns, found.st_size, found.st_ino
            is_at_rest, self._seen = stamp == self._seen, stamp
            if stamp == self._stamp or not (is_at_rest or self._stamp is None):
                return
            lines = self.file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"no list of servers: {error}", file=str(self.file)) from error
        self._stamp = stamp
        urls = [line.strip() for line in lines]
        try:
            self._sources = [_source(url) for url in urls if url and not url.startswith(_COMMENT)]
        except InputError as error:
            raise InputError(error.message, file=str(self.file), **error.fields) from error

    def addresses(self) -> list[Address]:
        try:
            self.read()
        except InputError as error:
            if str(error) != self._said:
                self._said = str(error)
                _log.warning("the last list of servers holds: %s", error)
        return [address for source in self._sources for address in source.addresses()]


def parse_servers(url: str) -> list[Source]:
    """The sources in a comma-separated list of urls and of files, these as ``@servers.txt``.

    Raises:
        InputError: a malformed url, or a file that cannot be read.
    """
    if not isinstance(url, str):
        raise InputError("malformed url", found=repr(url)[:80], bound="grpc://host:port")
    return list(_parsed(url))


def _parsed(url: str) -> Iterator[Source]:
    for part in url.split(","):
        one = part.strip()
        if one.startswith(_FILE):
            listed = Listed(Path(one.removeprefix(_FILE)))
            listed.read()
            yield listed
        else:
            yield _source(one)


def _source(url: str) -> Source:
    address = parse_url(url)
    return Fixed(address) if address.is_loopback or _is_number(address.host) else Name(address)


def _is_number(host: str) -> bool:
    """Whether a host is given by its IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def current(sources: list[Source]) -> list[Address]:
    """The servers that the sources name now, each once."""
    return list(dict.fromkeys(address for source in sources for address in source.addresses()))
