"""A TCP proxy that delays, stalls, cuts and forgets connections, for tests and studies."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple, Self

_CHUNK = 1 << 18
_BACKLOG = 128


class Link(NamedTuple):
    """A connection through the proxy: its two sockets."""

    client: socket.socket
    server: socket.socket

    def hang_up(self) -> None:
        """Close both sides; both ends see that the connection is over."""
        for side in self:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Proxy:
    """A TCP proxy on a free port of 127.0.0.1; a context manager.

    Args:
        host, port: where it connects to.

    Attributes:
        delay: seconds by which each byte comes later, each way; the throughput is the same.
        target: host and port of new connections; may be changed.
    """

    def __init__(self, host: str, port: int) -> None:
        self.delay = 0.0
        self.target = host, port
        self._flows = threading.Event()
        self._flows.set()
        self._lock = threading.Lock()
        self._links: set[Link] = set()
        self._lost: set[Link] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port = int(self._listener.getsockname()[1])

    def stall(self) -> None:
        """Let no byte through until :meth:`flow`; new connections are taken and stall too."""
        self._flows.clear()

    def flow(self) -> None:
        """End :meth:`stall`."""
        self._flows.set()

    def cut(self) -> int:
        """Close all connections; return their number."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.hang_up()
        return len(links)

    def lose(self) -> int:
        """Let no byte through the present connections ever again, but close none.

        To the client they look open, as after a host has vanished. New connections work.

        Returns:
            their number.
        """
        with self._lock:
            self._lost |= self._links
            return len(self._links)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flow()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            link = Link(client, server)
            for side in link:
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._links.add(link)
            for source, sink in ((client, server), (server, client)):
                _Way(self, link, source, sink)

    def lets_through(self, link: Link) -> bool:
        """Wait while the proxy stalls; return whether bytes of ``link`` still get through."""
        self._flows.wait()
        return link not in self._lost

    def forget(self, link: Link) -> None:
        """One direction of a connection has ended; the second one to end closes it."""
        if link in self._lost:
            return
        link.hang_up()
        with self._lock:
            is_first = link in self._links
            self._links.discard(link)
        if not is_first:
            for side in link:
                side.close()


class _Way:
    """One direction of a connection: a thread that reads, and one that writes later."""

    def __init__(
        self, proxy: Proxy, link: Link, source: socket.socket, sink: socket.socket
    ) -> None:
        self._proxy = proxy
        self._link = link
        self._source = source
        self._sink = sink
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, bytes]] = deque()
        for step in (self._read, self._write):
            threading.Thread(target=step, daemon=True).start()

    def _read(self) -> None:
        data = b"first"
        while data:
            try:
                data = self._source.recv(_CHUNK)
            except OSError:
                data = b""
            with self._changed:
                self._waiting.append((time.monotonic() + self._proxy.delay, data))
                self._changed.notify()

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                due, data = self._waiting.popleft()
            time.sleep(max(0.0, due - time.monotonic()))
            if not self._proxy.lets_through(self._link):
                return
            try:
                if not data:
                    break
                self._sink.sendall(data)
            except OSError:
                break
        self._proxy.forget(self._link)
