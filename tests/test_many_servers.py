"""Clients of many servers: each event is answered once, by a server that may, or here.

The servers are emulated: they wait and answer with a result that was made before. The tests with
real ones are in test_servers_that_die.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from exatrkx_models import random_event

from trackserve.client import AsyncClient, Client
from trackserve.client import pool as pool_module
from trackserve.client import servers as servers_module
from trackserve.client.shared_memory import SharedMemoryTransport
from trackserve.client.transport import Call, failure
from trackserve.edm import PointsEvent, RawEvent
from trackserve.errors import (
    Cancelled,
    DeadlineExceeded,
    IdentityMismatch,
    InputError,
    ServerBusy,
    ServerError,
    ServerUnavailable,
)
from trackserve.serving import prometheus
from trackserve.studies.emulated import EmulatedServer, Emulation
from trackserve.studies.proxy import Proxy
from trackserve.trackers.registry import find_tracker
from trackserve.wire.identity import Identity
from trackserve.wire.limits import LIMITS

EXATRKX, PATATRACK = find_tracker("exatrkx"), find_tracker("patatrack")
OTHER = Identity("exatrkx", 1, ("model other",))


@pytest.fixture(scope="module")
def points_pipeline() -> Any:
    return EXATRKX.build({})


@pytest.fixture(scope="module")
def events() -> list[PointsEvent]:
    return [random_event(0, event=number) for number in range(60)]


@pytest.fixture(scope="module")
def emulation(points_pipeline: Any, events: list[PointsEvent]) -> Emulation:
    """Answers at once with what the pipeline gives for each of the events."""
    return Emulation(EXATRKX, points_pipeline.reconstruct(events[0]), 0.0, workers=4)


@pytest.fixture
def start() -> Iterator[Callable[..., EmulatedServer]]:
    """Starts an emulated server, with a model ``exatrkx`` if none is given."""
    with ExitStack() as stack:

        def started(emulation: Emulation, **more: Any) -> EmulatedServer:
            return stack.enter_context(EmulatedServer({"exatrkx": emulation}, **more))

        yield started


def url_of(*servers: Any) -> str:
    return ",".join(server.url for server in servers)


def states(client: Client) -> dict[str, str]:
    return {state.server: state.state for state in client.servers()}


def until(condition: Callable[[], Any], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def stream(url: str, events: list[Any], way: str, **settings: Any) -> list[Any]:
    """The answers of a stream by "sync" or "async" client."""

    async def awaited() -> list[Any]:
        async with AsyncClient(url) as client:
            assert (await client.reconstruct("exatrkx", events[0])).event == events[0].event
            return [answer async for answer in client.stream("exatrkx", events, **settings)]

    if way == "async":
        return asyncio.run(awaited())
    with Client(url) as client:
        assert client.reconstruct("exatrkx", events[0]).event == events[0].event
        return list(client.stream("exatrkx", events, **settings))


# choice


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("per_request", [1, None, 7])
def test_all_servers_answer_and_each_event_once_in_order(
    start: Any, emulation: Emulation, events: list[PointsEvent], way: str, per_request: int | None
) -> None:
    slow = emulation._replace(seconds=0.005, workers=1)
    servers = [start(slow) for _ in range(3)]
    answers = stream(url_of(*servers), events, way, per_request=per_request)
    assert [answer.event for answer in answers] == list(range(len(events)))
    answers = stream(url_of(*servers), events, way, per_request=per_request, ordered=False)
    assert sorted(answer.event for answer in answers) == list(range(len(events)))
    assert all(server.answered > 5 for server in servers)
    assert {answer.origin.server for answer in answers} <= {server.url for server in servers}
    assert {answer.identity for answer in answers} == {emulation.result.identity}


def test_each_event_goes_where_its_model_is(
    start: Any,
    emulation: Emulation,
    events: list[PointsEvent],
    sample_events: list[RawEvent],
    sample_results: list[Any],
) -> None:
    pixels = Emulation(PATATRACK, replace(sample_results[0], identity=str(OTHER)), 0.002)
    with ExitStack() as stack:
        models = ({"exatrkx": emulation._replace(seconds=0.002)}, {"patatrack": pixels})
        servers = [
            stack.enter_context(EmulatedServer(has)) for has in (*models, models[0] | models[1])
        ]
        with Client(url_of(*servers)) as client:
            points, raw = (
                list(client.stream(model, some, in_flight=8))
                for model, some in (("exatrkx", events), ("patatrack", sample_events * 6))
            )
            with pytest.raises(InputError, match="not found"):
                client.reconstruct("nothing", events[0])
            assert states(client)[servers[0].url] == "without the model"
    by = [Counter(answer.origin.server for answer in answers) for answers in (points, raw)]
    assert by[0].keys() == {servers[0].url, servers[2].url}
    assert by[1].keys() == {servers[1].url, servers[2].url}


@pytest.mark.slow
def test_servers_of_different_speed_are_all_filled(
    start: Any, emulation: Emulation, events: list[PointsEvent]
) -> None:
    """Emulated speeds: 10 and 30 ms for an event. The sum of both alone is reached together."""
    each = [start(emulation._replace(seconds=s, workers=1)) for s in (0.01, 0.03)]
    many = [replace(events[0], event=number) for number in range(600)]

    def rate(url: str, share: float) -> float:
        with Client(url) as client:
            client.reconstruct("exatrkx", many[0])
            some = many[: round(share * len(many))]
            begin = time.monotonic()
            assert len(list(client.stream("exatrkx", some, per_request=1))) == len(some)
            return len(some) / (time.monotonic() - begin)

    ratios = []
    for _ in range(3):
        alone = rate(each[0].url, 0.5) + rate(each[1].url, 0.2)
        ratios.append(rate(url_of(*each), 1) / alone)
    assert median(ratios) >= 0.95


# health


def test_a_server_that_ends_and_comes_back_loses_nothing(
    emulation: Emulation, events: list[PointsEvent], start: Any
) -> None:
    slow = emulation._replace(seconds=0.01, workers=1)
    stays = start(slow)
    leaves = EmulatedServer({"exatrkx": slow})
    with leaves, Client(url_of(stays, leaves)) as client:
        answers = []
        for number, answer in enumerate(client.stream("exatrkx", events * 2, in_flight=6)):
            answers.append(answer)
            if number == 30:
                leaves.__exit__(None, None, None)
        assert [answer.event for answer in answers] == [event.event for event in events * 2]
        assert states(client)[leaves.url] == "set aside"
        assert answers[-1].origin.server == stays.url
        start(slow, port=leaves.port)
        assert until(lambda: states(client)[leaves.url] == "usable")
        more = list(client.stream("exatrkx", events, in_flight=6))
        assert leaves.url in {answer.origin.server for answer in more}
        failures = [s for s in client.counters() if s.name == "failures_total"]
        assert {sample.labels["server"] for sample in failures} == {leaves.url}


@pytest.mark.parametrize(
    "fault",
    [
        "cut",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("delay", "lose", "stall", "all stall")),
    ],
)
def test_a_bad_network_loses_nothing(
    start: Any, emulation: Emulation, events: list[PointsEvent], fault: str
) -> None:
    """Delays, cut connections, half-open ones, and stalls of one or of all servers."""
    slow = emulation._replace(seconds=0.01, workers=1)
    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy("127.0.0.1", start(slow).port)) for _ in range(2)]
        url = ",".join(f"grpc://127.0.0.1:{proxy.port}" for proxy in proxies)
        client = stack.enter_context(Client(url, transport="grpc"))
        if fault == "delay":
            proxies[0].delay = 0.05
        answers, longest, last = [], 0.0, time.monotonic()
        for number, answer in enumerate(client.stream("exatrkx", events * 5, in_flight=8)):
            answers.append(answer)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            if number in (50, 150) and fault == "cut":
                n_cut = [proxy.cut() for proxy in proxies]
                assert min(n_cut) > 0
            if number in (50, 150) and fault == "lose":
                assert proxies[number == 150].lose()
            if number == 50 and "stall" in fault:
                for proxy in proxies if fault == "all stall" else proxies[:1]:
                    proxy.stall()
                    threading.Timer(3, proxy.flow).start()
        assert [answer.event for answer in answers] == [event.event for event in events * 5]
        assert longest < (6 if fault == "all stall" else 4)
        assert until(lambda: set(states(client).values()) == {"usable"})


@pytest.mark.slow
def test_deadlines_hold_while_all_servers_stall(
    start: Any, emulation: Emulation, events: list[PointsEvent]
) -> None:
    with ExitStack() as stack:
        proxies = [stack.enter_context(Proxy("127.0.0.1", start(emulation).port)) for _ in range(2)]
        url = ",".join(f"grpc://127.0.0.1:{proxy.port}" for proxy in proxies)
        client = stack.enter_context(Client(url, transport="grpc", timeout=1.5))
        client.reconstruct("exatrkx", events[0])
        for proxy in proxies:
            proxy.stall()
        for call in (
            lambda: client.reconstruct("exatrkx", events[0]),
            lambda: list(client.stream("exatrkx", events, in_flight=3)),
        ):
            begin = time.monotonic()
            with pytest.raises((DeadlineExceeded, ServerUnavailable)):
                call()
            assert time.monotonic() - begin < 4


def test_busy_servers_are_asked_again_until_they_answer(
    start: Any, emulation: Emulation, events: list[PointsEvent]
) -> None:
    tiny = emulation._replace(seconds=0.003, workers=1, queue=2)
    with Client(url_of(start(tiny), start(tiny))) as client:
        for in_flight, per_request in ((30, 1), (None, None), (5, 4)):
            answers = client.stream("exatrkx", events, in_flight=in_flight, per_request=per_request)
            assert [answer.event for answer in answers] == list(range(len(events)))
        with ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda event: client.reconstruct("exatrkx", event), events))
        assert [answer.event for answer in found] == list(range(len(events)))
        assert set(states(client).values()) == {"usable"}  # busy is not dead
    with (
        Client(url_of(start(tiny), start(tiny)), retry=False) as client,
        pytest.raises(ServerBusy),
    ):
        list(client.stream("exatrkx", events, in_flight=50))


def test_a_refused_token_and_a_fault_are_no_reason_to_ask_again(
    start: Any, emulation: Emulation, events: list[PointsEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC says UNAVAILABLE of a refused token, as of a server that is gone."""
    refused = "This protocol is restricted, expecting header 'triton-grpc-protocol-infer'"
    with Client(url_of(start(emulation), start(emulation))) as client:
        client.reconstruct("exatrkx", events[0])
        assert until(lambda: set(states(client).values()) == {"usable"})
        sent: list[int] = []
        fault = {"text": "", "status": ""}

        def submit(self: Any, request: Any, timeout: float) -> Call:
            sent.append(id(self))
            call = Call()
            call.settle(failure(**fault, url="grpc://a:1"))
            return call

        monkeypatch.setattr(SharedMemoryTransport, "submit", submit)
        for text, status, n in (
            (refused, "UNAVAILABLE", 1),
            ("the model failed", "INTERNAL", 1),
            ("wrong shape", "INVALID_ARGUMENT", 1),
            ("Socket closed", "UNAVAILABLE", 2),
        ):
            sent.clear()
            fault.update(text=text, status=status)
            with pytest.raises((ServerError, InputError)):
                client.reconstruct("exatrkx", events[0], timeout=1)
            assert len(set(sent)) == n, text


# identity


def test_a_server_with_another_identity_answers_nothing_and_is_named(
    start: Any, emulation: Emulation, events: list[PointsEvent], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trackserve.client")
    own = emulation.result.identity
    foreign = emulation._replace(result=replace(emulation.result, identity=str(OTHER)))
    good, bad = start(emulation), start(foreign)
    with Client(url_of(bad, good)) as client:
        answers = list(client.stream("exatrkx", events, identity=own, in_flight=8))
        assert {answer.identity for answer in answers} == {own}
        assert until(lambda: states(client)[bad.url] == "other identity")
        assert client.reconstruct("exatrkx", events[0], identity=own).origin.server == good.url
        assert {client.identify("exatrkx", text) for text in (own, str(OTHER))} == {own, str(OTHER)}
    assert bad.answered <= 1  # its probe
    (named,) = [r.getMessage() for r in caplog.records if bad.url in r.getMessage()]
    assert str(OTHER) in named
    with Client(url_of(bad) + "," + bad.url) as client, pytest.raises(IdentityMismatch) as caught:
        client.reconstruct("exatrkx", events[0], identity=own)
    assert bad.url in caught.value.found
    assert caught.value.expected == own


@pytest.mark.parametrize("several", [False, True])
def test_a_foreign_server_behind_the_same_address_answers_nothing(
    start: Any, emulation: Emulation, events: list[PointsEvent], several: bool
) -> None:
    """The proxy sends new connections to a server of another identity."""
    foreign = emulation._replace(result=replace(emulation.result, identity=str(OTHER)))
    good, bad, beside = start(emulation), start(foreign), start(emulation)
    own = emulation.result.identity
    with Proxy("127.0.0.1", good.port) as proxy:
        url = f"grpc://127.0.0.1:{proxy.port}" + (f",{beside.url}" if several else "")
        with Client(url, transport="grpc") as client:
            assert client.reconstruct("exatrkx", events[0]).identity == own
            before = bad.answered
            proxy.target = "127.0.0.1", bad.port
            proxy.cut()
            if several:
                answers = list(client.stream("exatrkx", events, in_flight=4))
                assert {answer.identity for answer in answers} == {own}
                assert {answer.origin.server for answer in answers[10:]} == {beside.url}
            else:
                with pytest.raises(IdentityMismatch, match="other"):
                    list(client.stream("exatrkx", events))
        assert bad.answered <= before + 2  # probes


# which servers


def test_a_file_of_servers_is_read_again(
    start: Any,
    emulation: Emulation,
    events: list[PointsEvent],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_LOOK_AGAIN", 0.05)
    one, two = start(emulation), start(emulation)
    file = tmp_path / "servers.txt"
    file.write_text(f"# of the cluster\n\n{one.url}\n")
    with Client(f"@{file}") as client:
        assert client.reconstruct("exatrkx", events[0]).origin.server == one.url
        file.write_text(f"{one.url}\n{two.url}\n")
        assert until(lambda: states(client).get(two.url) == "usable")
        file.write_text("nonsense\n")
        time.sleep(0.2)
        assert states(client).keys() == {one.url, two.url}
        file.write_text(two.url)
        assert until(lambda: states(client).keys() == {two.url})
        answers = list(client.stream("exatrkx", events))
        assert {answer.origin.server for answer in answers} == {two.url}
        file.unlink()
        time.sleep(0.2)
        assert client.reconstruct("exatrkx", events[0]).origin.server == two.url
        file.write_text("")
        assert until(lambda: not states(client))
        with pytest.raises(ServerUnavailable):
            client.reconstruct("exatrkx", events[0], timeout=0.3)
    with pytest.raises(InputError, match="no list of servers"):
        Client(f"@{tmp_path / 'none.txt'}")


def test_a_name_stands_for_all_its_addresses(
    start: Any, emulation: Emulation, events: list[PointsEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = start(emulation)
    two = start(emulation, port=one.port, host="127.0.0.2")
    hosts = ["127.0.0.1", "127.0.0.2"]
    family = socket.AF_INET

    def resolve(*arguments: Any, **more: Any) -> list[Any]:
        return [(family, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]

    monkeypatch.setattr(pool_module, "_LOOK_AGAIN", 0.05)
    monkeypatch.setattr(servers_module, "_RESOLVE_AGAIN", 0.0)
    monkeypatch.setattr(servers_module.socket, "getaddrinfo", resolve)  # type: ignore[attr-defined]
    with Client(f"grpc://tracking.example:{one.port}") as client:
        answers = list(client.stream("exatrkx", events * 2, in_flight=8))
        assert {answer.origin.server for answer in answers} == {one.url, two.url}
        del hosts[0]
        hosts.append("127.0.0.3")
        assert until(lambda: one.url not in states(client))
        assert client.reconstruct("exatrkx", events[0]).origin.server == two.url


def test_a_closed_client_says_so(
    start: Callable[..., EmulatedServer], emulation: Emulation, events: list[PointsEvent]
) -> None:
    client = Client(url_of(start(emulation), start(emulation)))
    client.reconstruct("exatrkx", events[0])
    client.close()
    for call in (
        client.models,
        lambda: client.identify("exatrkx"),
        lambda: client.reconstruct("exatrkx", events[0]),
    ):
        with pytest.raises(Cancelled, match="the client is closed"):
            call()


@pytest.mark.parametrize("url", ["grpc://a:1,", "grpc://a:1,b:2", ",", "@"])
def test_a_malformed_list_is_refused(url: str) -> None:
    with pytest.raises(InputError):
        Client(url)


def test_a_transport_must_fit_every_server() -> None:
    with pytest.raises(InputError, match="does not fit"):
        Client("grpc://127.0.0.1:1,http://127.0.0.1:2", transport="grpc")


# here


def test_without_a_server_the_same_pipeline_answers_here(
    emulation: Emulation,
    events: list[PointsEvent],
    points_pipeline: Any,
    start: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "trackserve.client")
    server = EmulatedServer({"exatrkx": emulation})
    points = [random_event(300, event=number) for number in range(8)]
    with server, Client(server.url, fallback="local") as client:
        assert not client.reconstruct("exatrkx", events[0]).origin.is_fallback
        server.__exit__(None, None, None)
        answers = [
            *client.stream("exatrkx", points),
            *client.stream("exatrkx", points, per_request=3),
            client.reconstruct("exatrkx", points[0]),
        ]
        expected = points_pipeline.run(points)
        assert answers == [*expected, *expected, expected[0]]
        assert {answer.identity for answer in answers} == {str(points_pipeline.identity)}
        assert all(answer.origin.is_fallback for answer in answers)
        assert {answer.origin.server for answer in answers} == {""}
        said = [r for r in caplog.records if "computed here" in r.getMessage()]
        assert len(said) == 1
        start(emulation, port=server.port)
        assert until(lambda: set(states(client).values()) == {"usable"}, 5)
        assert client.reconstruct("exatrkx", events[0]).origin.server == server.url


def test_the_fallback_answers_if_no_server_ever_did(events: list[PointsEvent]) -> None:
    with Client("grpc://127.0.0.1:9", fallback="local") as client:
        assert client.reconstruct("exatrkx", events[0]).origin.is_fallback
        with pytest.raises(InputError, match="needs the data of the model"):
            client.reconstruct("patatrack", RawEvent(b""))


def test_a_fallback_with_another_identity_is_refused(
    start: Any, emulation: Emulation, events: list[PointsEvent]
) -> None:
    fallback = {"exatrkx": {"model": "large"}}
    with (
        Client(start(emulation).url, fallback=fallback) as client,
        pytest.raises(IdentityMismatch),
    ):
        client.reconstruct("exatrkx", events[0])
    with pytest.raises(InputError, match="no such fallback"):
        Client("grpc://127.0.0.1:9", fallback="nowhere")


@pytest.mark.parametrize("fallback", [None, "local"])
def test_servers_without_limits_leave_an_event_with_limits_to_the_fallback(
    emulation: Emulation,
    events: list[PointsEvent],
    start: Callable[..., EmulatedServer],
    fallback: str | None,
) -> None:
    servers = [start(emulation) for _ in range(2)]
    for server in servers:
        model = server._models["exatrkx"]
        model.inputs = tuple(spec for spec in model.inputs if spec != LIMITS)
    limits = replace(EXATRKX.codec.limits(), deadline=60.0)
    with Client(url_of(*servers), fallback=fallback) as client:
        assert not client.reconstruct("exatrkx", events[0]).origin.is_fallback
        if fallback:
            assert client.reconstruct("exatrkx", events[0], limits=limits).origin.is_fallback
        else:
            with pytest.raises(InputError, match="all tensors"):
                client.reconstruct("exatrkx", events[0], limits=limits)


# where an answer came from


def test_answers_and_counters_tell_where_they_came_from(
    start: Any, emulation: Emulation, events: list[PointsEvent]
) -> None:
    servers = [start(emulation._replace(seconds=0.002)) for _ in range(2)]
    dead = "grpc://127.0.0.1:9"
    with Client(f"{url_of(*servers)},{dead}") as client:
        answers = list(client.stream("exatrkx", events, in_flight=4))
        page = prometheus.parse(client.prometheus())
    for answer in answers:
        assert answer.origin.tries == 1
        assert 0.002 < answer.origin.seconds < 30
    by = Counter(answer.origin.server for answer in answers)
    for server in servers:
        name = "trackserve_client_events_total"
        assert prometheus.total(page, name, server=server.url, outcome="ok") == by[server.url]
    assert prometheus.total(page, "trackserve_client_usable") == 2
    spent = prometheus.total(page, "trackserve_client_seconds_total")
    assert math.isclose(spent, sum(a.origin.seconds for a in answers), rel_tol=1e-6)


def test_one_server_tells_it_too(
    start: Any, emulation: Emulation, events: list[PointsEvent]
) -> None:
    server = start(emulation)
    with Client(server.url) as client:
        answers = [client.reconstruct("exatrkx", events[0]), *client.stream("exatrkx", events)]
        page = prometheus.parse(client.prometheus())
    assert {(a.origin.server, a.origin.tries) for a in answers} == {(server.url, 1)}
    assert prometheus.total(page, "trackserve_client_events_total") == len(answers)


# any server of the protocol


@pytest.mark.parametrize("several", [False, True])
def test_a_server_of_others_needs_health_metadata_and_inference_alone(
    start: Any, emulation: Emulation, events: list[PointsEvent], several: bool
) -> None:
    plain = emulation._replace(is_plain=True, seconds=0.001)
    servers = [start(plain) for _ in range(1 + several)]
    with Client(url_of(*servers)) as client:
        assert client.ready()
        with pytest.raises((InputError, IdentityMismatch)):
            client.reconstruct("exatrkx", events[0])
        for how in ({}, {"in_flight": 3}, {"per_request": 5}):
            answers = list(client.stream("exatrkx", events, identity="unchecked", **how))
            assert [answer.event for answer in answers] == list(range(len(events)))
            assert {answer.identity for answer in answers} == {""}


def test_such_a_server_may_speak_http(emulation: Emulation, events: list[PointsEvent]) -> None:
    codec = EXATRKX.codec
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.append(self.path)
            if self.path == "/v2/models/exatrkx":
                has = {"inputs": codec.inputs, "outputs": codec.outputs[:-2]}
                named = {kind: [{"name": s.name} for s in specs] for kind, specs in has.items()}
                self.answer(200, json.dumps(named).encode())
            else:
                ready = self.path == "/v2/health/ready"
                self.answer(200 if ready else 404, b"{}" if ready else b'{"detail": "none"}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found = codec.encode_result(emulation.result, codec.output_names())
            outputs = [
                {
                    "name": name,
                    "shape": array.shape,
                    "datatype": "UINT8",
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for name, array in found.items()
            ]
            head = json.dumps({"outputs": outputs}).encode()
            body = b"".join(array.tobytes() for array in found.values())
            self.answer(200, head + body, {"Inference-Header-Content-Length": str(len(head))})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in ((headers or {}) | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            assert client.ready()
            answers = list(client.stream("exatrkx", events, identity="unchecked"))
            assert [answer.event for answer in answers] == list(range(len(events)))
            with pytest.raises(InputError, match="no such model"):
                client.reconstruct("nothing", events[0], identity="unchecked")
        server.shutdown()
    assert set(seen) <= {
        "/v2/health/ready",
        "/v2/models/exatrkx",
        "/v2/models/exatrkx/config",
        "/v2/models/nothing",
        "/v2/models/nothing/config",
        "/v2/models/stats",
    }
