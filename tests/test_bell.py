"""The doorbell of shared memory: HTTP exchanges over sockets, and tickets of requests."""

from __future__ import annotations

import math
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.client import bell as bell_module
from trackserve.client.bell import Bell, Ear, Reply
from trackserve.client.shared_memory import SharedMemoryTransport
from trackserve.client.tickets import Tickets
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    ServerError,
    ServerUnavailable,
    TrackserveError,
)
from trackserve.serving.backend.tickets import TicketReader
from trackserve.serving.local import region_name
from trackserve.wire.address import Address
from trackserve.wire.ticket import TICKET_PLACES, Ticket, read_ticket

Serve = Callable[[socket.socket], None]


class Peer:
    """A server of sockets; each connection is served by a thread."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    def _run(self, connection: socket.socket) -> None:
        with connection, suppress(ConnectionError):
            self._serve(connection)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def ring_at() -> Iterator[Callable[[Serve], Bell]]:
    opened: list[Bell | Peer] = []

    def make(serve: Serve) -> Bell:
        peer = Peer(serve)
        bell = Bell("127.0.0.1", peer.port)
        bell.peer = peer  # type: ignore[attr-defined]
        opened.extend((bell, peer))
        return bell

    yield make
    for one in opened:
        one.close()


def requests(connection: socket.socket) -> Iterator[bytes]:
    """The bodies of the requests that arrive, each of one piece."""
    while data := connection.recv(1 << 16):
        yield data.rpartition(b"\r\n\r\n")[2]


def reply(body: bytes, status: str = "200 OK") -> bytes:
    head = f"HTTP/1.1 {status}\r\nX: y\r\nContent-Length: {len(body)}\r\nZ: z\r\n\r\n"
    return head.encode() + body


def message(body: bytes) -> bytes:
    return b"POST /x HTTP/1.1\r\n\r\n" + body


def echo(connection: socket.socket) -> None:
    for body in requests(connection):
        connection.sendall(reply(body))


def soon(seconds: float = 20.0) -> float:
    return time.monotonic() + seconds


def ring(bell: Bell, body: bytes, deadline: float) -> Future[Reply | TrackserveError]:
    """The outcome of a request that is not waited for."""
    outcome: Future[Reply | TrackserveError] = Future()
    bell.submit(message(body), deadline, outcome.set_result)
    return outcome


def both(bell: Bell, body: bytes, deadline: float) -> list[Reply | TrackserveError]:
    """The outcomes of a call and of a request that is not waited for."""
    outcomes: list[Reply | TrackserveError] = []
    try:
        outcomes.append(bell.call(message(body), deadline))
    except TrackserveError as error:
        outcomes.append(error)
    return [*outcomes, ring(bell, body, deadline).result(30)]


def test_everybody_gets_the_own_reply(ring_at: Callable[[Serve], Bell]) -> None:
    bell = ring_at(echo)

    def work(thread: int) -> None:
        for number in range(100):
            body = f"{thread}/{number}".encode()
            waiting = ring(bell, body + b" rung", math.inf)
            assert bell.call(message(body), soon()) == Reply(200, body)
            assert waiting.result(20) == Reply(200, body + b" rung")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    assert bell.peer.connections <= 12  # type: ignore[attr-defined]


@given(st.lists(st.integers(0, 200), max_size=6))
def test_a_reply_may_come_in_any_pieces(cuts: list[int]) -> None:
    body = bytes(range(10)) * 12

    def in_pieces(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in requests(connection):
            whole = reply(body)
            ends = [*sorted(cuts), len(whole)]
            for start, end in zip([0, *ends], ends, strict=False):
                connection.sendall(whole[start:end])
                time.sleep(0.0005)

    peer = Peer(in_pieces)
    bell = Bell("127.0.0.1", peer.port)
    try:
        assert both(bell, b"x", soon()) == [Reply(200, body)] * 2
    finally:
        bell.close()
        peer.close()


def test_the_status_of_a_refusal_arrives(ring_at: Callable[[Serve], Bell]) -> None:
    bell = ring_at(lambda c: [c.sendall(reply(b"no", "503 Busy")) for _ in requests(c)] and None)
    assert both(bell, b"x", soon()) == [Reply(503, b"no")] * 2


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        reply(b"ab") + b"c",
    ],
)
def test_a_malformed_reply_is_an_error(ring_at: Callable[[Serve], Bell], answer: bytes) -> None:
    bell = ring_at(lambda c: [c.sendall(answer) for _ in requests(c)] and None)
    for outcome in both(bell, b"x", soon()):
        assert type(outcome) is ServerError
        assert "malformed" in outcome.message


def test_nobody_waits_beyond_the_deadline(ring_at: Callable[[Serve], Bell]) -> None:
    bell = ring_at(lambda c: [time.sleep(60) for _ in requests(c)] and None)
    start = time.monotonic()
    waiting = [ring(bell, b"x", soon(30)), ring(bell, b"x", soon(0.3))]
    with pytest.raises(DeadlineExceeded):
        bell.call(message(b"x"), soon(0.3))
    assert isinstance(waiting[1].result(20), DeadlineExceeded)
    assert time.monotonic() - start < 15
    assert not waiting[0].done()
    for outcome in both(bell, b"x", soon(-1)):
        assert isinstance(outcome, DeadlineExceeded)


def test_a_reply_that_trickles_has_a_deadline(ring_at: Callable[[Serve], Bell]) -> None:
    def trickle(connection: socket.socket) -> None:
        for _ in requests(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                connection.sendall(b"x")
                time.sleep(0.05)

    bell = ring_at(trickle)
    for outcome in both(bell, b"x", soon(0.4)):
        assert isinstance(outcome, DeadlineExceeded)


def test_a_connection_that_was_closed_while_idle_is_replaced(
    ring_at: Callable[[Serve], Bell],
) -> None:
    def once(connection: socket.socket) -> None:
        connection.sendall(reply(next(requests(connection))))

    bell = ring_at(once)
    for number in range(20):
        assert both(bell, str(number).encode(), soon()) == [Reply(200, str(number).encode())] * 2


def test_a_server_that_hangs_up_is_unavailable(ring_at: Callable[[Serve], Bell]) -> None:
    bell = ring_at(lambda c: next(requests(c)) and None)
    for outcome in both(bell, b"x", soon()):
        assert isinstance(outcome, ServerUnavailable)
    bell.peer.close()  # type: ignore[attr-defined]
    for outcome in both(bell, b"x", soon()):
        assert isinstance(outcome, ServerUnavailable)


def test_half_a_reply_is_none(ring_at: Callable[[Serve], Bell]) -> None:
    bell = ring_at(lambda c: c.sendall(reply(next(requests(c)) * 9)[:-1]))
    for outcome in both(bell, b"x", soon()):
        assert isinstance(outcome, ServerUnavailable)


def test_close_ends_all(ring_at: Callable[[Serve], Bell]) -> None:
    bell = ring_at(lambda c: [time.sleep(60) for _ in requests(c)] and None)
    waiting = [ring(bell, b"x", math.inf) for _ in range(3)]
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(bell.call, message(b"x"), math.inf)
        time.sleep(0.2)
        bell.close()
        assert isinstance(call.exception(20), Cancelled)
    assert all(isinstance(outcome.result(20), Cancelled) for outcome in waiting)
    for outcome in both(bell, b"x", soon()):
        assert isinstance(outcome, Cancelled)


def test_to_hang_up_ends_one_exchange_and_no_other(ring_at: Callable[[Serve], Bell]) -> None:
    gone = threading.Event()

    def serve(connection: socket.socket) -> None:
        for body in requests(connection):
            if body != b"long":
                connection.sendall(reply(body))
        gone.set()

    bell = ring_at(serve)
    outcome: Future[Reply | TrackserveError] = Future()
    exchange = bell.submit(message(b"long"), math.inf, outcome.set_result)
    exchange.ear.hang_up(exchange)
    assert isinstance(outcome.result(20), ServerUnavailable)
    assert gone.wait(20)
    assert both(bell, b"short", soon()) == [Reply(200, b"short")] * 2
    exchange.ear.hang_up(exchange)  # it is over: nothing happens to others
    assert both(bell, b"short", soon()) == [Reply(200, b"short")] * 2


def test_a_server_that_ends_while_a_connection_is_idle_is_unavailable(
    ring_at: Callable[[Serve], Bell],
) -> None:
    bell = ring_at(lambda c: c.sendall(reply(next(requests(c)))))
    peer = bell.peer  # type: ignore[attr-defined]
    assert bell.call(message(b"x"), soon()) == Reply(200, b"x")
    peer._listener.shutdown(socket.SHUT_RDWR)
    peer.close()
    for outcome in both(bell, b"x", soon(5)):
        assert isinstance(outcome, ServerUnavailable)


def test_what_was_given_up_is_not_sent_again(ring_at: Callable[[Serve], Bell]) -> None:
    arrived: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        for body in requests(connection):
            arrived.append(body)
            if body != b"long":
                connection.sendall(reply(body))

    bell = ring_at(serve)
    assert bell.call(message(b"first"), soon()) == Reply(200, b"first")
    outcome: Future[Reply | TrackserveError] = Future()
    exchange = bell.submit(message(b"long"), soon(5), outcome.set_result)
    while b"long" not in arrived:
        time.sleep(0.01)
    exchange.ear.hang_up(exchange)
    assert isinstance(outcome.result(20), ServerUnavailable)
    assert both(bell, b"short", soon()) == [Reply(200, b"short")] * 2
    assert arrived.count(b"long") == 1


def test_a_connection_takes_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bell_module, "CONNECT_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        bell = Bell("127.0.0.1", port)
        with pytest.raises(ServerUnavailable):
            bell.call(message(b"x"), math.inf)
        with pytest.raises(DeadlineExceeded):
            bell.call(message(b"x"), soon(0.1))
        bell.close()
        for other in others:
            other.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


def test_a_thread_hears_its_replies_itself(ring_at: Callable[[Serve], Bell], ear: Ear) -> None:
    bell = ring_at(echo)
    heard: list[Reply | TrackserveError] = []
    threads: set[threading.Thread] = set()

    def done(reply: Reply | TrackserveError) -> None:
        threads.add(threading.current_thread())
        heard.append(reply)

    for number in range(30):
        bell.submit(message(str(number).encode()), soon(), done, ear)
        while len(heard) <= number:
            ear.listen(20.0)
    assert heard == [Reply(200, str(number).encode()) for number in range(30)]
    assert threads == {threading.current_thread()}
    assert bell.peer.connections == 1  # type: ignore[attr-defined]
    ear.close()
    assert bell.call(message(b"x"), soon()) == Reply(200, b"x")
    assert bell.peer.connections == 1  # type: ignore[attr-defined]


def test_an_ear_that_closes_ends_its_exchanges(ring_at: Callable[[Serve], Bell], ear: Ear) -> None:
    bell = ring_at(lambda c: [time.sleep(60) for _ in requests(c)] and None)
    outcomes: list[Reply | TrackserveError] = []
    for _ in range(3):
        bell.submit(message(b"x"), math.inf, outcomes.append, ear)
    bell.submit(message(b"x"), soon(0.05), outcomes.append, ear)
    while not outcomes:
        ear.listen(20.0)
    assert isinstance(outcomes[0], DeadlineExceeded)
    ear.close()
    assert [type(one) for one in outcomes[1:]] == [ServerUnavailable] * 3
    bell.submit(message(b"x"), soon(), outcomes.append, ear)
    assert isinstance(outcomes[4], Cancelled)


def test_others_end_the_wait_of_an_ear(ring_at: Callable[[Serve], Bell], ear: Ear) -> None:
    bell = ring_at(lambda c: [time.sleep(60) for _ in requests(c)] and None)
    threading.Timer(0.05, ear.wake).start()
    start = time.monotonic()
    ear.listen(None)
    assert time.monotonic() - start < 15
    outcomes: list[Reply | TrackserveError] = []
    bell.submit(message(b"x"), math.inf, outcomes.append, ear)
    threading.Timer(0.05, bell.close).start()
    while not outcomes:
        ear.listen(None)
    assert isinstance(outcomes[0], Cancelled)
    ear.close()
    ear.wake()  # too late: nothing happens


def test_an_ear_replaces_connections_that_were_closed_while_idle(
    ring_at: Callable[[Serve], Bell], ear: Ear
) -> None:
    bell = ring_at(lambda c: c.sendall(reply(next(requests(c)))))
    outcomes: list[Reply | TrackserveError] = []
    for number in range(10):
        bell.submit(message(b"x"), soon(), outcomes.append, ear)
        while len(outcomes) <= number:
            ear.listen(20.0)
        ear.listen(0.05 * (number % 2))  # hears that the server hung up, or does not
    assert outcomes == [Reply(200, b"x")] * 10


def test_a_transport_that_nobody_closed_leaves_nothing(ring_at: Callable[[Serve], Bell]) -> None:
    peer = ring_at(echo).peer  # type: ignore[attr-defined]
    transport = SharedMemoryTransport(Address("grpc", "127.0.0.1", 1))
    transport._port = peer.port
    bell, path = transport._bell(), transport._tickets._path
    assert bell
    assert both(bell, b"x", soon()) == [Reply(200, b"x")] * 2
    thread = bell._thread
    assert thread
    assert path.exists()
    del transport
    thread.join(20)
    assert not thread.is_alive()
    end = soon()
    while not bell.ear._epoll.closed and time.monotonic() < end:
        time.sleep(0.01)
    assert bell.ear._epoll.closed
    assert not path.exists()


def test_a_closed_transport_opens_no_bell(ring_at: Callable[[Serve], Bell]) -> None:
    transport = SharedMemoryTransport(Address("grpc", "127.0.0.1", 1))
    transport._port = ring_at(echo).peer.port  # type: ignore[attr-defined]
    transport.close()
    assert transport._bell() is None


# tickets


@given(st.from_regex(r"[\w-]{1,30}", fullmatch=True), st.integers(0, TICKET_PLACES - 1))
def test_a_ticket_is_its_text(file: str, place: int) -> None:
    ticket = Ticket(file, place, 17)
    assert read_ticket(str(ticket)) == ticket


@given(st.text(max_size=40))
def test_whoever_has_no_ticket_is_wanted(text: str) -> None:
    assert TicketReader().is_wanted(text)


def test_a_request_is_wanted_until_its_ticket_ends() -> None:
    tickets, reader = Tickets(), TicketReader()
    try:
        first, second = tickets.take(), tickets.take()
        assert first
        assert second
        assert reader.is_wanted(str(first))
        tickets.end(first)
        assert not reader.is_wanted(str(first))
        assert reader.is_wanted(str(second))
        again = tickets.take()
        assert again
        assert again.place == first.place
        assert reader.is_wanted(str(again))
        tickets.end(first)  # a second time
        assert reader.is_wanted(str(again))
        assert not reader.is_wanted(str(first))
    finally:
        tickets.close()
    assert not reader.is_wanted(str(second))


def test_there_are_only_so_many_tickets() -> None:
    tickets = Tickets()
    try:
        taken = [tickets.take() for _ in range(TICKET_PLACES)]
        assert None not in taken
        assert tickets.take() is None
        tickets.end(taken[5])
        assert tickets.take()
        tickets.end(None)
    finally:
        tickets.close()


def test_nobody_wants_what_a_dead_client_asked_for() -> None:
    code = (
        "import os, time; from trackserve.client.tickets import Tickets\n"
        "print(Tickets().take(), flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        text = client.stdout.readline().strip()
        ticket = read_ticket(text)
        assert ticket
        reader = TicketReader()
        assert reader.is_wanted(text)
        client.kill()
        client.wait()
        end = time.monotonic() + 20
        while reader.is_wanted(text) and time.monotonic() < end:
            time.sleep(0.05)
        assert not reader.is_wanted(text)
    (Path("/dev/shm") / ticket.file).unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"x" * 100])
def test_a_file_of_another_kind_tells_nothing(content: bytes) -> None:
    name = region_name()
    path = Path("/dev/shm") / name
    reader = TicketReader()
    assert reader.is_wanted(f"{name}:0:1")
    path.write_bytes(content)
    try:
        assert reader.is_wanted(f"{name}:0:1")
        target = path.with_name(region_name())
        target.symlink_to(path)
        assert reader.is_wanted(f"{target.name}:0:1")
        target.unlink()
    finally:
        path.unlink()


def test_without_room_there_are_no_tickets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackserve.client.tickets.SHARED_MEMORY", Path("/nowhere"))
    tickets = Tickets()
    assert tickets.take() is None
    tickets.close()


class SlowPoll:
    """An epoll object that takes a while to take a socket."""

    def __init__(self, poll: select.epoll) -> None:
        self._poll = poll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poll, name)

    def register(self, number: int, events: int) -> None:
        time.sleep(0.1)
        self._poll.register(number, events)


def test_a_deadline_that_passes_while_a_request_is_sent_is_one_error(
    ring_at: Callable[[Serve], Bell],
) -> None:
    bell = ring_at(lambda connection: time.sleep(1))
    later = ring(bell, b"x", soon(0.5))  # its thread listens
    bell.ear._epoll = SlowPoll(bell.ear._epoll)  # type: ignore[assignment]
    outcomes: list[Reply | TrackserveError] = []
    bell.submit(message(b"y"), soon(0.05), outcomes.append)
    assert isinstance(later.result(20), DeadlineExceeded)
    assert [type(one) for one in outcomes] == [DeadlineExceeded]
