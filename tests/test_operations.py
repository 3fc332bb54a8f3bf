"""A real server under overload, malformed requests, crashes and signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from benchmarks.malformed import REFUSALS, Body, Tensors, requests, send
from benchmarks.processes import backend_of, of_group, resident, shared_memory_of
from benchmarks.triton_requests import inputs_of
from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.errors import EventError, ServerError, ServerUnavailable, decode
from trackserve.serving import local, prometheus
from trackserve.serving.http import Http
from trackserve.serving.limits import Limits
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.serving.status import read_status
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.wire.address import parse_url

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
QUEUE = 12


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, sample_directory: Path, backend: str
) -> Path:
    written = tmp_path_factory.mktemp("repository")
    write_model(
        written,
        "patatrack",
        {"conditions": sample_directory},
        limits=Limits(workers=1, queue=QUEUE),
        backend=backend,
    )
    return written


@pytest.fixture(scope="module")
def event_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "events.jsonl"


@pytest.fixture(scope="module")
def server(repository: Path, event_log: Path) -> Iterator[Server]:
    with Server(repository, event_log=event_log, log_format="json", **FREE) as running:
        yield running


@pytest.fixture(scope="module")
def triton(server: Server) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        yield client


OUTPUTS = [triton_grpc.InferRequestedOutput(name) for name in ("counts", "tracks_state")]


class Answers:
    """Outcomes of asynchronous requests: "ok", "wrong" or the error's type."""

    def __init__(self, expected: list[PatatrackResult]) -> None:
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self._expected = expected
        self._changed = threading.Condition()

    def callback(self, number: int) -> Callable[..., None]:
        direct = self._expected[number % len(self._expected)]

        def done(result: Any, error: Any) -> None:
            outcome = "ok"
            if error is not None:
                typed = decode(error.message() or "")
                outcome = type(typed).__name__ if typed else f"untyped {error.status()}"
            elif result.as_numpy("tracks_state").tobytes() != direct.tracks.state.tobytes():
                outcome = "wrong"
            with self._changed:
                self.outcomes[outcome] += 1
                if error is not None:
                    self.errors.append(str(error))
                self._changed.notify_all()

        return done

    def wait(self, count: int, timeout: float = 30) -> Counter[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: self.outcomes.total() >= count, timeout)
        return self.outcomes


@pytest.fixture
def answers(sample_results: list[PatatrackResult]) -> Answers:
    return Answers(sample_results)


def rate(triton: Any, events: list[RawEvent], count: int) -> float:
    """Events per second with four in flight."""
    inputs = [inputs_of(event) for event in events]
    places = threading.Semaphore(4)
    failed: list[Any] = []

    def done(result: Any, error: Any) -> None:
        failed.extend([error] if error else [])
        places.release()

    start = time.perf_counter()
    for number in range(count):
        places.acquire()
        triton.async_infer("patatrack", inputs[number % len(inputs)], done, outputs=OUTPUTS)
    for _ in range(4):
        places.acquire()
    assert not failed
    return count / (time.perf_counter() - start)


def samples(server: Server) -> list[prometheus.Sample]:  # type: ignore[name-defined]
    with urllib.request.urlopen(server.metrics_url) as page:
        return prometheus.parse(page.read().decode())


def eventually(condition: Callable[[], Any], timeout: float = 15) -> bool:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def test_overload_is_told_bounded_and_over_when_it_is_over(
    server: Server,
    event_log: Path,
    triton: Any,
    sample_events: list[RawEvent],
    answers: Answers,
) -> None:
    inputs = [inputs_of(event) for event in sample_events]
    before = rate(triton, sample_events, 80)
    assert server.pid
    start_memory = resident(server.pid)
    held, sent = [], 0
    end = time.perf_counter() + 2.5
    while time.perf_counter() < end:
        triton.async_infer("patatrack", inputs[sent % 10], answers.callback(sent), outputs=OUTPUTS)
        sent += 1
        if sent % 50 == 0:
            held.append(prometheus.total(samples(server), "trackserve_held"))
        time.sleep(1 / (4 * before))
    outcomes = answers.wait(sent)
    assert set(outcomes) == {"ok", "ServerBusy"}
    assert max(held) <= QUEUE
    assert '"outcome": "ServerBusy"' in event_log.read_text()
    assert outcomes["ok"] > 0.3 * 2.5 * before
    assert resident(server.pid) - start_memory < 64 << 20
    assert max(rate(triton, sample_events, 80) for _ in range(3)) > 0.6 * before


def test_malformed_requests_hurt_nobody(
    server: Server,
    triton: Any,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
) -> None:
    address = parse_url(server.http_url)
    pid, good = server.pid, inputs_of(sample_events[0])
    expected = sample_results[0].tracks.state.tobytes()

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(requests(sample_events[9]), st.booleans(), st.integers(0, 9))
    def send_one(request: Tensors | Body, grpc: bool, die: int) -> None:
        error = send(request, triton if grpc else None, http, address)
        assert error is None or error.startswith(REFUSALS)
        if die == 0:
            reply = triton.infer("patatrack", good, outputs=OUTPUTS)
            assert reply.as_numpy("tracks_state").tobytes() == expected

    with triton_http.InferenceServerClient(address.target) as http:
        send_one()
    assert server.pid == pid
    failed = prometheus.total(samples(server), "trackserve_requests_total", outcome="ServerError")
    assert failed == 0


def test_given_up_requests_are_not_computed(
    server: Server, triton: Any, sample_events: list[RawEvent], answers: Answers
) -> None:
    def cancelled() -> float:
        page = samples(server)
        return prometheus.total(page, "trackserve_requests_total", outcome="Cancelled")

    before = cancelled()
    assert server.pid
    backend = backend_of(server.pid)
    for attempt in range(1, 6):  # on a busy machine all may be answered before the backend stops
        calls = [
            triton.async_infer(
                "patatrack", inputs_of(sample_events[0]), answers.callback(0), outputs=OUTPUTS
            )
            for _ in range(QUEUE)
        ]
        answers.wait((attempt - 1) * QUEUE + 1)
        os.kill(backend, signal.SIGSTOP)
        for call in calls:
            call.cancel()
        time.sleep(0.2)
        os.kill(backend, signal.SIGCONT)
        answers.wait(attempt * QUEUE)
        if eventually(lambda: cancelled() > before, 2):
            break
    assert cancelled() > before
    assert eventually(lambda: prometheus.total(samples(server), "trackserve_held") == 0, 5)


@pytest.mark.parametrize("transport", ["grpc", "http", "shm"])
def test_an_event_is_followed_by_the_id_of_its_request(
    server: Server, event_log: Path, sample_events: list[RawEvent], transport: str
) -> None:
    """From the client to the line in the server's log and back; alone, in a bundle, if it fails."""

    def line_of(request: str) -> dict[str, Any]:
        lines = map(json.loads, event_log.read_text().splitlines())
        (found,) = [line for line in lines if line["request"] == request]
        return found

    bad = replace(sample_events[0], data=sample_events[0].data[:-8], event=7)
    url = server.http_url if transport == "http" else server.grpc_url
    with Client(url, transport=transport) as client:
        result = client.reconstruct("patatrack", sample_events[1])
        with pytest.raises(EventError) as raised:
            client.reconstruct("patatrack", bad)
        many = list(client.stream("patatrack", [*sample_events[:3], bad], per_request=4))
        with pytest.raises(ServerError) as refused:
            client.reconstruct("patatrack", sample_events[1], identity="0" * 16)
    line = line_of(result.origin.request)
    assert line["outcome"] == "ok"
    assert line["event"] == result.event
    assert line["model"] == "patatrack"
    assert line["compute"] > 0
    assert datetime.fromisoformat(line["time"]).tzinfo
    failed = line_of(raised.value.origin.request)
    assert (failed["outcome"], failed["event"]) == ("EventError", 7)
    assert failed["error"] == str(raised.value)
    for answer, event in zip(many, [*sample_events[:3], bad], strict=True):
        assert line_of(answer.origin.request)["event"] == event.event
    assert line_of(refused.value.request)["outcome"] == "IdentityMismatch"


def test_status_tells_models_and_counts(server: Server, triton: Any) -> None:
    metrics = Http(server.host, server.ports.metrics)
    for url in (server.grpc_url, server.http_url):
        found = read_status(parse_url(url), metrics)
        assert (found.ready, found.has_metrics, len(found.models)) == (True, True, 1)
        model = found.models[0]
        assert (model.name, model.version) == ("patatrack", "1")
        assert model.outcomes["ok"] > 0
        assert model.batch
        assert model.compute
        without = read_status(parse_url(url), Http(server.host, 1))
        assert not without.has_metrics
        assert without.models[0].outcomes["ok"] > 0
    with pytest.raises(ServerUnavailable):
        read_status(parse_url("http://127.0.0.1:1"), metrics)


def test_shared_memory_of_dead_clients_is_forgotten(server: Server) -> None:
    published = local.find(server.ports.grpc)
    assert published
    code = (
        "import sys, time\n"
        "from tritonclient.grpc import InferenceServerClient\n"
        "from tritonclient.utils import shared_memory\n"
        "from trackserve.serving import local\n"
        "name = local.region_name()\n"
        "region = shared_memory.create_shared_memory_region(name, '/' + name, 4096)\n"
        "client = InferenceServerClient(sys.argv[1])\n"
        "client.register_system_shared_memory(\n"
        "    name, '/' + name, 4096, headers={sys.argv[2]: sys.argv[3]})\n"
        "print(name, flush=True)\n"
        "time.sleep(100)\n"
    )
    target = server.grpc_url.removeprefix("grpc://")
    command = [sys.executable, "-c", code, target, published.header, published.value]
    service = Http(server.host, server.ports.http)
    secret = {published.header.removeprefix("triton-grpc-protocol-"): published.value}

    def regions() -> list[str]:
        return [r["name"] for r in service.get_json("/v2/systemsharedmemory/status", list, secret)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout
        name = client.stdout.readline().strip()
        time.sleep(1.5)
        assert name in regions()
        client.kill()
    assert eventually(lambda: name not in regions(), 5)
    assert eventually(lambda: not Path("/dev/shm", name).exists(), 5)


@pytest.fixture
def own(repository: Path) -> Iterator[Server]:
    """A server that a test may break."""
    with Server(repository, **FREE) as running:
        yield running


def restarted(server: Server, old: int) -> bool:
    """Whether a new process of Triton answers."""
    probe = (server._repository / "models/patatrack/probe.json").read_text()
    try:
        service = Http(server.host, server.ports.http)
        return server.pid not in (None, old) and (
            service.post("/v2/models/patatrack/infer", probe)[0] == 200
        )
    except OSError:
        return False


def is_ready(client: Any) -> bool:
    """Whether the server is ready, seen by a client that may not try to connect at once."""
    try:
        return bool(client.is_server_ready())
    except InferenceServerException:
        return False


def test_a_dead_backend_is_replaced_and_nobody_hangs(
    own: Server, sample_events: list[RawEvent], answers: Answers
) -> None:
    old, grpc_url = own.pid, own.grpc_url
    assert old
    with triton_grpc.InferenceServerClient(grpc_url.removeprefix("grpc://")) as client:
        os.kill(backend_of(old), signal.SIGSTOP)
        for number in range(4):
            client.async_infer("patatrack", inputs_of(sample_events[0]), answers.callback(number))
        time.sleep(0.2)
        os.kill(backend_of(old), signal.SIGKILL)
        assert eventually(lambda: restarted(own, old), 40)
        outcomes = answers.wait(4, 1)
        assert outcomes["ok"] == 0
        assert own.grpc_url == grpc_url
        assert len(of_group(old)) == 0
        assert eventually(lambda: is_ready(client))
        reply = client.infer("patatrack", inputs_of(sample_events[0]), outputs=OUTPUTS)
        assert len(reply.as_numpy("tracks_state")) > 0


def test_stop_answers_what_is_in_flight(
    repository: Path, sample_events: list[RawEvent], answers: Answers
) -> None:
    with Server(repository, **FREE) as own:
        client = triton_grpc.InferenceServerClient(own.grpc_url.removeprefix("grpc://"))
        inputs = inputs_of(sample_events[0])
        for _ in range(QUEUE):
            client.async_infer("patatrack", inputs, answers.callback(0), outputs=OUTPUTS)
        counts = samples(own)
        assert eventually(
            lambda: prometheus.total(samples(own), "trackserve_held") or answers.outcomes.total()
        ), counts
    assert answers.wait(QUEUE) == {"ok": QUEUE}
    client.close()


def test_waiting_in_triton_keeps_its_statistics_true(
    tmp_path: Path,
    sample_directory: Path,
    sample_events: list[RawEvent],
    answers: Answers,
    backend: str,
) -> None:
    limits = Limits(workers=1, queue=1, when_full="wait")
    options = {"conditions": sample_directory}
    write_model(tmp_path, "patatrack", options, limits=limits, backend=backend)
    with Server(tmp_path, **FREE) as own:
        client = triton_grpc.InferenceServerClient(own.grpc_url.removeprefix("grpc://"))
        start = time.perf_counter()
        for _ in range(20):
            inputs = inputs_of(sample_events[0])
            client.async_infer("patatrack", inputs, answers.callback(0), outputs=OUTPUTS)
        assert answers.wait(20) == {"ok": 20}
        seconds = time.perf_counter() - start
        statistics = client.get_inference_statistics("patatrack", as_json=True)
        client.close()
        with Client(own.grpc_url) as ours:  # a bundle may have more events than the queue
            bundles = ours.stream("patatrack", sample_events[:4], per_request=4, in_flight=1)
            assert [answer.event for answer in bundles] == [e.event for e in sample_events[:4]]
    queue = statistics["model_stats"][0]["inference_stats"]["queue"]
    assert int(queue["ns"]) / 1e9 > 20 * 0.1 * seconds


PROGRAM = """
import sys, time
from trackserve.serving.server import Server
server = Server(sys.argv[1], grpc_port=0, http_port=0, metrics_port=0)
server.start()
print(server.pid, server.ports.grpc, flush=True)
time.sleep(100)
"""


def test_a_killed_parent_leaves_nothing_behind(repository: Path, backend: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(repository)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        group, port = map(int, parent.stdout.readline().split())
        regions = shared_memory_of(group)
        assert regions or backend == "native"
        assert local.file(port).exists()
        parent.kill()
    assert eventually(lambda: not of_group(group), 5)
    assert eventually(lambda: not any(region.exists() for region in regions), 5)
    assert eventually(lambda: not local.file(port).exists(), 5)
