"""The certificate that a server shows, and the clients that it takes."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from trackserve.errors import InputError
from trackserve.wire.access import read_file


@dataclass(frozen=True)
class Tls:
    """Encryption of a service; the files are PEM.

    Attributes:
        certificate, key: the service's certificate, with those between it and the authority, and
            its key.
        client_authority: authorities that sign the certificates of clients; a client without one is
            refused. None: no client needs one.

    Raises:
        InputError: a file cannot be read, is not what it should be, or the key is another one's.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None

    def __post_init__(self) -> None:
        for file in self.files:
            read_file(file)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.client_authority:
                context.load_verify_locations(self.client_authority)
        except (ssl.SSLError, ValueError) as error:
            files = [str(file) for file in self.files]
            raise InputError("no usable certificate", files=files, reason=str(error)) from error

    @property
    def files(self) -> list[Path]:
        """All its files."""
        return [file for file in (self.certificate, self.key, self.client_authority) if file]


def tls_of(certificate: Path | None, key: Path | None, client_authority: Path | None) -> Tls | None:
    """The encryption that three options of a command stand for; None: none.

    Raises:
        InputError: one is missing, or as of :class:`Tls`.
    """
    if certificate is None or key is None:
        if certificate or key or client_authority:
            raise InputError("a certificate and its key go together", bound="--tls-cert, --tls-key")
        return None
    return Tls(certificate, key, client_authority)


def exposure(host_is_loopback: bool, tls: Tls | None, has_tokens: bool = False) -> str:
    """What others can do with a service that listens beyond this machine; empty: nothing."""
    if host_is_loopback:
        return ""
    if tls is None:
        return (
            "tokens and events travel readable: no TLS"
            if has_tokens
            else "whoever reaches it can use it and read what travels: no TLS, no tokens"
        )
    if tls.client_authority is None and not has_tokens:
        return "whoever reaches it can use it: no tokens, no certificates of clients"
    return ""
