"""The transport to one server, or to many."""

from __future__ import annotations

from functools import partial

from trackserve.errors import InputError
from trackserve.wire.access import NO_ACCESS, Access
from trackserve.wire.address import Address

from .exchange import Settings
from .grpc import GrpcTransport
from .http import HttpTransport
from .local import Fallback, Local
from .pool import Pool
from .servers import Fixed, Name, parse_servers
from .shared_memory import SharedMemoryTransport
from .transport import Transport

TRANSPORTS = ("auto", "grpc", "http", "shm")


def transport_name(address: Address, transport: str) -> str:
    """Name of the transport to a server, where ``transport`` may be "auto".

    Raises:
        InputError: there is no such transport, or it does not fit the address.
    """
    if transport not in TRANSPORTS:
        raise InputError("unknown transport", found=transport, bound=list(TRANSPORTS))
    if transport == "auto":
        is_near = address.protocol == "grpc" and address.is_loopback
        transport = "shm" if is_near else address.protocol
    if (transport == "http") != (address.protocol == "http"):
        raise InputError("the transport does not fit the url", found=transport, url=address.url)
    return transport


def connect(
    address: Address, transport: str, access: Access = NO_ACCESS, *, own: bool = False
) -> Transport:
    """A transport to the server at an address.

    Args:
        address: the address.
        transport: name of the transport, or "auto".
        access: means of access of the client.
        own: whether the connection is to be a new one; else gRPC may share one of this process.

    Raises:
        InputError: as of :func:`transport_name`; or the means of access are not there, or a token
            would travel without TLS.
    """
    name = transport_name(address, transport)
    access.check(address)
    if name == "http":
        return HttpTransport(address, access)
    if name == "shm":
        return SharedMemoryTransport(address, access, own=own)
    return GrpcTransport(address, access, own=own)


def connect_to(settings: Settings, transport: str, fallback: Fallback | None = None) -> Transport:
    """A transport to the server or the servers of a client.

    One address, without a fallback, is reached without anything in between.

    Args:
        settings: settings of the client.
        transport: name of the transport, or "auto": what fits each server.
        fallback: what answers in this process if no server can.

    Raises:
        InputError: a malformed url or fallback, a file of servers that cannot be read, a
            transport that does not exist or does not fit, or as of :func:`connect`.
    """
    sources = parse_servers(settings.url)
    here = None if fallback is None else Local(fallback)
    if len(sources) == 1 and isinstance(sources[0], Fixed) and here is None:
        return connect(sources[0].address, transport, settings.access)
    if transport not in TRANSPORTS:
        raise InputError("unknown transport", found=transport, bound=list(TRANSPORTS))
    for source in sources:
        if isinstance(source, Fixed | Name):
            transport_name(source.address, transport)
            settings.access.check(source.address)
    open = partial(connect, transport=transport, access=settings.access, own=True)
    return Pool(settings.url, sources, open, settings.counters, here, settings.retry)
