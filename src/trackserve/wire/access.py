"""What a client shows to a server, and how it knows that the server is the right one."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from trackserve.errors import InputError

from .address import Address

_VARIABLES = {
    "authority": "TRACKSERVE_CA",
    "certificate": "TRACKSERVE_CERT",
    "key": "TRACKSERVE_KEY",
    "token": "TRACKSERVE_TOKEN",
    "token_file": "TRACKSERVE_TOKEN_FILE",
}
"""Environment variables, by attribute of :class:`Access`."""

TOKEN_HEADER = "authorization"
TOKEN_SCHEME = "Bearer "


@dataclass(frozen=True)
class Access:
    """The means of access of a client; a file is read when a connection is made.

    Attributes:
        authority: PEM file of the authorities that may sign a server's certificate; None: the
            usual ones of the system.
        certificate, key: PEM files of this client's own certificate and its key, for servers that
            ask for one.
        token: token that each request has.
        token_file: file with the token, which is read for each request: a new one takes effect.
    """

    authority: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    token: str = field(default="", repr=False)
    token_file: str | Path | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """What the variables ``TRACKSERVE_CA``, ``_CERT``, ``_KEY``, ``_TOKEN`` and ``_TOKEN_FILE``
        say."""
        given = {name: os.environ.get(variable) for name, variable in _VARIABLES.items()}
        return cls(**{name: text for name, text in given.items() if text})  # type: ignore[arg-type]

    def check(self, address: Address) -> None:
        """Refuse a token on a way that others can read.

        Raises:
            InputError: the server is on another host, and its url has no TLS.
        """
        has_token = self.token or self.token_file
        if has_token and not (address.is_encrypted or address.is_loopback):
            raise InputError(
                "a token is not sent where others can read it", url=address.url, bound="TLS"
            )

    def headers(self) -> dict[str, str]:
        """The headers of a request; none without a token.

        Raises:
            InputError: the token's file cannot be read, or the token has characters that no header
                has.
        """
        token = self.token
        if self.token_file:
            token = read_file(self.token_file).decode(errors="replace").strip()
            if not token:
                raise InputError("no token", file=str(self.token_file))
        if token and not (token.isascii() and token.isprintable() and " " not in token):
            raise InputError("a token is printable ASCII without spaces")
        return {TOKEN_HEADER: f"{TOKEN_SCHEME}{token}"} if token else {}

    def context(self) -> ssl.SSLContext:
        """The settings of a connection by HTTP.

        Raises:
            InputError: a file cannot be read, or is not what it should be.
        """
        self._check_pair()
        for file in (self.authority, self.certificate, self.key):
            if file:
                read_file(file)
        try:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate:
                context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, ValueError) as error:
            files = [str(file) for file in (self.authority, self.certificate, self.key) if file]
            raise InputError("no usable certificate", files=files, reason=str(error)) from error
        return context

    def pem(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Content of the files of the authority, the key and the certificate, as gRPC takes them.

        Raises:
            InputError: a file cannot be read, or is not what it should be.
        """
        self.context()  # gRPC would say nothing of a file that is wrong
        authority, key, certificate = (
            read_file(file) if file else None
            for file in (self.authority, self.key, self.certificate)
        )
        return authority, key, certificate

    def _check_pair(self) -> None:
        if bool(self.certificate) != bool(self.key):
            given = str(self.certificate or self.key)
            raise InputError("a certificate and its key go together", found=given)


NO_ACCESS = Access()
"""The means of a client that shows nothing."""


def read_file(file: str | Path) -> bytes:
    """Content of a file of certificates, keys or tokens.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=str(file)) from error
