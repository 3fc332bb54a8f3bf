"""Small HTTP exchanges with a server on this host, over sockets that stay open.

This is the doorbell of shared memory: a message says where the tensors lie, and the reply says
that they are there. So messages are small, and a reply is mostly one piece.

A connection blocks nobody: sending and reading never wait, :func:`select.poll` and epoll do.
"""

from __future__ import annotations

import math
import os
import re
import select
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple

from trackserve.errors import DeadlineExceeded, ServerError, ServerUnavailable, TrackserveError

from .transport import CONNECT_TIMEOUT, closed, time_left

TICK = 0.05
"""Seconds. So late may a deadline be noticed that is set while others are waited for."""
_LONGEST_WAIT = 3600.0
"""Seconds; the system takes no time that is much longer."""
_READ_AT_ONCE = 1 << 12
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

    def __init__(self, bell: Bell, address: tuple[str, int], timeout: float) -> None:
        self.bell = bell
        self.socket = socket.create_connection(address, timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(None)
        self.number = self.socket.fileno()
        self.ear: Ear | None = None
        """Who hears of its replies; None: nobody does."""
        self.has_answered = False
        self.is_hung_up = False
        self.received = b""
        self._poll = select.poll()
        self._poll.register(self.number, select.POLLIN)

    def send(self, message: bytes) -> None:
        """Send a message, which has room in the system's buffer; begin to wait for its reply."""
        self.received = b""
        if self.socket.send(message, socket.MSG_DONTWAIT) != len(message):
            raise ConnectionError("the request is too long")

    def receive(self) -> Reply | None:
        """Read what is there; return the reply if it is whole.

        Raises:
            BlockingIOError: nothing is there.
        """
        piece = self.socket.recv(_READ_AT_ONCE, socket.MSG_DONTWAIT)
        if not piece:
            raise ConnectionError("the server hung up")
        self.received = received = self.received + piece if self.received else piece
        begin = received.find(_END_OF_HEAD) + len(_END_OF_HEAD)
        if begin < len(_END_OF_HEAD):
            return None
        status, length = _read_head(received[:begin])
        if len(received) < begin + length:
            return None
        if len(received) > begin + length:
            raise _Malformed("the reply is longer than it says")
        self.has_answered = True
        return Reply(status, received[begin:])

    def wait(self, deadline: float) -> Reply:
        """Wait for the reply.

        Raises:
            TimeoutError: the deadline is over.
        """
        reply = None
        while reply is None:
            left = min(time_left(deadline), _LONGEST_WAIT)
            if self._poll.poll(math.ceil(1e3 * left)):
                with suppress(BlockingIOError):
                    reply = self.receive()
        return reply

    def hang_up(self) -> None:
        """End the exchange, from any thread."""
        self.is_hung_up = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


@lru_cache
def _read_head(head: bytes) -> tuple[int, int]:
    """The status of a reply, and the length of its body."""
    match = _HEAD.match(head)
    if match is None:
        raise _Malformed(head[:80])
    return int(match[1]), int(match[2])


class Ring:
    """An exchange that nobody waits for in a thread of his own."""

    def __init__(self, bell: Bell, ear: Ear, message: bytes, deadline: float, done: Done) -> None:
        self.bell = bell
        self.ear = ear
        self.message = message
        self.deadline = deadline
        self.done = done
        self.line: _Line | None = None
        self.is_given_up = False


class Ear:
    """Hears of the replies to exchanges that any threads begin, in the thread that listens."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_closed = False
        self.rings: dict[int, Ring] = {}
        """Exchanges in flight, by the number of their connection."""
        self._lines: dict[int, _Line] = {}
        """Connections that it hears of, also idle ones, by number."""
        self._sleeps = False
        """Whether who listens does so without a limit, and is to be woken by the first ring."""
        self._hears_in = 0
        """The thread that ends exchanges now; 0: none does."""
        self._look = 0.0
        self._epoll = select.epoll()
        self._alarm = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._alarm, select.EPOLLIN)

    def start(self, ring: Ring) -> None:
        """Send the message of a ring; its outcome will be heard."""
        while True:
            line = None
            try:
                line = ring.bell.take(ring.deadline, self)
                self._send(ring, line)
                return
            except Exception as error:
                ring.bell.give_back(line, False)
                failure = ring.bell.failure(line, error)
                if failure is not None:
                    ring.done(failure)
                    return

    def hang_up(self, ring: Ring) -> None:
        """End an exchange, if it has not ended."""
        with self.lock:
            ring.is_given_up = True
            if ring.line is not None:
                ring.line.hang_up()

    def wake(self) -> None:
        """End the wait of the thread that listens, from any thread."""
        if self._hears_in == threading.get_ident():
            return  # it does not wait
        with self.lock:
            if not self.is_closed:
                os.eventfd_write(self._alarm, 1)

    def listen(self, timeout: float | None) -> None:
        """Wait for a reply, for :meth:`wake` or for so many seconds, and end what has ended."""
        if self.rings and (timeout is None or timeout > TICK):
            timeout = TICK
        found = self._epoll.poll(timeout)
        self._hears_in = threading.get_ident()
        try:
            for number, _ in found:
                if number == self._alarm:
                    os.eventfd_read(self._alarm)
                else:
                    self._hear(number)
            self._end_late_ones()
        finally:
            self._hears_in = 0

    def listen_until_closed(self) -> None:
        """Listen in a thread of its own."""
        while True:
            with self.lock:
                if self.is_closed and not self.rings:
                    break
                self._sleeps = not self.rings
            self.listen(None)
        self.close()

    def refuse(self) -> None:
        """Begin no exchange any more; :meth:`listen_until_closed` ends with the last one."""
        with self.lock:
            if not self.is_closed:
                self.is_closed = True
                os.eventfd_write(self._alarm, 1)

    def close(self) -> None:
        """End all exchanges, in the thread that listens."""
        if self._epoll.closed:
            return
        with self.lock:
            self.is_closed = True
        for number, ring in list(self.rings.items()):
            self.hang_up(ring)
            self._end(number, ConnectionError("given up"))
        self._epoll.close()
        os.close(self._alarm)
        for line in self._lines.values():
            line.ear = None
        for bell in {line.bell for line in self._lines.values()}:
            bell.leave(self)

    def forget(self, line: _Line) -> None:
        """Hear no more of a connection."""
        if self._lines.pop(line.number, None) and not self._epoll.closed:
            self._epoll.unregister(line.number)

    def _send(self, ring: Ring, line: _Line) -> None:
        with self.lock:  # who listens must not end the exchange, and close its socket, meanwhile
            if self.is_closed:
                raise closed(ring.bell.url)
            if line.ear is None:
                self._epoll.register(line.number, select.EPOLLIN)
                self._lines[line.number] = line
                line.ear = self
            line.send(ring.message)
            if ring.is_given_up:
                line.hang_up()
            ring.line = line
            self.rings[line.number] = ring
            if self._sleeps:
                self._sleeps = False
                os.eventfd_write(self._alarm, 1)

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        if now < self._look:
            return
        self._look = now + TICK
        with self.lock:
            late = [number for number, ring in self.rings.items() if ring.deadline <= now]
        for number in late:
            self._end(number, TimeoutError())

    def _hear(self, number: int) -> None:
        line = self._lines.get(number)
        if line is None:
            return
        if number not in self.rings:  # the connection is idle, and the server has closed it
            line.bell.drop(line)
            return
        try:
            reply = line.receive()
        except BlockingIOError:
            return
        except Exception as error:
            self._end(number, error)
            return
        if reply is not None:
            self._end(number, reply)

    def _end(self, number: int, outcome: Reply | Exception) -> None:
        with self.lock:
            ring = self.rings.pop(number)
            line, ring.line = ring.line, None
        ring.bell.give_back(line, isinstance(outcome, Reply))
        if isinstance(outcome, Reply):
            ring.done(outcome)
            return
        failure = ring.bell.failure(line, outcome)
        if failure is None:
            self.start(ring)
        else:
            ring.done(failure)


class Bell:
    """The connections to one server.

    A reply to :meth:`call` is read by its caller, replies to :meth:`submit` by an ear. An idle
    connection may turn out to be closed: then the message is sent again by a new one.

    Args:
        host, port: address of Triton's HTTP service.
    """

    def __init__(self, host: str, port: int) -> None:
        self.url = f"http://{host}:{port}"
        self._address = host, port
        self._lock = threading.Lock()
        self._closed = False
        self._idle: defaultdict[Ear | None, list[_Line]] = defaultdict(list)
        """Connections that are free, by the ear that hears of them."""
        self._busy: set[_Line] = set()
        self.ear = Ear()
        """The ear with a thread of its own."""
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
                line = self.take(deadline)
                line.send(message)
                reply = line.wait(deadline)
            except Exception as error:
                failure = self.failure(line, error)
                if failure is not None:
                    raise failure from error
            finally:
                self.give_back(line, reply is not None)
        return reply

    def submit(self, message: bytes, deadline: float, done: Done, ear: Ear | None = None) -> Ring:
        """Send a message; do not wait.

        Args:
            message: the HTTP request.
            deadline: by :func:`time.monotonic`.
            done: called once, mostly in the thread that listens, with the reply or the error.
            ear: hears of the reply; None: that of the bell, with a thread of its own.
        """
        ring = Ring(self, ear or self.ear, message, deadline, done)
        if ear is None and self._thread is None:
            self._start_thread()
        ring.ear.start(ring)
        return ring

    def close(self) -> None:
        """End all exchanges; those of other ears end as these listen."""
        with self._lock:
            self._closed = True
            for line in (*self._busy, *(line for lines in self._idle.values() for line in lines)):
                line.hang_up()
            thread = self._thread
        self.ear.refuse()
        if thread is None:
            self.ear.close()
        elif thread is not threading.current_thread():
            thread.join()
        with self._lock:
            idle = self._idle.pop(None, [])
        for line in idle:
            line.socket.close()

    def take(self, deadline: float, ear: Ear | None = None) -> _Line:
        """An idle connection that ``ear`` hears of or nobody does, or a new one."""
        with self._lock:
            if self._closed:
                raise closed(self.url)
            idle = self._idle.get(ear) or self._idle[None]
            if idle:
                line = idle.pop()
                self._busy.add(line)
                return line
        limit = min(time_left(deadline), CONNECT_TIMEOUT)
        try:
            line = _Line(self, self._address, limit)
        except TimeoutError as error:
            time_left(deadline)
            raise ConnectionError(f"no connection in {CONNECT_TIMEOUT:g} s") from error
        with self._lock:
            self._busy.add(line)
            if self._closed:  # too late for close() to hang up
                line.hang_up()
        return line

    def give_back(self, line: _Line | None, is_good: bool) -> None:
        """Take back a connection after an exchange; one that is not good is closed."""
        if line is None:
            return
        with self._lock:
            self._busy.discard(line)
            if is_good and not self._closed and not line.is_hung_up:
                self._idle[line.ear].append(line)
                return
        if line.ear is not None:
            line.ear.forget(line)
        line.socket.close()

    def drop(self, line: _Line) -> None:
        """Close a connection if it is idle: the server has closed it."""
        with self._lock:
            if line not in self._idle.get(line.ear, ()):
                return
            self._idle[line.ear].remove(line)
        self.give_back(line, False)

    def leave(self, ear: Ear) -> None:
        """Let all have the idle connections of an ear that is closed."""
        with self._lock:
            idle = self._idle.pop(ear, [])
            if not self._closed:
                self._idle[None] += idle
                return
        for line in idle:
            line.socket.close()

    def failure(self, line: _Line | None, error: Exception) -> TrackserveError | None:
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

    def _start_thread(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                listen = self.ear.listen_until_closed
                self._thread = threading.Thread(target=listen, name="bell", daemon=True)
                self._thread.start()
