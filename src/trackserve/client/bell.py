"""Small HTTP exchanges with a server on this host, over sockets that stay open.

This is the doorbell of shared memory: a message says where the tensors lie, and the reply says
that they are there. So messages are small, and a reply is mostly one piece.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from trackserve.errors import DeadlineExceeded, ServerError, ServerUnavailable, TrackserveError

from .transport import CONNECT_TIMEOUT, closed, socket_timeout, time_left

_TICK = 0.05
"""Seconds. So late may a deadline be noticed that is set while others are waited for."""
_READ_AT_ONCE = 1 << 16
_END_OF_HEAD = b"\r\n\r\n"
_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\ncontent-length: *(\d+)\r\n", re.I | re.S)


class Reply(NamedTuple):
    """The status and the body of an HTTP response."""

    status: int
    body: bytes


Done = Callable[[Reply | TrackserveError], None]


class _Malformed(Exception):
    """The bytes that arrived are no reply."""


class _Line:
    """A connection; it carries one exchange after the other."""

    def __init__(self, address: tuple[str, int], timeout: float) -> None:
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.has_answered = False
        self.is_hung_up = False
        self.received = bytearray()

    def send(self, message: bytes, timeout: float | None) -> None:
        """Send a message; begin to wait for its reply."""
        self.received.clear()
        self.socket.settimeout(timeout)
        self.socket.sendall(message)

    def receive(self) -> Reply | None:
        """Read what is there; return the reply if it is whole."""
        piece = self.socket.recv(_READ_AT_ONCE)
        if not piece:
            raise ConnectionError("the server hung up")
        self.received += piece
        end = self.received.find(_END_OF_HEAD)
        if end < 0:
            return None
        head = _HEAD.match(self.received[: end + len(_END_OF_HEAD)])
        if head is None:
            raise _Malformed(bytes(self.received[:80]))
        body = self.received[end + len(_END_OF_HEAD) :]
        if len(body) < int(head[2]):
            return None
        if len(body) > int(head[2]):
            raise _Malformed("the reply is longer than it says")
        self.has_answered = True
        return Reply(int(head[1]), bytes(body))

    def hang_up(self) -> None:
        """End the exchange, from any thread."""
        self.is_hung_up = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Ring:
    """An exchange that nobody waits for in a thread of his own."""

    def __init__(self, message: bytes, deadline: float, done: Done) -> None:
        self.message = message
        self.deadline = deadline
        self.done = done
        self.line: _Line | None = None
        self.is_given_up = False


class Bell:
    """The connections to one server.

    A reply to :meth:`call` is read by its caller, replies to :meth:`submit` by one thread. An
    idle connection may turn out to be closed: then the message is sent again by a new one.

    Args:
        host, port: address of Triton's HTTP service.
    """

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._address = host, port
        self._lock = threading.Lock()
        self._started = threading.Condition(self._lock)
        self._closed = False
        self._idle: list[_Line] = []
        self._busy: set[_Line] = set()
        self._rings: dict[int, Ring] = {}
        self._epoll = select.epoll()
        self._thread: threading.Thread | None = None

    def call(self, message: bytes, deadline: float) -> Reply:
        """The reply to ``message``, before ``deadline`` by :func:`time.monotonic`.

        Raises:
            DeadlineExceeded, ServerUnavailable, ServerError, Cancelled: there is none.
        """
        reply = None
        while reply is None:
            line = None
            try:
                line = self._take(deadline)
                line.send(message, socket_timeout(deadline))
                while reply is None:
                    line.socket.settimeout(socket_timeout(deadline))
                    reply = line.receive()
            except Exception as error:
                failure = self._failure(line, error)
                if failure is not None:
                    raise failure from error
            finally:
                self._give_back(line, reply is not None)
        return reply

    def submit(self, message: bytes, deadline: float, done: Done) -> Ring:
        """Send a message; do not wait.

        Args:
            message: the HTTP request.
            deadline: by :func:`time.monotonic`.
            done: called once, mostly in a thread of the bell, with the reply or the error.
        """
        ring = Ring(message, deadline, done)
        self._start(ring)
        return ring

    def hang_up(self, ring: Ring) -> None:
        """End an exchange, if it has not ended."""
        with self._lock:
            ring.is_given_up = True
            if ring.line is not None:
                ring.line.hang_up()

    def close(self) -> None:
        """End all exchanges."""
        with self._lock:
            self._closed = True
            for line in (*self._idle, *self._busy):
                line.hang_up()
            self._started.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        for line in self._idle:
            line.socket.close()
        self._epoll.close()

    def _take(self, deadline: float) -> _Line:
        """An idle connection, or a new one."""
        with self._lock:
            if self._closed:
                raise closed(self.url)
            if self._idle:
                line = self._idle.pop()
                self._busy.add(line)
                return line
        limit = min(time_left(deadline), CONNECT_TIMEOUT)
        try:
            line = _Line(self._address, limit)
        except TimeoutError as error:
            time_left(deadline)
            raise ConnectionError(f"no connection in {CONNECT_TIMEOUT:g} s") from error
        with self._lock:
            self._busy.add(line)
            if self._closed:  # too late for close() to hang up
                line.hang_up()
        return line

    def _give_back(self, line: _Line | None, is_good: bool) -> None:
        if line is None:
            return
        with self._lock:
            self._busy.discard(line)
            if is_good and not self._closed and not line.is_hung_up:
                self._idle.append(line)
                return
        line.socket.close()

    def _failure(self, line: _Line | None, error: Exception) -> TrackserveError | None:
        """The error of an exchange that failed; None if it is worth another connection."""
        if isinstance(error, TrackserveError):
            return error
        if self._closed:
            return closed(self.url)
        if isinstance(error, TimeoutError):
            return DeadlineExceeded("no answer in time", url=self.url)
        if isinstance(error, _Malformed):
            return ServerError(f"malformed reply: {error}", url=self.url)
        if line is not None and line.has_answered and not (line.received or line.is_hung_up):
            return None
        return ServerUnavailable(f"no answer: {str(error) or type(error).__name__}", url=self.url)

    def _start(self, ring: Ring) -> None:
        """Send the message of a ring, and let the thread wait for its reply."""
        while True:
            line = None
            try:
                line = self._take(ring.deadline)
                line.send(ring.message, socket_timeout(ring.deadline))
                line.socket.setblocking(False)
                self._expect(ring, line)
                return
            except Exception as error:
                self._give_back(line, False)
                failure = self._failure(line, error)
                if failure is not None:
                    ring.done(failure)
                    return

    def _expect(self, ring: Ring, line: _Line) -> None:
        with self._lock:  # the thread must not end the exchange, and close its socket, meanwhile
            if self._closed:  # the thread may have ended
                raise closed(self.url)
            if ring.is_given_up:
                line.hang_up()
            number = line.socket.fileno()
            once = select.EPOLLIN | select.EPOLLONESHOT
            try:
                self._epoll.modify(number, once)
            except FileNotFoundError:
                self._epoll.register(number, once)
            ring.line = line
            self._rings[number] = ring
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="bell", daemon=True)
                self._thread.start()
            elif len(self._rings) == 1:
                self._started.notify()

    def _listen(self) -> None:
        """Read replies until the bell is closed."""
        while True:
            with self._lock:
                self._started.wait_for(lambda: self._rings or self._closed)
                if not self._rings:
                    return
                first = min(ring.deadline for ring in self._rings.values())
            for number, _ in self._epoll.poll(min(max(first - time.monotonic(), 0), _TICK)):
                self._hear(number)
            now = time.monotonic()
            with self._lock:
                late = [number for number, ring in self._rings.items() if ring.deadline <= now]
            for number in late:
                self._end(number, TimeoutError())

    def _hear(self, number: int) -> None:
        with self._lock:
            ring = self._rings.get(number)
        if ring is None or ring.line is None:
            return
        try:
            reply = ring.line.receive()
        except BlockingIOError:
            reply = None
        except Exception as error:
            self._end(number, error)
            return
        if reply is None:
            self._epoll.modify(number, select.EPOLLIN | select.EPOLLONESHOT)
        else:
            self._end(number, reply)

    def _end(self, number: int, outcome: Reply | Exception) -> None:
        with self._lock:
            ring = self._rings.pop(number)
            line, ring.line = ring.line, None
        self._give_back(line, isinstance(outcome, Reply))
        if isinstance(outcome, Reply):
            ring.done(outcome)
            return
        failure = self._failure(line, outcome)
        if failure is None:
            self._start(ring)
        else:
            ring.done(failure)
