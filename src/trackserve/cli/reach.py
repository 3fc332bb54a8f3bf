"""``trackserve doctor --url``: why a client cannot reach a server, step by step."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import typer

from trackserve.errors import AccessDenied, InputError, TrackserveError
from trackserve.wire.access import Access
from trackserve.wire.address import Address

from . import doctor as machine
from .doctor import Finding

_TIMEOUT = 5.0
_OTHER = {"grpc": "http", "http": "grpc", "grpcs": "https", "https": "grpcs"}


def doctor(
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Say why a client cannot reach this server or these servers. URL is as in other "
            "commands. Certificates and token are those of the environment.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what this machine has, which ways to run the pipelines work, and how to mend the others.

    With --url: check the way to a server, step by step.
    """
    if url is None:
        machine.doctor()
        return
    findings = list(reach(url))
    machine.show(findings, "on the way:")
    if not all(finding.works for finding in findings):
        raise typer.Exit(1)


def reach(url: str) -> Iterator[Finding]:
    """What each step on the way to a server finds; the first that fails is the last.

    Raises:
        InputError: the url is malformed.
    """
    from trackserve.client.servers import current, parse_servers

    access = Access.from_environment()
    for address in current(parse_servers(url)):
        for step in (_name, _port, _encryption, _protocol, _models):
            found = step(address, access)
            yield found
            if not found.works:
                break


def _name(address: Address, access: Access) -> Finding:
    what = f"name {address.host}"
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(what, False, str(error), "is the name right, and known to this machine?")
    return Finding(what, True, ", ".join(sorted({str(where[0]) for *_, where in found})))


def _port(address: Address, access: Access) -> Finding:
    what = f"port {address.port}"
    try:
        socket.create_connection((address.host, address.port), _TIMEOUT).close()
    except OSError as error:
        return Finding(what, False, str(error) or "no answer", _cure_of_port(address))
    return Finding(what, True, "open")


def _cure_of_port(address: Address) -> str:
    if address.is_loopback:
        return "start it: trackserve serve; or give the port that it has printed"
    return (
        "does the server run, with --host of an address that this machine reaches, and does no "
        "firewall stand between? By default it listens on 127.0.0.1 only"
    )


def _encryption(address: Address, access: Access) -> Finding:
    what = "encryption"
    speaks_tls = _speaks_tls(address)
    if not address.is_encrypted:
        cure = f"use {address._replace(scheme=f'{address.scheme}s').url}"
        return Finding(what, not speaks_tls, "TLS" if speaks_tls else "none", cure)
    if not speaks_tls:
        cure = f"use {address._replace(scheme=address.protocol).url}, if that is meant"
        return Finding(what, False, "the server has no TLS", cure)
    try:
        context = access.context()
        raw = socket.create_connection((address.host, address.port), _TIMEOUT)
        with raw, context.wrap_socket(raw, server_hostname=address.name or address.host) as line:
            found = line.getpeercert() or {}
    except InputError as error:
        return Finding(what, False, str(error), "TRACKSERVE_CA, _CERT and _KEY name PEM files")
    except ssl.SSLCertVerificationError as error:
        cure = (
            "TRACKSERVE_CA names the file of the authority that signed the server's certificate; "
            "the certificate has the name that stands in the url"
        )
        return Finding(what, False, error.verify_message or str(error), cure)
    except OSError as error:
        return Finding(what, False, str(error), "TRACKSERVE_CERT and _KEY: this client's own")
    subjects: Any = found.get("subjectAltName", ())
    names = ", ".join(str(name) for _, name in subjects)
    return Finding(what, True, f"TLS, for {names}, until {found.get('notAfter')}")


def _speaks_tls(address: Address) -> bool:
    """Whether the port answers a greeting of TLS, whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        raw = socket.create_connection((address.host, address.port), _TIMEOUT)
        with raw, context.wrap_socket(raw):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _protocol(address: Address, access: Access) -> Finding:
    """A server that is not ready answers too, but no client can use it."""
    what = f"{address.protocol} there"
    if _is_ready(address, access):
        return Finding(what, True, "ready")
    other = address._replace(scheme=_OTHER[address.scheme])
    if _is_ready(other, access):
        return Finding(what, False, f"it speaks {other.protocol}", f"use {other.url}")
    found = _asked(address, access, lambda transport: transport.models(_TIMEOUT))
    if isinstance(found, AccessDenied):
        return _denied(what, found)
    seen = str(found) if isinstance(found, TrackserveError) else "it answers, and is not ready"
    return Finding(what, False, seen, "it loads its models, or drains; or the port is another's")


def _models(address: Address, access: Access) -> Finding:
    what = "models"
    from trackserve.client import Client

    try:
        with Client(address.url, timeout=_TIMEOUT, access=access) as client:
            found = client.models()
            how = client.transport
    except AccessDenied as error:
        return _denied(what, error)
    except TrackserveError as error:
        return Finding(what, False, str(error), "the server's log says more")
    texts = [f"{name}: {identity or 'without identity'}" for name, identity in found.items()]
    return Finding(what, bool(texts), f"by {how}: {'; '.join(texts)}", "the server has none")


def _denied(what: str, error: AccessDenied) -> Finding:
    cure = "TRACKSERVE_TOKEN or TRACKSERVE_TOKEN_FILE: the token that the operator gave you"
    return Finding(what, False, str(error), cure)


def _is_ready(address: Address, access: Access) -> bool:
    return _asked(address, access, lambda transport: transport.ready(_TIMEOUT)) is True


def _asked(address: Address, access: Access, ask: Callable[..., object]) -> object:
    """The answer to a question, or the error."""
    from trackserve.client.connect import connect

    try:
        transport = connect(address, address.protocol, access, own=True)
    except TrackserveError as error:
        return error
    try:
        return ask(transport)
    except TrackserveError as error:
        return error
    finally:
        transport.close()
