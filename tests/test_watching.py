"""What operators see: metrics, status, top, readiness, why a client cannot reach a server."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from certificates import Authority
from command_line import command, says
from hypothesis import given
from hypothesis import strategies as st
from test_access import service

from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.errors import ServerBusy, ServerError, ServerUnavailable
from trackserve.serving import installation, prometheus
from trackserve.serving.backend.metrics import LATENCY_BUCKET, METRICS, Counters, Series, bucket
from trackserve.serving.front.config import FrontSettings
from trackserve.serving.front.front import Front, Watched
from trackserve.serving.http import Http
from trackserve.serving.installation import Ports, claim_ports, environment, find_triton
from trackserve.serving.server import Server
from trackserve.serving.status import ModelStatus, rates
from trackserve.trackers.patatrack.tracker import Patatrack
from trackserve.wire.address import parse_url

DEPLOY = Path(__file__).parents[1] / "deploy"
ALERT = "alert "
FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}


@pytest.fixture(scope="module")
def backend() -> str:
    return "python"


@given(st.lists(st.floats(0, 100), max_size=20))
def test_a_bucket_has_all_that_took_no_longer(times: list[float]) -> None:
    """As Prometheus takes a histogram: whatever is counted between two reports."""
    counters = Counters()
    sums: dict[str, float] = {}
    for n, seconds in enumerate(times):
        counters.add((bucket(LATENCY_BUCKET, seconds), 1.0))
        if n % 3 == 0:
            for series, amount in counters.take().items():
                sums[series.label] = sums.get(series.label, 0) + amount
    for series, amount in counters.take().items():
        sums[series.label] = sums.get(series.label, 0) + amount
    for bound in ("0.001", "0.05", "10.0", "+Inf"):
        expected = sum(seconds <= float(bound.replace("+Inf", "inf")) for seconds in times)
        assert sums.get(bound, 0) == expected


def model(events: float, queue: float, compute: float, **outcomes: int) -> ModelStatus:
    return ModelStatus("m", "1", outcomes, queue=queue, compute=compute, events=events)


def test_rates_are_those_between_two_looks() -> None:
    before = model(100, 0.5, 0.010, ok=90, ServerError=10)
    after = model(150, 0.4, 0.012, ok=135, partial=2, ServerError=13)
    found = rates(before, after, 2.0)
    assert (found.events, found.errors) == (25.0, 1.5)
    assert found.queue == pytest.approx((150 * 0.4 - 100 * 0.5) / 50)
    assert found.compute == pytest.approx((150 * 0.012 - 100 * 0.010) / 50)
    assert found.busy == pytest.approx((150 * 0.012 - 100 * 0.010) / 2)
    assert rates(after, after, 1.0).queue is None
    restarted = rates(after, model(1, 0.1, 0.1, ok=1), 1.0)
    assert (restarted.events, restarted.busy) == (0.0, 0.0)


def test_status_for_programs_says_which_servers_are_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = command("status", f"http://127.0.0.1:{port}", "--json", status=1)
    [found] = json.loads(said.out)
    assert (found["url"], found["ready"]) == (f"http://127.0.0.1:{port}", False)
    assert "no answer" in found["error"]


def test_doctor_stops_at_the_first_step_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ssl

    authority = Authority(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.sign("server", "localhost"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]

    def why(url: str) -> str:
        return says("doctor", "--url", url, status=1)

    assert "start it: trackserve serve" in why(f"grpc://127.0.0.1:{free}")
    assert "is the name right" in why("grpc://no-such-host.invalid:1")
    with service() as plain, service(context) as encrypted:
        there = f"localhost:{encrypted.server_port}"
        assert f"use https://{there}" in why(f"http://{there}")
        assert "TRACKSERVE_CA names the file" in why(f"https://{there}")
        assert f"use http://127.0.0.1:{plain.server_port}" in why(
            f"https://127.0.0.1:{plain.server_port}"
        )
        monkeypatch.setenv("TRACKSERVE_CA", str(authority.file))
        said = why(f"https://{there}")
        assert "TLS, for localhost" in said
        assert "TRACKSERVE_TOKEN_FILE: the token that the operator gave you" in said
        assert f"use https://{there}" in why(f"grpcs://{there}")


def test_the_unit_of_systemd_is_well_formed(tmp_path: Path) -> None:
    """Its exit status says nothing; what it prints does."""
    if not (verify := shutil.which("systemd-analyze")):
        pytest.skip("no systemd-analyze")
    (tmp_path / "trackserve").touch(mode=0o755)
    text = (DEPLOY / "systemd/trackserve.service").read_text()
    unit = tmp_path / "trackserve.service"
    unit.write_text(text.replace("/opt/trackserve/bin/", f"{tmp_path}/"))
    done = subprocess.run([verify, "verify", unit], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""


def command_of(words: list[str]) -> None:
    """Check that a command of the deployment takes its options."""
    known = says(words[0], "--help")
    for word in words[1:]:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, word


@pytest.mark.slow
def test_the_commands_of_the_deployment_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    for name in ("Containerfile", "Containerfile.front"):
        text = (DEPLOY / "container" / name).read_text()
        [entry] = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.M)
        command_of(json.loads(entry)[1:])
    services = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())["services"]
    command_of(["front", *services["front"]["command"]])
    triton = yaml.safe_load((DEPLOY / "helm/values.yaml").read_text())["triton"]
    command_of([*triton["command"][1:], *triton["args"]])
    unit = (DEPLOY / "systemd/trackserve.service").read_text()
    [start] = re.findall(r"^ExecStart=\S*/trackserve (.*)$", unit, re.M)
    command_of(start.split())


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and the expression."""
    rules = yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            title = f"{ALERT}{rule['alert']}" if "alert" in rule else rule["record"]
            yield title, rule["expr"]
    dashboard = json.loads((DEPLOY / "grafana/trackserve.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            text = target["expr"].replace("$server", ".*").replace("$model", ".*")
            yield panel["title"], text


def names_in(expression: str) -> set[str]:
    """Names of the metrics of servers and fronts in an expression."""
    labels = {"envoy_endpoint_address", "envoy_cluster_name"}
    return set(re.findall(r"\b((?:trackserve|envoy)_\w+)\b", expression)) - labels


@pytest.mark.slow
def test_each_expression_is_true_of_a_running_server_and_front(
    server: Server, sample_events: list[RawEvent], tmp_path: Path
) -> None:
    """A real Prometheus reads them; each rate has a value, each alert is silent."""
    if not (program := shutil.which("prometheus")):
        pytest.skip("no prometheus")
    front_settings = FrontSettings("127.0.0.1", 0, 0, log=str(tmp_path / "log"))
    with Front(front_settings, Watched(lambda: [parse_url(server.grpc_url)], dict)) as front:
        shutil.copy(DEPLOY / "prometheus/rules.yml", tmp_path)
        found = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        found["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        for job, port in zip(
            found["scrape_configs"],
            (server.ports.metrics, front.settings.metrics_port),
            strict=True,
        ):
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(found))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        words = [
            program,
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        with subprocess.Popen(words) as running:
            try:
                evaluate(Http("127.0.0.1", port), front, sample_events)
            finally:
                running.terminate()


def evaluate(where: Http, front: Front, events: list[RawEvent]) -> None:
    def value(expression: str) -> list[Any]:
        path = f"/api/v1/query?query={quote(expression)}"
        answer = where.get_json(path, dict)
        assert answer["status"] == "success", (expression, answer)
        return list(answer["data"]["result"])

    deadline = time.monotonic() + 60
    with Client(front.grpc_url, transport="grpc", timeout=60) as client:
        while True:
            client.reconstruct("patatrack", events[0])
            try:
                if value("trackserve:latency_seconds:p99") and value(
                    "trackserve:workers_busy:rate1m"
                ):
                    break
            except OSError:
                assert time.monotonic() < deadline
            assert time.monotonic() < deadline
            time.sleep(0.3)
    known = {series["metric"]["__name__"] for series in value('{job=~"trackserve|front"}')}
    alerts = {"envoy_http_rbac_denied", "envoy_listener_ssl_connection_error"}  # with tokens, TLS
    for title, expression in expressions():
        result = value(expression)
        assert names_in(expression) <= known | alerts, title
        is_alert = title.startswith(ALERT)
        assert not (is_alert and result), (title, result)
        rests = "ServerBusy" in expression or names_in(expression) & alerts
        assert result or is_alert or rests, title
    assert {name for name in METRICS if name != "trackserve_stage_seconds_total"} <= known


@pytest.mark.slow
def test_a_server_says_that_it_drains_before_it_refuses(
    repository: Path, sample_events: list[RawEvent]
) -> None:
    server = Server(repository, ready_port=0, drain_delay=3, **FREE)
    server.start()
    page = Http("127.0.0.1", int(server.ready_url.split(":")[2].split("/")[0]))
    with Client(server.grpc_url, transport="grpc", retry=False, timeout=30) as client:
        client.reconstruct("patatrack", sample_events[0])
        assert page.get("/ready") == (200, "ready\n")
        assert page.get("/else")[0] == 404
        stop = threading.Thread(target=server.stop)
        stop.start()
        while page.get("/ready") != (503, "stopping\n"):
            time.sleep(0.01)
        client.reconstruct("patatrack", sample_events[0])
        with pytest.raises((ServerBusy, ServerUnavailable)):
            list(client.stream("patatrack", itertools.cycle(sample_events), in_flight=1))
    stop.join()
    with pytest.raises(OSError, match="refused"):
        page.get("/ready")


@pytest.mark.slow
def test_top_and_status_tell_what_a_server_does(server: Server) -> None:
    metrics = ("--metrics-port", server.ports.metrics)
    said = says("top", server.grpc_url, *metrics, "--every", "1.5", "--looks", "1")
    assert "patatrack" in said
    deadline = time.monotonic() + 10  # metrics are written about once a second
    while "trackserve_identity" not in Http(server.host, server.ports.metrics).get("/metrics")[1]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    found = json.loads(command("status", server.grpc_url, *metrics, "--json").out)
    [one] = found
    assert one["ready"]
    assert one["restarts"] == server.restarts  # other files kill it
    [model] = one["models"]
    assert model["name"] == "patatrack"
    assert model["outcomes"]["ok"] >= 1
    assert model["identity"].startswith(f"patatrack {Patatrack.algorithm}")
    page = Http(server.host, server.ports.metrics).get("/metrics")[1]
    samples = prometheus.parse(page)
    whole = prometheus.total(samples, LATENCY_BUCKET, le="+Inf")
    assert whole == prometheus.total(samples, "trackserve_batched_requests_total")
    assert Series("trackserve_restarts").metric in page
    said = says("doctor", "--url", server.grpc_url)
    assert f"yes models by shm: patatrack: patatrack {Patatrack.algorithm}" in said


def test_the_ports_of_a_server_are_three(monkeypatch: pytest.MonkeyPatch) -> None:
    few = range(21000, 21000 + installation._TRIES)
    monkeypatch.setattr(installation, "_ports_of_servers", lambda: few)
    for _ in range(50):
        assert len(set(claim_ports("127.0.0.1", Ports(0, 0, 0)))) == 3
    with pytest.raises(ServerError, match="wanted twice"):
        claim_ports("127.0.0.1", Ports(21000, 21000, 0))


@pytest.mark.slow
def test_a_plain_triton_serves_a_written_repository(
    sample_directory: Path, sample_events: list[RawEvent], tmp_path: Path
) -> None:
    """Without trackserve around it; what trackserve closes is closed."""
    triton = find_triton()
    folder = tmp_path / "repository"
    says("repository", folder, f"patatrack,conditions={sample_directory}")
    ports = claim_ports("127.0.0.1", Ports(0, 0, 0))
    words = [f"--{name}-port={port}" for name, port in ports._asdict().items()]
    variables = environment(triton) | {"TRITONSERVER": str(triton.binary)}
    log = (tmp_path / "log").open("w")
    with (
        log,
        subprocess.Popen(
            [folder / "start.sh", *words], env=variables, stdout=log, stderr=log
        ) as running,
    ):
        try:
            url = f"grpc://127.0.0.1:{ports.grpc}"
            deadline = time.monotonic() + 120
            with Client(url, transport="grpc", timeout=60) as client:
                while not client.ready():
                    assert running.poll() is None, (tmp_path / "log").read_text()[-2000:]
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                assert client.reconstruct("patatrack", sample_events[0]).counts.tracks > 0
            service = Http("127.0.0.1", ports.http)
            assert service.post("/v2/repository/models/patatrack/unload")[0] == 403
        finally:
            running.terminate()
