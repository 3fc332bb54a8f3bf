"""The front: what passes, what is refused, what is lost when servers go."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import Authority, Pair
from server_process import Process
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.operations import Sleeper, n_healthy, send_to
from trackserve.client import Access, Client
from trackserve.client.transport import Request
from trackserve.edm import RawEvent
from trackserve.errors import (
    AccessDenied,
    InputError,
    ServerError,
    ServerUnavailable,
    TrackserveError,
)
from trackserve.serving import prometheus
from trackserve.serving.front import config
from trackserve.serving.front.config import FrontSettings
from trackserve.serving.front.front import Front, Watched, find_envoy, write_config
from trackserve.serving.front.tokens import parse_tokens, read_tokens
from trackserve.serving.http import Http
from trackserve.serving.server import Server
from trackserve.serving.tls import Tls
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.wire.address import parse_url

TOKENS = {"trigger": "a-long-token-of-the-trigger", "offline": "a-long-token-of-offline"}
FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.sign("front", "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def backend() -> str:
    return "python"


def settings(log: Path, **more: Any) -> FrontSettings:
    return FrontSettings("127.0.0.1", 0, 0, log=str(log), **more)


def watched(*urls: str, tokens: Callable[[], dict[str, str]] = dict) -> Watched:
    return Watched(lambda: [parse_url(url) for url in urls], tokens)


def log_lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def wait_for(true: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("is_open", [True, False])
def test_envoy_takes_the_configuration(
    is_open: bool, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    """The one that is written for somebody else's Envoy has all that ours has."""
    file = tmp_path / "envoy.json"
    mine = Access(authority.file, *pair)
    more: dict[str, Any] = {"tls": Tls(*pair, authority.file), "tokens": TOKENS, "access": mine}
    urls = ["grpc://a:1"] if is_open else ["grpcs://a:1", "grpcs://127.0.0.1:2", "https://a:3"]
    chosen = settings(tmp_path / "log", **({} if is_open else more))
    write_config(file, replace(chosen, port=9001, metrics_port=9002), [*map(parse_url, urls)])
    assert file.stat().st_mode & 0o077 == 0
    command = [find_envoy(), "--mode", "validate", "-c", file, "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_servers_that_do_not_fit_together(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "log")
    for urls, reason in (
        (["http://a:1"], "needs the gRPC address"),
        (["grpc://a:1", "grpcs://b:1"], "either all servers have TLS, or none"),
    ):
        with pytest.raises(InputError, match=reason):
            config.clusters(chosen, [*map(parse_url, urls)], tmp_path)


def test_tokens_are_read_from_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"# who\n\n trigger  {TOKENS['trigger']}\noffline {TOKENS['offline']}\n"
    assert parse_tokens(text, "file") == TOKENS
    (tmp_path / "tokens").write_text(text)
    assert read_tokens(tmp_path / "tokens") == TOKENS
    assert read_tokens(None) == {}
    monkeypatch.setenv("TRACKSERVE_FRONT_TOKENS", text)
    assert read_tokens(None) == TOKENS
    for line, reason in (
        ("trigger", "no token .*line 2"),
        ("x short", "too short"),
        (f"other {TOKENS['trigger']}", "there twice"),
        (f"trigger {TOKENS['trigger']}x", "there twice"),
    ):
        with pytest.raises(InputError, match=reason) as raised:
            parse_tokens(f"trigger {TOKENS['trigger']}\n{line}\n", "file")
        assert TOKENS["trigger"] not in str(raised.value)
    with pytest.raises(InputError, match="nobody could use the front"):
        parse_tokens("# none\n", "file")


def test_a_front_without_servers_that_answer(tmp_path: Path) -> None:
    """It says so at once; a wrong token is refused before, and counted; it takes new tokens."""
    log = tmp_path / "log"
    tokens = dict(TOKENS)
    chosen = settings(log, tokens=tokens, max_request=1000)
    with Front(
        chosen, watched("grpc://127.0.0.1:1", "http://127.0.0.1:1", tokens=lambda: tokens)
    ) as front:
        where = Http("127.0.0.1", front.settings.port)

        def status(token: str, path: str = "/v2", body: str = "") -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            call = where.post(path, body, headers) if body else where.get(path, headers)
            return call[0]

        assert status(TOKENS["offline"]) == 503
        assert status("") == status("wrong") == 403
        assert status(TOKENS["offline"], "/v2/repository/index") == 403
        assert status(TOKENS["offline"], "/v2/models/x/infer", "x" * 2000) == 413
        assert where.get("/ready")[0] == 200
        for token, error in (("wrong", AccessDenied), (TOKENS["trigger"], ServerUnavailable)):
            access = Access(token=token)
            with Client(front.grpc_url, access=access) as client, pytest.raises(error):
                client.identify("patatrack")
            request = Request("patatrack", {}, [], id=f"id-of-{error.__name__}")
            with Client(front.grpc_url, access=access) as client, pytest.raises(error):
                client._transport.call(request, 10)
        metrics = Http("127.0.0.1", front.settings.metrics_port)
        samples = prometheus.parse(metrics.get("/metrics")[1])
        assert prometheus.total(samples, "envoy_http_rbac_denied") >= 3
        assert metrics.get("/quitquitquit")[0] == 404
        tokens["new"] = "a-long-token-that-is-new"
        wait_for(lambda: status(tokens["new"]) == 503)
        assert front.pid
        process = Path(f"/proc/{front.pid}")
        words = (process / "cmdline").read_text()
        assert not any(token in words for token in tokens.values())
    assert not process.exists()
    text = log.read_text()
    assert not any(token in text for token in tokens.values())
    refused = [line for line in log_lines(log) if line.get("reason", "").startswith("rbac")]
    assert len(refused) >= 3
    assert {line["path"] for line in refused} >= {"/v2"}
    ids = {line.get("request") for line in log_lines(log)}
    assert {"id-of-AccessDenied", "id-of-ServerUnavailable"} <= ids


GRPC_CALLS = [
    method.name
    for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
]
HTTP_PATHS = {
    "GET": [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/stats",
        "/v2/models/patatrack",
        "/v2/models/patatrack/ready",
        "/v2/models/patatrack/config",
        "/v2/models/patatrack/stats",
        "/v2/models/patatrack/versions/1",
        "/v2/systemsharedmemory/status",
        "/v2/systemsharedmemory/region/x/status",
        "/v2/cudasharedmemory/status",
        "/v2/trace/setting",
        "/v2/models/patatrack/trace/setting",
        "/v2/logging",
        "/metrics",
        "/",
    ],
    "POST": [
        "/v2/models/patatrack/infer",
        "/v2/models/patatrack/generate",
        "/v2/repository/index",
        "/v2/repository/models/patatrack/load",
        "/v2/repository/models/patatrack/unload",
        "/v2/systemsharedmemory/region/x/register",
        "/v2/systemsharedmemory/unregister",
        "/v2/cudasharedmemory/unregister",
        "/v2/trace/setting",
        "/v2/logging",
    ],
}
OPEN_HTTP = {
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /v2/models/stats",
    "GET /v2/models/patatrack",
    "GET /v2/models/patatrack/ready",
    "GET /v2/models/patatrack/config",
    "GET /v2/models/patatrack/stats",
    "GET /v2/models/patatrack/versions/1",
    "POST /v2/models/patatrack/infer",
}


def open_calls(channel: grpc.Channel, token: str) -> set[str]:
    """Calls of Triton's gRPC service that are neither refused nor unknown."""
    found = set()
    metadata = [("authorization", f"Bearer {token}")] if token else None
    for name in GRPC_CALLS:
        kind = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name[name]
        stub = getattr(service_pb2_grpc.GRPCInferenceServiceStub(channel), name)
        request = getattr(service_pb2, kind.input_type.name)()
        if hasattr(request, "name"):
            request.name = "patatrack"
        if name == "ModelInfer":
            request.model_name = "patatrack"
        code, details = grpc.StatusCode.OK, ""
        try:
            if name == "ModelStreamInfer":
                request.model_name = "patatrack"
                list(stub(iter([request]), metadata=metadata, timeout=10))
            else:
                stub(request, metadata=metadata, timeout=10)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()
        refused = "restricted" in details or code in (
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.PERMISSION_DENIED,
        )
        assert code is not grpc.StatusCode.DEADLINE_EXCEEDED, name
        if not refused:
            found.add(name)
    return found


def open_paths(where: Http, token: str, probe: str) -> set[str]:
    found = set()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for method, paths in HTTP_PATHS.items():
        for path in paths:
            body = probe if path.endswith("infer") else "{}"
            call = where.get(path, headers) if method == "GET" else where.post(path, body, headers)
            if call[0] == 200:
                found.add(f"{method} {path}")
    return found


def test_a_new_certificate_takes_effect(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = Tls(*authority.sign("front", "localhost"))
    with Front(settings(tmp_path / "log", tls=tls), watched("grpc://127.0.0.1:1")) as front:
        where = ("127.0.0.1", front.settings.port)
        first = ssl.get_server_certificate(where)
        authority.sign("front", "localhost")
        wait_for(lambda: ssl.get_server_certificate(where) != first)


@pytest.mark.slow
def test_only_what_is_documented_answers(
    server: Server, repository: Path, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    """Every call of Triton, direct and by the front; without a token, a wrong and a right one."""
    probe = (repository / "models/patatrack/probe.json").read_text()
    health = {"GET /v2/health/live", "GET /v2/health/ready"}
    with grpc.insecure_channel(server.grpc_url.removeprefix("grpc://")) as channel:
        assert open_calls(channel, "") == {*config.GRPC_OPEN, "ModelStreamInfer"}
    assert open_paths(Http(server.host, server.ports.http), "", probe) == OPEN_HTTP
    chosen = settings(tmp_path / "log", tls=Tls(*pair), tokens=TOKENS)
    behind = watched(server.grpc_url, server.http_url, tokens=lambda: TOKENS)
    with Front(chosen, behind) as front:
        access = Access(authority.file)
        where = Http("127.0.0.1", front.settings.port, context=access.context())
        credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
        target = front.grpc_url.removeprefix("grpcs://")
        wait_for(lambda: where.get("/v2/health/ready")[0] == 200)
        with grpc.secure_channel(target, credentials) as channel:
            assert open_calls(channel, "") == open_calls(channel, "wrong") == set()
            assert open_calls(channel, TOKENS["offline"]) == set(config.GRPC_OPEN)
        assert open_paths(where, "", probe) == open_paths(where, "wrong", probe) == health
        assert open_paths(where, TOKENS["trigger"], probe) == OPEN_HTTP


@pytest.mark.slow
def test_strangers_are_refused_and_good_clients_answered(
    repository: Path,
    authority: Authority,
    pair: Pair,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    tmp_path: Path,
) -> None:
    """Triton itself and the front, both with TLS and certificates of clients."""
    strangers = Authority(tmp_path, "strangers")
    mine = authority.sign("job", "job")
    old = authority.sign("old", "job", is_expired=True)
    tls = Tls(*pair, authority.file)
    good = Access(authority.file, *mine)
    with (
        Server(repository, tls=tls, **FREE) as server,
        Front(
            settings(tmp_path / "log", tls=tls, access=good),
            watched(server.grpc_url.replace("127.0.0.1", "localhost")),
        ) as front,
    ):
        assert server.grpc_url.startswith("grpcs://")
        assert server.http_host == "127.0.0.1"
        for url in (server.grpc_url, front.grpc_url):
            with Client(url, access=good, transport="grpc", timeout=20) as client:
                found = client.reconstruct("patatrack", sample_events[0])
                assert found.tracks == sample_results[0].tracks
                for bad in (
                    Access(authority.file),
                    Access(authority.file, *strangers.sign("s", "job")),
                    Access(authority.file, *old),
                    Access(strangers.file, *mine),
                ):
                    stranger = Client(url, access=bad, transport="grpc", timeout=5)
                    with stranger, pytest.raises(ServerError):
                        stranger.reconstruct("patatrack", sample_events[0])
                found = client.reconstruct("patatrack", sample_events[1])
                assert found.tracks == sample_results[1].tracks
            with Client(url.replace("grpcs", "grpc"), transport="grpc", timeout=5) as plain:
                assert not plain.ready()
        with Client(server.grpc_url, access=good) as client:
            for number in range(3):
                found = client.reconstruct("patatrack", sample_events[number])
                assert found.tracks == sample_results[number].tracks
            assert client.transport == "shm"
        wait_for(lambda: len([x for x in log_lines(tmp_path / "log") if x.get("refused")]) >= 3)


class Load:
    """Threads that send events without a pause, and what they came to; one ends at its first error.

    A context manager.
    """

    def __init__(self, url: str, events: list[RawEvent], n_threads: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._client = Client(url, transport="grpc", retry=False, timeout=30)
        self._events = events
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(n_threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self._client.reconstruct("patatrack", self._events[number % len(self._events)])
                self.outcomes["ok"] += 1
            except TrackserveError as error:
                self.outcomes[type(error).__name__] += 1
                self.errors.append(str(error))
                return

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def goes_on(self, n: int) -> None:
        """Wait for ``n`` more answers, none of which is an error."""
        before = self.outcomes.total()
        wait_for(lambda: self.errors or self.outcomes.total() > before + n, 60)
        assert not self.errors

    def end(self) -> Counter[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        return self.outcomes


@contextmanager
def processes(repository: Path, n: int) -> Iterator[list[Process]]:
    found = [Process(repository) for _ in range(n)]
    try:
        yield [one.wait() for one in found]
    finally:
        for one in found:
            one.end()


def balance(front: Front) -> dict[str, float]:
    """Requests that each server has had."""
    page = Http("127.0.0.1", front.settings.metrics_port).get("/metrics")[1]
    return {
        sample.labels["envoy_endpoint_address"]: sample.value
        for sample in prometheus.parse(page)
        if sample.name == "envoy_cluster_endpoint_rq_total"
        and sample.labels.get("envoy_cluster_name") == "grpc"
    }


def shares_of(log: Path, *times: float) -> list[int]:
    """Numbers of requests, of 400, that servers of these times get."""
    sleepers = [Sleeper(seconds) for seconds in times]
    with ExitStack() as stack:
        urls = [stack.enter_context(sleeper.running()) for sleeper in sleepers]
        front = stack.enter_context(Front(settings(log), watched(*urls)))
        wait_for(lambda: n_healthy(front) == len(times))
        send_to(front, 400)
    assert sum(sleeper.n for sleeper in sleepers) == 400
    return [sleeper.n for sleeper in sleepers]


@pytest.mark.slow
def test_requests_are_balanced_by_what_servers_can_do(tmp_path: Path) -> None:
    """Equal servers get equal numbers, within 10 %; one that is twice as fast gets more."""
    one, other = shares_of(tmp_path / "log", 0.02, 0.02)
    assert abs(one - other) < 0.1 * (one + other)
    fast, slow = shares_of(tmp_path / "log", 0.02, 0.04)
    assert 1.4 < fast / slow < 2.6


@pytest.mark.slow
def test_no_request_is_lost_when_a_server_dies_or_drains(
    repository: Path, sample_events: list[RawEvent], tmp_path: Path
) -> None:
    """Clients that never ask again; requests go to both alike while both are there."""
    with (
        processes(repository, 2) as (one, other),
        Front(settings(tmp_path / "log"), watched(one.url, other.url)) as front,
        Load(front.grpc_url, sample_events) as load,
    ):
        load.goes_on(200)
        shares = balance(front)
        assert len(shares) == 2
        assert min(shares.values()) > 0
        one.kill("triton")
        wait_for(lambda: n_healthy(front) == 1, 60)
        load.goes_on(100)
        wait_for(lambda: n_healthy(front) == 2, 60)
        shares = balance(front)
        wait_for(lambda: balance(front)[one.url[7:]] > shares[one.url[7:]], 60)
        other.drain()
        load.goes_on(50)
        assert load.end() == {"ok": load.outcomes["ok"]}, load.errors[:3]


@pytest.mark.slow
def test_a_front_that_drains_answers_what_it_has(
    server: Server, sample_events: list[RawEvent], tmp_path: Path
) -> None:
    chosen = settings(tmp_path / "log")
    front = Front(chosen, watched(server.grpc_url))
    front.start()
    with Load(front.grpc_url, sample_events, 2) as load:
        where = Http("127.0.0.1", front.settings.port)
        wait_for(lambda: load.outcomes["ok"] > 20)
        assert where.get("/ready")[0] == 200
        stop = threading.Thread(target=front.stop)
        stop.start()
        seen = []
        while stop.is_alive():
            with suppress(OSError):
                seen.append(where.get("/ready")[0])
            if seen and seen[-1] == 503:
                break
            time.sleep(0.01)
        assert seen[-1] == 503
        assert load.end()["ok"] == load.outcomes.total(), load.errors[:3]
    stop.join()
