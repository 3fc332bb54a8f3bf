"""The clients: every way to a real server gives the direct answer, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import heapq
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from benchmarks.raw_words import first_feds
from trackserve.client import AsyncClient, Client, Timings
from trackserve.client import regions as regions_module
from trackserve.client.exchange import Settings, Task, time_for
from trackserve.client.shared_memory import OutputSizes
from trackserve.client.stream import Stream, StreamSettings
from trackserve.client.transport import Call, Request, failure
from trackserve.client.window import Window
from trackserve.edm import RawEvent
from trackserve.errors import (
    AccessDenied,
    Cancelled,
    DeadlineExceeded,
    EventDeadlineExceeded,
    EventError,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
    WireMismatch,
    encode,
)
from trackserve.serving import local
from trackserve.serving.limits import Limits
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.wire import version
from trackserve.wire.address import parse_url
from trackserve.wire.bundle import BUNDLE, join_answers, split_events
from trackserve.wire.codec import TIMING
from trackserve.wire.identity import UNCHECKED
from trackserve.wire.limits import STOPPED_BY, encode_limits
from trackserve.wire.tensors import encode_timing

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
TRANSPORTS = ("shm", "grpc", "http")
KEEP = ("hits",)
SLEEP = 0.02
TASK = Task("patatrack", CODEC, (), UNCHECKED)


@pytest.fixture(scope="module")
def small_server(
    tmp_path_factory: pytest.TempPathFactory, sample_directory: Path, backend: str
) -> Iterator[Server]:
    """A server that holds two events and refuses more."""
    written = tmp_path_factory.mktemp("small")
    options, limits = {"conditions": sample_directory}, Limits(workers=1, queue=2)
    write_model(written, "patatrack", options, limits=limits, backend=backend)
    with Server(written, **FREE, stop_timeout=0.5) as running:
        yield running


@pytest.fixture(scope="module")
def mixed(sample_events: list[RawEvent]) -> list[RawEvent]:
    """Events of many sizes, without FEDs to all FEDs, and a broken event."""
    cut = [first_feds(event, 15 * n) for n, event in enumerate(sample_events)]
    events = [*cut, *sample_events, replace(sample_events[0], data=sample_events[0].data[:-8])]
    random.Random(1).shuffle(events)
    return [replace(event, event=number) for number, event in enumerate(events)]


@pytest.fixture(scope="module")
def direct(pipeline: PatatrackPipeline, mixed: list[RawEvent]) -> list[Any]:
    return pipeline.run(mixed, KEEP)


client_alone = pytest.mark.parametrize("backend", ["python"], indirect=True)
"""Of tests of what a client does by itself, whichever backend answers."""


def url_of(server: Server, transport: str) -> str:
    return server.http_url if transport == "http" else server.grpc_url


def connect(server: Server, transport: str, **settings: Any) -> Client:
    return Client(url_of(server, transport), transport=transport, **settings)


def same(mine: Iterable[Any], theirs: Iterable[Any]) -> bool:
    """Whether two lists of results and errors are equal."""
    return all(
        repr(a) == repr(b) if isinstance(a, EventError) else a == b
        for a, b in zip(mine, theirs, strict=True)
    )


def registered(server: Server) -> list[str]:
    """The regions that the server holds for clients."""
    opened = local.find(int(server.grpc_url.rpartition(":")[2]))
    assert opened
    with InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as triton:
        status = triton.get_system_shared_memory_status(headers={opened.header: opened.value})
    return [name for name in status.regions if name.startswith("trackserve-client-")]


def files(process: int) -> list[Path]:
    """The files of the regions that a process made."""
    return list(Path("/dev/shm").glob(f"trackserve-client-{process}-*"))


def until(condition: Any, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(SLEEP)
    return True


# every way to the server


@pytest.mark.parametrize("in_flight", [1, 4, 64, None])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stream_equals_direct(
    server: Server,
    mixed: list[RawEvent],
    direct: list[Any],
    transport: str,
    in_flight: int | None,
) -> None:
    with connect(server, transport) as client:
        assert client.transport == transport
        for _ in range(2):  # the second time, shared memory is warm
            assert same(client.stream("patatrack", mixed, KEEP, in_flight=in_flight), direct)
    assert until(lambda: not registered(server), 2)
    assert not files(os.getpid())


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_events_that_share_requests_equal_direct(
    server: Server, mixed: list[RawEvent], direct: list[Any], transport: str
) -> None:
    """A broken event fails alone."""
    timings: list[Timings] = []

    async def run() -> list[Any]:
        async with AsyncClient(url_of(server, transport), transport=transport) as client:
            return [r async for r in client.stream("patatrack", mixed, KEEP, per_request=3)]

    assert same(asyncio.run(run()), direct)
    with connect(server, transport, on_timings=timings.append) as client:
        for in_flight, per_request in ((1, 5), (3, 2), (None, 7), (2, 1000)):
            found = client.stream(
                "patatrack", mixed, KEEP, in_flight=in_flight, per_request=per_request
            )
            assert same(found, direct)
    assert len(timings) == 4 * sum(not isinstance(result, EventError) for result in direct)
    for t in timings:
        assert min(t) >= 0
        assert abs(t.client + t.network + t.queue + t.compute - t.total) < 1e-9


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_stream_as_completed_has_every_answer_once(
    server: Server, mixed: list[RawEvent], direct: list[Any], transport: str
) -> None:
    with connect(server, transport) as client:
        answers = list(client.stream("patatrack", mixed, KEEP, in_flight=8, ordered=False))
    assert same(sorted(answers, key=lambda answer: answer.event), direct)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_async_client_equals_direct(
    server: Server, mixed: list[RawEvent], direct: list[Any], transport: str
) -> None:
    async def one(client: AsyncClient, event: RawEvent) -> Any:
        try:
            return await client.reconstruct("patatrack", event, KEEP)
        except EventError as error:
            return error

    async def trickle() -> Any:
        for event in mixed:
            await asyncio.sleep(0)
            yield event

    async def run() -> tuple[list[Any], list[Any], list[Any]]:
        async with AsyncClient(url_of(server, transport), transport=transport) as client:
            assert await client.ready()
            gathered = await asyncio.gather(*(one(client, event) for event in mixed))
            stream = client.stream("patatrack", mixed, KEEP)
            async_source = client.stream("patatrack", trickle(), KEEP, in_flight=4)
            return gathered, [a async for a in stream], [a async for a in async_source]

    for answers in asyncio.run(run()):
        assert same(answers, direct)


def test_answers_do_not_wait_for_the_next_event(
    server: Server, sample_events: list[RawEvent]
) -> None:
    """A live source: the answer comes although the next event does not."""

    async def source() -> Any:
        yield sample_events[0]
        await asyncio.Event().wait()

    async def run() -> Any:
        async with AsyncClient(server.grpc_url) as client:
            stream = client.stream("patatrack", source())
            return await asyncio.wait_for(anext(stream), 10)

    assert asyncio.run(run()).event == sample_events[0].event


def test_threads_and_processes_share_the_server(
    server: Server, sample_directory: Path, sample_events: list[RawEvent]
) -> None:
    """Two processes with ten threads each; a process has one client."""
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from trackserve import Client, PatatrackPipeline
from trackserve.io import read_events
events = list(read_events(sys.argv[2]))
direct = PatatrackPipeline.from_directory(sys.argv[2]).run(events)
with Client(sys.argv[1]) as client, ThreadPoolExecutor(10) as pool:
    served = list(pool.map(lambda event: client.reconstruct("patatrack", event), events * 5))
assert served == direct * 5
print(client.transport, len(served))
"""
    command = [sys.executable, "-c", code, server.grpc_url, str(sample_directory)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["shm 50\n"] * 2


# failures


def test_deadline(server: Server, sample_events: list[RawEvent]) -> None:
    for transport in TRANSPORTS:
        with connect(server, transport) as client:
            with pytest.raises(DeadlineExceeded):
                client.reconstruct("patatrack", sample_events[0], timeout=0.0005)
            one_request = client.stream(
                "patatrack", sample_events * 5, per_request=50, timeout=0.005
            )
            with pytest.raises(DeadlineExceeded):
                list(one_request)
            assert client.reconstruct("patatrack", sample_events[0]).event == 0


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nobody_there(scheme: str, sample_events: list[RawEvent]) -> None:
    with Client(f"{scheme}://127.0.0.1:1", timeout=10) as client:
        start = time.monotonic()
        assert not client.ready()
        with pytest.raises(ServerUnavailable) as caught:
            client.reconstruct("patatrack", sample_events[0])
        assert caught.value.url == f"{scheme}://127.0.0.1:1"
        with pytest.raises(ServerUnavailable):
            list(client.stream("patatrack", sample_events))
        assert time.monotonic() - start < 5


@client_alone
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_close_ends_what_is_in_flight(
    server: Server, sample_events: list[RawEvent], transport: str
) -> None:
    client = connect(server, transport, retry=False)
    with ThreadPoolExecutor(4) as pool:

        def work(number: int) -> int:
            done = 0
            while True:
                client.reconstruct("patatrack", sample_events[number], KEEP)
                done += 1

        working = [pool.submit(work, number) for number in range(4)]
        time.sleep(0.3)
        start = time.monotonic()
        client.close()
        assert time.monotonic() - start < 3
        assert all(isinstance(job.exception(5), Cancelled) for job in working)
    with pytest.raises(Cancelled):
        client.reconstruct("patatrack", sample_events[0])
    with pytest.raises(Cancelled):
        list(client.stream("patatrack", sample_events))
    assert until(lambda: not registered(server), 2)


@client_alone
def test_a_client_closes_its_connections(server: Server, sample_events: list[RawEvent]) -> None:
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always", ResourceWarning)
        with connect(server, "http") as client:
            list(client.stream("patatrack", sample_events))
        del client
        gc.collect()
    assert not [str(each.message) for each in left if "socket" in str(each.message)]


@client_alone
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("closes", [True, False], ids=["closed", "forgotten"])
def test_exit_does_not_hang(
    server: Server, sample_directory: Path, transport: str, closes: bool
) -> None:
    """A program that fails in the middle of a stream ends at once."""
    code = """
import itertools, sys
from trackserve import Client
from trackserve.io import read_events
client = Client(sys.argv[1], transport=sys.argv[3])
events = itertools.cycle(read_events(sys.argv[2]))
if sys.argv[4] == "True":
    client.__enter__()
stream = client.stream("patatrack", events, ["hits"], in_flight=20)
next(stream)
try:
    raise SystemExit(7)
finally:
    if sys.argv[4] == "True":
        client.__exit__(None, None, None)
"""
    arguments = [url_of(server, transport), str(sample_directory), transport, str(closes)]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *arguments], timeout=20, check=False)
    assert done.returncode == 7
    assert time.monotonic() - start < 8


def test_a_cancelled_task_frees_its_region(server: Server, sample_events: list[RawEvent]) -> None:
    async def run() -> PatatrackResult:
        async with AsyncClient(server.grpc_url) as client:
            for _ in range(3):
                await client.reconstruct("patatrack", sample_events[0], KEEP)
            tasks = [
                asyncio.create_task(client.reconstruct("patatrack", event, KEEP))
                for event in sample_events * 10
            ]
            await asyncio.sleep(0.005)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert any(isinstance(error, asyncio.CancelledError) for error in ended)
            return await client.reconstruct("patatrack", sample_events[1])

    assert asyncio.run(run()).event == 1
    assert until(lambda: not registered(server), 2)


@client_alone
def test_a_killed_client_leaves_nothing(
    server: Server, sample_directory: Path, sample_events: list[RawEvent]
) -> None:
    code = """
import itertools, sys
from trackserve import Client
from trackserve.io import read_events
client = Client(sys.argv[1])
events = itertools.cycle(read_events(sys.argv[2]))
for number, _ in enumerate(client.stream("patatrack", events, ["hits"], in_flight=50)):
    print(number, flush=True)
"""
    command = [sys.executable, "-c", code, server.grpc_url, str(sample_directory)]
    with Client(server.grpc_url) as other:
        before = other.reconstruct("patatrack", sample_events[0])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
            assert killed.stdout
            while killed.stdout.readline() != "60\n":
                pass
            assert len(registered(server)) > 10
            killed.send_signal(signal.SIGKILL)
        mine = f"trackserve-client-{os.getpid()}-"

        def clean() -> bool:
            return not files(killed.pid) and all(
                name.startswith(mine) for name in registered(server)
            )

        assert until(clean, 5)
        assert other.reconstruct("patatrack", sample_events[0]) == before


@client_alone
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_answer_that_its_user_drops_is_gone_at_once(
    server: Server, sample_events: list[RawEvent], transport: str
) -> None:
    """Not when Python looks for cycles next: the answers of seconds would stay in memory."""
    with connect(server, transport) as client:
        list(client.stream("patatrack", sample_events, in_flight=4))
        gc.collect()
        gc.disable()
        try:
            before = sum(issubclass(type(each), Call) for each in gc.get_objects())
            for _ in client.stream("patatrack", sample_events * 2, in_flight=4):
                pass
            for event in sample_events:
                client.submit("patatrack", event).result()
            after = sum(issubclass(type(each), Call) for each in gc.get_objects())
        finally:
            gc.enable()
    assert after - before <= 1  # the last one, in a thread that has just ended it


def test_answers_in_shared_memory_stay_what_they_are(
    server: Server,
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also when there are more of them than may stay there."""
    monkeypatch.setattr(regions_module, "_MAX_HANDED", 8 << 20)
    direct = pipeline.run(sample_events, KEEP)
    with connect(server, "shm") as client:
        for _ in range(3):  # until all regions are there
            kept = list(client.stream("patatrack", sample_events * 4, KEEP, in_flight=8))
        assert same(kept, direct * 4)
        bases = [each.tracks.state.base for each in kept]
        assert any(base.base is not None for base in bases)  # in shared memory, behind a view
        assert any(base.base is None for base in bases)  # copies
        del bases
        assert len(registered(server)) < 40
        kept = kept[:1]
        for result in client.stream("patatrack", sample_events * 4, KEEP, in_flight=8):
            assert result == direct[result.event]
        assert kept == direct[:1]


@client_alone
def test_a_fork_keeps_the_answers_that_it_has(
    server: Server, pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    direct = pipeline.run(sample_events)
    with connect(server, "shm") as client:
        for _ in range(3):
            mine = client.reconstruct("patatrack", sample_events[0])
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:  # waits until its parent has dropped the answer, and had many others
            os.read(heard, 1)
            os._exit(0 if mine == direct[0] else 1)
        del mine
        for _ in range(5):
            assert same(client.stream("patatrack", sample_events, in_flight=2), direct)
        os.write(told, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@client_alone
def test_regions_that_nobody_needs_are_given_up(
    server: Server, sample_events: list[RawEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Client(server.grpc_url) as client:
        expected = client.reconstruct("patatrack", sample_events[0], KEEP)
        for _ in range(3):
            list(client.stream("patatrack", sample_events * 2, KEEP, in_flight=16))
        assert len(registered(server)) > 4
        monkeypatch.setattr(regions_module, "_IDLE", 0.0)
        for _ in range(40):
            assert client.reconstruct("patatrack", sample_events[0], KEEP) == expected
        assert until(lambda: len(registered(server)) <= 2, 5)


@client_alone
def test_a_server_that_comes_back(repository: Path, sample_events: list[RawEvent]) -> None:
    """The regions are gone; the client notices, and waits until the server is back."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        ports = FREE | {"grpc_port": probe.getsockname()[1]}
    first = Server(repository, **ports)
    first.start()
    second = Server(repository, **ports)
    with Client(first.grpc_url) as client:
        expected = [client.reconstruct("patatrack", event, KEEP) for event in sample_events]
        first.stop()
        thread = threading.Thread(target=second.start)
        thread.start()
        try:
            for _ in range(2):
                stream = client.stream("patatrack", sample_events, KEEP, in_flight=4)
                assert list(stream) == expected
        finally:
            thread.join()
            second.stop()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_busy_server_is_asked_again(
    small_server: Server, sample_events: list[RawEvent], transport: str
) -> None:
    with connect(small_server, transport) as client:
        expected = [client.reconstruct("patatrack", event) for event in sample_events]
        for in_flight, per_request in ((16, 1), (None, None), (3, 5)):
            stream = client.stream(
                "patatrack", sample_events * 2, in_flight=in_flight, per_request=per_request
            )
            assert list(stream) == expected * 2
        with ThreadPoolExecutor(5) as pool:
            assert (
                list(pool.map(lambda event: client.reconstruct("patatrack", event), sample_events))
                == expected
            )
    with connect(small_server, transport, retry=False) as client, pytest.raises(ServerBusy) as busy:
        list(client.stream("patatrack", sample_events, in_flight=5, per_request=10))
    assert busy.value.bound == 2


@client_alone
def test_a_frozen_server_does_not_hold_its_clients(
    small_server: Server, sample_events: list[RawEvent]
) -> None:
    clients = [connect(small_server, transport, timeout=1) for transport in TRANSPORTS]
    for client in clients:
        for _ in range(2):
            client.reconstruct("patatrack", sample_events[0], KEEP, timeout=10)
    group = os.getpgid(small_server.pid or 0)
    os.killpg(group, signal.SIGSTOP)
    try:
        for client in clients:
            start = time.monotonic()
            with client, pytest.raises(DeadlineExceeded):
                list(client.stream("patatrack", sample_events, KEEP, in_flight=4))
            assert time.monotonic() - start < 4
    finally:
        os.killpg(group, signal.SIGCONT)


@client_alone
def test_without_shared_memory_grpc_does_it_all(
    server: Server,
    mixed: list[RawEvent],
    direct: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(regions_module, "_create", lambda size: None)
    with Client(server.grpc_url) as client:
        assert same(client.stream("patatrack", mixed, KEEP), direct)


@client_alone
def test_a_wrong_header_falls_back_to_grpc(
    server: Server, sample_events: list[RawEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stale file of another server."""
    stale = local.Local("triton-grpc-protocol-0", "0", 1, 1)
    monkeypatch.setattr(regions_module, "find", lambda port: stale)
    with Client(server.grpc_url) as client:
        for event in sample_events:
            assert client.reconstruct("patatrack", event, KEEP).event == event.event
    assert not registered(server)
    assert not files(os.getpid())


def test_timings_add_up(server: Server, sample_events: list[RawEvent]) -> None:
    for transport in TRANSPORTS:
        timings: list[Timings] = []
        with connect(server, transport, on_timings=timings.append) as client:
            outside = []
            for event in sample_events * 2:
                start = time.perf_counter()
                client.reconstruct("patatrack", event)
                outside.append(time.perf_counter() - start)
            list(client.stream("patatrack", sample_events, in_flight=4))
        assert [t.event for t in timings] == [e.event for e in sample_events * 3]
        for t in timings:
            assert min(t.client, t.network, t.queue, t.compute) > 0
            parts = t.client + t.network + t.queue + t.compute
            assert parts == pytest.approx(t.total)
        measured = sum(t.total for t in timings[: len(outside)])
        assert measured == pytest.approx(sum(outside), rel=0.1)


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("connection refused", "UNAVAILABLE", ServerUnavailable),
        ("Request for unknown model: 'patatrak' is not found", "NOT_FOUND", InputError),
        (
            "Request for unknown model: 'm' has no available versions",
            "NOT_FOUND",
            ServerUnavailable,
        ),
        ("Stub process 'x' is not healthy.", "INTERNAL", ServerUnavailable),
        ("Unable to find shared memory region: 'r'", "NOT_FOUND", ServerError),
        ("This protocol is restricted, expecting header 'x'", "UNAVAILABLE", AccessDenied),
        ("Exceeds maximum queue size", "UNAVAILABLE", ServerBusy),
        ("too late", "DEADLINE_EXCEEDED", DeadlineExceeded),
        ("wrong shape", "INVALID_ARGUMENT", InputError),
        ("anything", "INTERNAL", ServerError),
        (f"in front {encode(ServerBusy('full', bound=2))} behind", "UNAVAILABLE", ServerBusy),
        (f"{encode(EventError('bad', event=3))}", "INVALID_ARGUMENT", EventError),
        ("trackserve-error nonsense", "INTERNAL", ServerError),
    ],
)
def test_failures_have_types(text: str, status: str, kind: type[Exception]) -> None:
    assert type(failure(text, status=status, url="grpc://h:1")) is kind


@pytest.mark.parametrize(
    "url",
    [
        *("host:8001", "ftp://host:8001", "grpc://host", "grpc://:1", "grpc://h:1/x", ""),
        *("grpc://h:x", "http://user@host:1", "grpc://h:70000", "http://[::1:1"),
    ],
)
def test_malformed_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="malformed url"):
        Client(url)


def test_client_needs_no_compiler_and_no_server() -> None:
    code = "import sys, trackserve.client; print([m for m in sys.modules if m in {names!r}])"
    names = {
        "numba",
        "torch",
        "pytriton",
        "trackserve.trackers.patatrack",
        "trackserve.serving.server",
    }
    run = [sys.executable, "-c", code.format(names=names)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


@client_alone
def test_wrong_arguments(server: Server, sample_events: list[RawEvent]) -> None:
    for url, transport in (
        (server.grpc_url, "http"),
        (server.http_url, "shm"),
        (server.grpc_url, "udp"),
        ("ftp://h:1", "auto"),
    ):
        with pytest.raises(InputError):
            Client(url, transport=transport)
    with Client(server.grpc_url) as client:
        with pytest.raises(InputError, match="no such model"):
            client.reconstruct("exatrkx", sample_events[0])
        for arguments in ({"in_flight": 0}, {"keep": ["cells"]}):
            with pytest.raises(InputError):
                list(client.stream("patatrack", sample_events, **arguments))
    assert parse_url("grpc://[::1]:8001").target == "[::1]:8001"
    assert parse_url("grpc://Host:8001").host == "host"


# parts


@pytest.mark.parametrize("workers", [1, 2, 16])
@pytest.mark.parametrize("travel", [0.001, 0.05])
@pytest.mark.parametrize("n", [1, 2, 8])
def test_window_fills_the_workers_and_no_more(workers: int, travel: float, n: int) -> None:
    """A server of ``workers`` that take 10 ms per event, ``travel`` seconds away, and requests of
    ``n`` events."""
    compute = 0.01
    draw = random.Random(0)
    window = Window()
    free_at = [0.0] * workers
    flying: list[tuple[float, float, float]] = []
    sizes = []
    now = 0.0
    for _ in range(4000):
        while len(flying) < window.size:
            total = end = 0.0
            for _ in range(n):
                took = compute * draw.uniform(0.5, 1.5)
                start = max(now + travel / 2, heapq.heappop(free_at))
                heapq.heappush(free_at, start + took)
                total, end = total + took, max(end, start + took)
            heapq.heappush(flying, (end + travel / 2, now, total))
        now, sent, total = heapq.heappop(flying)
        round_trip = now - sent
        window.answered(
            round_trip=round_trip,
            server=round_trip - travel,
            service=total / min(n, workers),
            is_bundle=n > 1,
        )
        sizes.append(window.size)
    needed = workers * (1 + travel / compute) / n
    settled = np.mean(sizes[2000:])
    assert needed <= settled <= 2 * needed + 3 * max(1, workers / n)
    window.refused()
    assert window.size <= sizes[-1] // 2 + 1


class Nowhere:
    """A transport whose calls a test settles."""

    def __init__(self) -> None:
        self.name = "nowhere"
        self.calls: deque[tuple[Call, Request]] = deque()
        self.timeouts: list[float] = []

    def submit(self, request: Request, timeout: float) -> Call:
        self.calls.append((Call(), request))
        self.timeouts.append(timeout)
        return self.calls[-1][0]


def nowhere() -> tuple[Settings, Any]:
    return Settings("grpc://nowhere:1", 30.0, True, None), Nowhere()


def test_a_stream_sends_in_bursts_within_its_window(
    sample_events: list[RawEvent], sample_results: list[PatatrackResult]
) -> None:
    settings, transport = nowhere()
    calls = transport.calls
    stream = Stream(settings, transport, TASK, StreamSettings(per_request=1), lambda: None)
    timing = {TIMING.name: encode_timing(0.0, 1.0)}
    answer = CODEC.encode_result(sample_results[0], CODEC.output_names()) | timing
    bursts = []
    for _ in range(100):
        before = len(calls)
        while stream.wants_event:
            stream.start(sample_events[0])
        if len(calls) > before:
            bursts.append(len(calls) - before)
        assert len(calls) <= stream._window.size
        calls.popleft()[0].settle(answer)
        stream.advance()
        assert isinstance(stream.take(), PatatrackResult)
    assert min(bursts[5:]) >= 3


@pytest.mark.parametrize(("compute", "expected"), [(0.4, 1), (0.048, 2), (0.012, 8)])
def test_a_stream_finds_how_many_events_share_a_request(
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    compute: float,
    expected: int,
) -> None:
    settings, transport = nowhere()
    calls = transport.calls
    stream = Stream(settings, transport, TASK, StreamSettings(), lambda: None)
    timing = {TIMING.name: encode_timing(0.0, compute)}
    answer = CODEC.encode_result(sample_results[0], CODEC.output_names()) | timing
    sizes, n_started = [], 0
    while n_started < 200:
        while stream.wants_event:
            stream.start(sample_events[0])
            n_started += 1
        stream.flush()
        call, request = calls.popleft()
        if BUNDLE.name in request.inputs:
            events, outputs, _ = split_events(request.whole().inputs, CODEC.inputs, CODEC.outputs)
            assert outputs == [*CODEC.output_names(), TIMING.name]
            call.settle({BUNDLE.name: join_answers([answer] * len(events), 2)})
            sizes.append(len(events))
        else:
            call.settle(answer)
            sizes.append(1)
        stream.advance()
        for _ in range(sizes[-1]):
            assert isinstance(stream.take(), PatatrackResult)
    assert sizes[0] == 1
    assert max(sizes) == expected
    again = Stream(settings, transport, TASK, StreamSettings(), lambda: None)
    assert again._per_request == expected
    assert np.mean(sizes[10:]) > 0.7 * expected


def test_a_slow_source_does_not_fill_requests(
    sample_events: list[RawEvent], sample_results: list[PatatrackResult]
) -> None:
    settings, transport = nowhere()
    calls = transport.calls
    stream = Stream(settings, transport, TASK, StreamSettings(), lambda: None)
    timing = {TIMING.name: encode_timing(0.0, 0.001)}
    answer = CODEC.encode_result(sample_results[0], CODEC.output_names()) | timing
    for _ in range(20):
        assert stream.wants_event
        stream.start(sample_events[0])
        calls.popleft()[0].settle(answer)
        stream.advance()
        assert isinstance(stream.take(), PatatrackResult)
    stream.start(sample_events[0])
    stream.start(sample_events[0])
    ((first, _),) = calls  # the second waits for others, or for the end of the first
    first.settle(answer)
    stream.advance()
    assert len(calls) == 2


def test_a_request_lasts_until_the_last_deadline_of_its_events(
    sample_events: list[RawEvent],
) -> None:
    settings, transport = nowhere()
    task = TASK._replace(limits=PatatrackLimits(deadline=10.0))
    stream = Stream(settings, transport, task, StreamSettings(per_request=2), lambda: None)
    stream.start(sample_events[0])
    first = stream._exchanges[0]
    first.patience.begin -= 8
    stream.start(sample_events[1])
    assert first.left < 2.1
    assert 9 < transport.timeouts[0] < 10.1
    late = stream._exchanges[0].retry_after
    first.patience.begin -= 8
    with pytest.raises(EventDeadlineExceeded) as found:
        late(DeadlineExceeded("no answer in time"))
    assert found.value.origin.tries == 1
    first.patience.deadline = first.patience.begin + 19
    assert time_for(list(stream._exchanges.values())) < 4


def test_sizes_are_learnt() -> None:
    sizes = OutputSizes()
    request = Request("m", {"raw": np.zeros(300_000, np.uint8)}, ["tracks", "few"])
    assert sizes.layout(request) is None
    answer = {"tracks": np.zeros(10_000, np.float32), "few": np.zeros(7, np.float32)}
    sizes.learn(request, answer)
    layout = sizes.layout(request)
    assert layout
    assert set(layout.inputs) == {"raw"}
    tracks, few = layout.outputs["tracks"], layout.outputs["few"]
    assert tracks.size >= 40_000
    assert few.size >= 28
    assert tracks.offset >= 300_000
    assert tracks.offset + tracks.size <= few.offset <= layout.size - few.size
    empty = request._replace(inputs={"raw": np.zeros(0, np.uint8)})
    assert sizes.layout(empty) is None


def test_freed_memory_is_kept() -> None:
    code = """
import resource
import numpy as np
from trackserve.client import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        np.ones(1 << 20, np.uint8), np.ones(1 << 22, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
keep_freed_memory()
faults()
print(faults())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100


def test_only_its_user_finds_a_local_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert local.find(1) is None
    server = local.Local("header", "value", 3, 4)
    assert local.publish(1, server)
    assert local.find(1) == server
    file = tmp_path / "trackserve" / "1.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    file.chmod(0o644)
    assert local.find(1) is None
    file.chmod(0o600)
    file.write_text("{}")
    assert local.find(1) is None
    local.withdraw(1)
    local.withdraw(1)
    file.parent.chmod(0o755)
    assert not local.publish(1, server)
    assert local.find(1) is None


def test_a_region_tells_whether_its_owner_lives() -> None:
    code = "from trackserve.serving.local import *; print(region_name())"
    name = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    assert local.abandoned(name)
    assert not local.abandoned(local.region_name())
    assert not local.abandoned("trackserve-0123")
    pid, start, rest = local.region_name().removeprefix("trackserve-client-").split("-")
    assert local.abandoned(f"trackserve-client-{pid}-{int(start) - 1}-{rest}")


@pytest.mark.parametrize("transport", ["grpc", "shm", "http"])
def test_limits_are_kept_by_the_server(
    server: Server, pipeline: PatatrackPipeline, mixed: list[RawEvent], transport: str
) -> None:
    """Errors and partial results are those of the pipeline, alone, in streams and in bundles."""
    partial = PatatrackLimits(triplets=50_000, beyond="partial")
    few = PatatrackLimits(doublets=20_000)
    with connect(server, transport) as client:
        expected = pipeline.run(mixed, KEEP, limits=partial)
        stopped = [r.stopped_by for r in expected if isinstance(r, PatatrackResult)]
        assert set(stopped) == {"", "triplets"}
        assert same(client.stream("patatrack", mixed, KEEP, limits=partial), expected)
        bundles = client.stream(
            "patatrack", mixed, KEEP, limits=partial, per_request=5, in_flight=2
        )
        assert same(bundles, expected)
        assert same(client.stream("patatrack", mixed, limits=few), pipeline.run(mixed, limits=few))
        late = encode_limits(PatatrackLimits(deadline=1e-9, beyond="partial"))
        outputs = [*CODEC.output_names(), STOPPED_BY.name]
        request = Request("patatrack", CODEC.encode_event(mixed[0]) | late, outputs)
        with pytest.raises(EventDeadlineExceeded):
            client._transport.call(request, 30)
        soon = PatatrackLimits(deadline=0.0005, beyond="partial")
        for answer in client.stream("patatrack", mixed, limits=soon):
            assert not getattr(answer, "stopped_by", "")
        good = PatatrackLimits(deadline=60)
        assert same(client.stream("patatrack", mixed, KEEP, limits=good), pipeline.run(mixed, KEEP))


def test_another_version_of_the_wire_is_refused_by_either_side(
    server: Server, sample_events: list[RawEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the server where the client has become another one, by the client before it sends."""
    with Client(server.grpc_url) as client, Client(server.grpc_url) as other:
        client.reconstruct("patatrack", sample_events[0])
        monkeypatch.setattr(version, "WIRE", "2")
        with pytest.raises(WireMismatch, match="do not go together") as told:
            client.reconstruct("patatrack", sample_events[0])
        assert (told.value.expected, told.value.found) == ("1", "2")
        with pytest.raises(WireMismatch):
            list(client.stream("patatrack", sample_events[:4], per_request=2))
        with pytest.raises(WireMismatch) as known:
            other.reconstruct("patatrack", sample_events[0])
        assert (known.value.expected, known.value.found) == ("2", "1")
    with (
        Client(f"{server.grpc_url},grpc://127.0.0.1:1", timeout=5) as several,
        pytest.raises(ServerUnavailable, match="do not go together"),
    ):
        several.reconstruct("patatrack", sample_events[0])
