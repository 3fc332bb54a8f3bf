"""Whoever waits for a client or a server is told how it ends, and every wait has an end."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trackserve.client import AsyncClient, Client
from trackserve.edm import RawEvent
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    EventError,
    InputError,
    MalformedEvent,
    ServerError,
)
from trackserve.serving.http import Http
from trackserve.serving.server import Server
from trackserve.serving.status import read_status
from trackserve.wire.address import parse_url
from trackserve.wire.timeout import checked_timeout

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
TRANSPORTS = ("shm", "grpc", "http")
BOGUS = dict.fromkeys(
    [f"{scheme}_proxy" for scheme in ("http", "https", "grpc", "all")]
    + [f"{scheme}_PROXY" for scheme in ("HTTP", "HTTPS", "GRPC", "ALL")],
    "http://127.0.0.1:9",
)


@pytest.fixture(scope="module")
def backend() -> str:
    """Waits are the client's, whatever the backend."""
    return "python"


@pytest.fixture
def frozen(server: Server) -> Iterator[Callable[[], None]]:
    """A function that freezes the server; it goes on after the test."""
    group = os.getpgid(server.pid or 0)
    yield lambda: os.killpg(group, signal.SIGSTOP)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)
    wait_until_it_stays(server)


def wait_until_it_stays(server: Server) -> None:
    """Wait until the server answers, and its watch has not started it anew a while later."""
    end = time.monotonic() + 60
    with Client(server.grpc_url, transport="grpc") as client:
        pid, since = None, time.monotonic()
        while time.monotonic() < since + 1.5:
            try:
                client.identify("patatrack")
            except ServerError:
                pid = None
            if pid is None or pid != server.pid:
                pid, since = server.pid, time.monotonic()
            assert time.monotonic() < end
            time.sleep(0.2)


def url_of(server: Server, transport: str) -> str:
    return server.http_url if transport == "http" else server.grpc_url


def stream_of(server: Server, transport: str, events: Any, way: str, **settings: Any) -> list[Any]:
    """The answers of a stream by "sync" or "async" client; an error that ends it is the last."""
    answers: list[Any] = []
    url = url_of(server, transport)

    async def awaited() -> None:
        async with AsyncClient(url, transport=transport) as client:
            async for answer in client.stream("patatrack", events, **settings):
                answers.append(answer)

    try:
        if way == "async":
            asyncio.run(asyncio.wait_for(awaited(), 30))
        else:
            with Client(url, transport=transport) as client:
                for answer in client.stream("patatrack", events, **settings):
                    answers.append(answer)
    except Exception as error:
        answers.append(error)
    return answers


def in_time(work: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``work`` returns; a test must not hang where the code does."""
    call: Future[Any] = Future()

    def run() -> None:
        try:
            call.set_result(work())
        except Exception as error:
            call.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return call.result(seconds)


async def first_of(answers: AsyncIterator[Any]) -> Any:
    return await anext(answers)


async def trickle(events: Iterable[Any]) -> AsyncIterator[Any]:
    for event in events:
        await asyncio.sleep(0)
        yield event


# the source ends, or fails


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_empty_source_ends_the_stream(server: Server, transport: str, way: str) -> None:
    sources = [[], iter([]), (event for event in ()), {}]
    for source in [*sources, trickle([])] if way == "async" else sources:
        for settings in ({}, {"in_flight": 2}, {"ordered": False}, {"timeout": float("inf")}):
            found = in_time(lambda s=source, k=settings: stream_of(server, transport, s, way, **k))
            assert found == []


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_command_ends_without_events(
    server: Server, sample_directory: Path, tmp_path: Path, transport: str
) -> None:
    empty = tmp_path / "empty"
    shutil.copytree(sample_directory, empty)
    (empty / "raw.bin").write_bytes(b"")
    run = "from trackserve.cli import app; app()"
    arguments = ["reconstruct", "patatrack", str(empty), "-o", str(tmp_path / "tracks.parquet")]
    command = [sys.executable, "-c", run, *arguments, "--url", url_of(server, transport)]
    subprocess.run(command, check=True, timeout=30)
    assert pq.read_table(tmp_path / "tracks.parquet").num_rows == 0


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("per_request", [1, 3, None])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_bad_events_end_no_stream(
    server: Server,
    pipeline: Any,
    sample_events: list[RawEvent],
    transport: str,
    per_request: int | None,
    way: str,
) -> None:
    """Malformed, damaged and unreadable ones, and None, are their errors in their places."""
    good = sample_events[0]
    bad = [
        *(None, replace(good, data=b"abcd"), replace(good, data=good.data[:-8])),
        *(replace(good, event=2**64), EventError("cannot be read", event=5), "event"),
        *(replace(good, data=good.data.view("u4")), replace(good, beam_spot=None)),
    ]
    events = [event for pair in zip(bad, sample_events, strict=False) for event in pair]
    expected = pipeline.run(events)

    class Sequence:
        def __len__(self) -> int:
            return len(events) + 1

        def __getitem__(self, index: int) -> Any:
            if index == len(events):
                raise EventError("the file ends inside the event", event=index)
            return events[index]

    found = stream_of(server, transport, Sequence(), way, per_request=per_request)
    assert str(found.pop()) == f"the file ends inside the event (event {len(events)})"
    assert [isinstance(answer, EventError) for answer in found] == [True, False] * len(bad)
    for answer, direct in zip(found, expected, strict=True):
        if isinstance(direct, EventError):
            assert (type(answer), answer.fields) == (type(direct), direct.fields)
        else:
            assert answer == direct
    unordered = stream_of(server, transport, events, way, ordered=False)
    assert len(unordered) == len(events)


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_source_that_fails_ends_the_stream_after_its_events(
    server: Server, sample_events: list[RawEvent], transport: str, way: str
) -> None:
    def source() -> Iterator[RawEvent]:
        yield from sample_events
        raise OSError("the disk is gone")

    for make in (source, lambda: trickle(source())) if way == "async" else (source,):
        *answers, error = stream_of(server, transport, make(), way)
        assert [answer.event for answer in answers] == [event.event for event in sample_events]
        assert isinstance(error, OSError)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_errors_of_the_whole_stream_are_raised_at_once(
    server: Server, sample_events: list[RawEvent], way: str
) -> None:
    for settings in (
        *({"in_flight": 0}, {"in_flight": 1.5}, {"per_request": "2"}, {"keep": ["hitz"]}),
        *({"timeout": -1}, {"timeout": "1"}, {"timeout": float("nan")}),
    ):
        for events in ([], sample_events):
            (error,) = in_time(lambda e=events, s=settings: stream_of(server, "grpc", e, way, **s))
            assert isinstance(error, InputError)
    for source in (None, 5, sample_events[0]):
        (error,) = in_time(lambda s=source: stream_of(server, "grpc", s, way))
        assert isinstance(error, InputError)


def test_a_malformed_event_is_raised_by_reconstruct(
    server: Server, sample_events: list[RawEvent]
) -> None:
    async def awaited(event: Any) -> None:
        async with AsyncClient(server.grpc_url) as client:
            await client.reconstruct("patatrack", event)

    with Client(server.grpc_url) as client:
        for event in (None, b"abcd", replace(sample_events[0], data=[1, 2])):
            with pytest.raises(MalformedEvent):
                client.reconstruct("patatrack", event)
            with pytest.raises(MalformedEvent):
                asyncio.run(awaited(event))
        for model in (None, 5, ["patatrack"], b"patatrack"):
            with pytest.raises(InputError, match="name of a model"):
                client.reconstruct(model, sample_events[0])


def test_a_callback_that_fails_ends_the_stream(
    server: Server, sample_events: list[RawEvent]
) -> None:
    def report(timings: Any) -> None:
        raise ValueError("unexpected")

    with Client(server.grpc_url, on_timings=report) as client:
        for _ in range(2):
            with pytest.raises(ValueError, match="unexpected"):
                in_time(lambda: list(client.stream("patatrack", sample_events)))


# the deadline passes, or there is none


@pytest.mark.parametrize(
    ("timeout", "transport"),
    [
        *((None, transport) for transport in TRANSPORTS),
        (float("inf"), "grpc"),
        (1e10, "http"),
        pytest.param(10**400, "shm", id="a number that no float holds"),
        (60, "grpc"),
    ],
)
def test_a_timeout_may_be_endless(
    server: Server, sample_events: list[RawEvent], transport: str, timeout: Any
) -> None:
    async def awaited(**settings: Any) -> list[Any]:
        async with AsyncClient(url, transport=transport, timeout=timeout) as client:
            assert await client.ready()
            one = await client.reconstruct("patatrack", sample_events[0], **settings)
            return [one, *[a async for a in client.stream("patatrack", sample_events, **settings)]]

    url = url_of(server, transport)
    with Client(url, transport=transport, timeout=timeout) as client:
        assert client.ready()
        for settings in ({}, {"timeout": timeout}):
            one = client.reconstruct("patatrack", sample_events[0], **settings)
            many = list(client.stream("patatrack", sample_events, **settings))
            assert len(many) == len(sample_events)
            assert asyncio.run(awaited(**settings)) == [one, *many]


@pytest.mark.parametrize("timeout", [-1, -1e-9, float("nan"), float("-inf"), "3", b"3", True, []])
def test_a_wrong_timeout_is_refused(server: Server, timeout: Any) -> None:
    for make in (Client, AsyncClient):
        with pytest.raises(InputError, match="wrong timeout"):
            make(server.grpc_url, timeout=timeout)
    with Client(server.grpc_url) as client, pytest.raises(InputError, match="wrong timeout"):
        client.reconstruct("patatrack", None, timeout=timeout)
    for name in ("start_timeout", "stop_timeout"):
        with pytest.raises(InputError, match=name):
            Server("repository", **{name: timeout})
    assert checked_timeout(0) == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_close_ends_a_wait_without_deadline(
    server: Server, sample_events: list[RawEvent], frozen: Callable[[], None], transport: str
) -> None:
    url = url_of(server, transport)
    clients = [Client(url, transport=transport, timeout=None) for _ in range(2)]
    for client in clients:
        client.reconstruct("patatrack", sample_events[0])
    frozen()
    with ThreadPoolExecutor(2) as pool:
        waiting = [
            pool.submit(clients[0].reconstruct, "patatrack", sample_events[0]),
            pool.submit(lambda: list(clients[1].stream("patatrack", sample_events))),
        ]
        time.sleep(0.5)
        with pytest.raises(DeadlineExceeded):
            clients[0].reconstruct("patatrack", sample_events[0], timeout=0.2)
        for client in clients:
            client.close()
        for job in waiting:
            assert isinstance(job.exception(10), Cancelled)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_close_ends_a_stream_whose_source_is_idle(
    server: Server, sample_events: list[RawEvent], transport: str
) -> None:
    async def idle() -> AsyncIterator[RawEvent]:
        yield sample_events[0]
        await asyncio.Event().wait()

    async def run() -> None:
        client = AsyncClient(url_of(server, transport), transport=transport, timeout=None)
        stream = client.stream("patatrack", idle())
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(Cancelled):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(run())


# Ctrl-C


PROGRAM = """
import asyncio, sys, threading, time
from trackserve.client import AsyncClient, Client
from trackserve.io import read_events
url, transport, way, directory = sys.argv[1:]
events = list(read_events(directory))

def blocked():
    yield from events
    print("waiting", flush=True)
    time.sleep(1000)

async def awaited():
    async with AsyncClient(url, transport=transport, timeout=None) as client:
        await client.reconstruct("patatrack", events[0])
        print("waiting", flush=True)
        sys.stdin.readline()
        await client.reconstruct("patatrack", events[0])

if way == "async":
    asyncio.run(awaited())
with Client(url, transport=transport, timeout=None) as client:
    client.reconstruct("patatrack", events[0])
    if way == "source":
        list(client.stream("patatrack", blocked()))
    print("waiting", flush=True)
    sys.stdin.readline()
    if way == "one":
        client.reconstruct("patatrack", events[0])
    list(client.stream("patatrack", events))
"""


@pytest.mark.parametrize(
    ("way", "transport"),
    [
        pytest.param(way, transport, marks=() if transport in few else pytest.mark.slow)
        for way, few in (
            ("one", ("grpc",)),
            ("stream", ("shm",)),
            ("source", ("http",)),
            ("async", ("grpc",)),
        )
        for transport in TRANSPORTS
    ],
)
def test_ctrl_c_ends_a_wait_without_deadline(
    server: Server,
    sample_directory: Path,
    frozen: Callable[[], None],
    transport: str,
    way: str,
) -> None:
    arguments = [url_of(server, transport), transport, way, str(sample_directory)]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        assert program.stdin
        assert program.stdout.readline() == "waiting\n"
        frozen()
        program.stdin.write("\n")
        program.stdin.flush()
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, errors = program.communicate(timeout=30)
        assert time.monotonic() - start < 8
        assert program.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")


# the start of a server


STARTING = """
import sys
from trackserve.serving.server import Server
print("starting", flush=True)
with Server(sys.argv[1], grpc_port=0, http_port=0, metrics_port=0, start_timeout=None):
    print("ready")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("way", ["api", "command"])
def test_ctrl_c_ends_a_start(
    repository: Path, tmp_path: Path, sample_directory: Path, way: str, number: signal.Signals
) -> None:
    """Triton never gets ready: its program sleeps."""
    package = tmp_path / "lib" / "pytriton"
    binary = package / "tritonserver" / "bin" / "tritonserver"
    binary.parent.mkdir(parents=True)
    (package / "__init__.py").touch()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = package / f"tritonserver/python_backend_stubs/{version}/triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.touch()
    binary.write_text(f'#!/bin/sh\n[ "$1" = --help ] && exit\necho $$ > {tmp_path}/pid\nsleep 99\n')
    binary.chmod(0o755)
    paths = [str(tmp_path / "lib"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    command = [sys.executable, "-c", STARTING, str(repository)]
    if way == "command":
        served = f"patatrack,conditions={sample_directory}"
        ports = ["--grpc-port=0", "--http-port=0", "--metrics-port=0"]
        run = "from trackserve.cli import app; app()"
        command = [sys.executable, "-c", run, "serve", served, *ports]
    elif number == signal.SIGTERM:
        pytest.skip("SIGTERM ends a program of one's own without more ado")
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as starting:
        end = time.monotonic() + 30
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.2)
        starting.send_signal(number)
        start = time.monotonic()
        output, errors = starting.communicate(timeout=30)
    assert time.monotonic() - start < 4
    assert starting.returncode != 0
    if way == "command":
        assert "Traceback" not in output + errors
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


@pytest.mark.parametrize("host", ["nowhere.invalid", "255.255.255.255", "224.0.0.1", "::1", ""])
def test_a_start_at_an_impossible_host_fails_at_once(repository: Path, host: str) -> None:
    start = time.monotonic()
    with pytest.raises(ServerError, match=r"IPv4|cannot listen") as caught:
        Server(repository, host=host, **FREE).start()
    assert caught.value.host == host
    assert time.monotonic() - start < 5


def test_a_log_that_cannot_be_written_is_named(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="the log cannot be written") as caught:
        Server(repository, **FREE, log=tmp_path / "no" / "log").start()
    assert caught.value.file == str(tmp_path / "no" / "log")


def test_a_name_becomes_an_address(server: Server) -> None:
    assert server.host == "127.0.0.1"
    assert Http("localhost", server.ports.http).get("/v2/health/ready")[0] == 200


# proxies


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proxy_is_not_used_on_this_machine(
    server: Server, sample_directory: Path, transport: str
) -> None:
    code = """
import sys
from trackserve import Client
from trackserve.io import read_events
from trackserve.serving.http import Http
from trackserve.serving.status import read_status
from trackserve.wire.address import parse_url
url, transport, metrics = sys.argv[1:4]
for host in ("localhost", "127.0.0.1"):
    url = url.replace("127.0.0.1", host)
    with Client(url, transport=transport, timeout=10) as client:
        answers = list(client.stream("patatrack", read_events(sys.argv[4]), ["hits"]))
        print(client.ready(), client.transport, len(answers))
print(read_status(parse_url(url), Http("localhost", int(metrics))).ready)
"""
    arguments = [url_of(server, transport), transport, str(server.ports.metrics)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, str(sample_directory)],
        env=os.environ | BOGUS,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"True {transport} 10\n" * 2 + "True\n"


def test_a_server_starts_beside_a_proxy(
    repository: Path, sample_events: list[RawEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in BOGUS.items():
        monkeypatch.setenv(name, value)
    with Server(repository, **FREE) as own, Client(own.grpc_url, timeout=10) as client:
        assert client.reconstruct("patatrack", sample_events[0]).event == sample_events[0].event
        address = parse_url(own.grpc_url)
        assert read_status(address, Http(own.host, own.ports.metrics)).has_metrics


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(("localhost", True), ("127.0.0.1", True), ("127.8.0.1", True), ("[::1]", True)),
        *(("0.0.0.0", True), ("10.0.0.1", False), ("example.org", False), ("[fe80::1]", False)),
    ],
)
def test_a_loopback_address_is_known(host: str, here: bool) -> None:
    assert parse_url(f"grpc://{host}:8001").is_loopback is here


# a fork


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("way", ["os.fork", "multiprocessing"])
def test_a_client_refuses_to_work_after_a_fork(
    server: Server, sample_events: list[RawEvent], transport: str, way: str
) -> None:
    url = url_of(server, transport)
    with Client(url, transport=transport) as client:
        running = client.stream("patatrack", sample_events, in_flight=2)
        first = next(running)
        asynchronous = AsyncClient(url, transport=transport)
        calls: dict[str, Callable[[], Any]] = {
            "reconstruct": lambda: client.reconstruct("patatrack", sample_events[0]),
            "stream": lambda: next(client.stream("patatrack", sample_events)),
            "a stream that runs": lambda: next(running),
            "ready": client.ready,
            "transport": lambda: client.transport,
            "identify": lambda: client.identify("patatrack"),
            "models": client.models,
            "close": client.close,
            "async reconstruct": lambda: asyncio.run(
                asynchronous.reconstruct("patatrack", sample_events[0])
            ),
            "async stream": lambda: asyncio.run(
                first_of(asynchronous.stream("patatrack", sample_events))
            ),
            "async identify": lambda: asyncio.run(asynchronous.identify("patatrack")),
            "async models": lambda: asyncio.run(asynchronous.models()),
            "async ready": lambda: asyncio.run(asynchronous.ready()),
            "async transport": lambda: asynchronous.transport,
            "async close": lambda: asyncio.run(asynchronous.close()),
        }
        reading, writing = os.pipe()

        def child() -> None:
            for name, call in calls.items():
                try:
                    call()
                    told = "no error"
                except InputError as error:
                    told = "" if "after a fork" in error.message else str(error)
                except BaseException as error:
                    told = repr(error)
                if told:
                    os.write(writing, f"{name}: {told}\n".encode())

        if way == "os.fork":
            pid = os.fork()
            if pid == 0:
                child()
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        else:
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join(30)
            assert process.exitcode == 0
        os.close(writing)
        with os.fdopen(reading) as told:
            assert told.read() == ""
        assert [first, *running] == list(client.stream("patatrack", sample_events))
        asyncio.run(asynchronous.close())
