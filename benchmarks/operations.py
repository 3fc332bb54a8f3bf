"""What clients notice when a service is operated: servers that go, TLS, a front, bulk work.

    python -m benchmarks.operations PART DIR [--scale 1]

PART is one of:
    front   two servers behind a front; one is killed, frozen, drained, under load without retries
    balance two servers of given times behind a front, by its policy and by round robin
    tls     gRPC with TLS, straight and by a front, beside gRPC without; in turns
    bulk    a bulk job that is killed at random moments until it is done; every event once
    dask    two workers of dask beside one process with two threads; in turns

DIR is a data directory. Each row prints its figures and pass or FAIL.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import grpc
import pyarrow.parquet as pq
import trustme
from tritonclient.grpc import service_pb2, service_pb2_grpc

from benchmarks.processes import resident_of
from trackserve.client import Access, Client
from trackserve.errors import TrackserveError
from trackserve.io import read_events
from trackserve.serving import prometheus
from trackserve.serving.front import config
from trackserve.serving.front.config import FrontSettings
from trackserve.serving.front.front import Front, Watched
from trackserve.serving.http import Http
from trackserve.serving.repository import best_backend, write_model
from trackserve.serving.server import Server
from trackserve.serving.tls import Tls
from trackserve.studies.machine import in_words
from trackserve.wire.address import parse_url

PORTS: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
THREADS = 4


def row(name: str, figures: str, is_good: bool) -> None:
    print(f"{'pass' if is_good else 'FAIL'}  {name}: {figures}", flush=True)


class Load:
    """Threads that send events without a pause, and never a second time."""

    def __init__(self, url: str, events: list[Any]) -> None:
        self.answered = 0
        self.errors: list[TrackserveError] = []
        self.gap = 0.0
        """Longest time between two answers, seconds."""
        self._last = time.monotonic()
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._client = Client(url, transport="grpc", retry=False, timeout=60)
        self._threads = [
            threading.Thread(target=self._run, args=(events,), daemon=True) for _ in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, events: list[Any]) -> None:
        n = 0
        while not self._is_over.is_set():
            n += 1
            error = None
            try:
                self._client.reconstruct("patatrack", events[n % len(events)])
            except TrackserveError as raised:
                error = raised
            with self._lock:
                now = time.monotonic()
                if error is None:
                    self.answered += 1
                    self.gap = max(self.gap, now - self._last)
                    self._last = now
                else:
                    self.errors.append(error)

    def wait(self, n: int) -> None:
        """Wait for ``n`` more answers."""
        goal = self.answered + n
        while self.answered < goal:
            time.sleep(0.02)

    def end(self) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._client.close()


def repository(folder: Path, directory: Path) -> Path:
    write_model(folder, "patatrack", {"conditions": directory}, backend=best_backend("cpu")[0])
    return folder


@contextmanager
def front_of(*urls: str, **more: Any) -> Iterator[Front]:
    settings = FrontSettings("127.0.0.1", 0, 0, log="/dev/null", **more)
    with Front(settings, Watched(lambda: [parse_url(url) for url in urls], dict)) as running:
        yield running


def shares(front: Front) -> list[float]:
    """Requests that each server has had."""
    page = Http("127.0.0.1", front.settings.metrics_port).get("/metrics")[1]
    name = "envoy_cluster_endpoint_rq_total"
    return [sample.value for sample in prometheus.parse(page) if sample.name == name]


def front(directory: Path, work: Path, scale: float) -> None:
    written, events = repository(work / "models", directory), list(read_events(directory))
    n = int(300 * scale)
    for fault in ("killed", "frozen for 10 s", "drained"):
        with ExitStack() as stack:
            one, other = (stack.enter_context(Server(written, **PORTS)) for _ in range(2))
            behind = stack.enter_context(front_of(one.grpc_url, other.grpc_url))
            load = Load(behind.grpc_url, events)
            load.wait(n)
            first, second = shares(behind)
            row(
                "requests to each of two servers",
                f"{first:.0f}, {second:.0f}",
                abs(first - second) < 0.1 * (first + second),
            )
            assert one.pid
            group = os.getpgid(one.pid)
            load.gap = 0.0
            if fault == "killed":
                os.killpg(group, signal.SIGKILL)
            elif fault == "drained":
                one.stop()
            else:
                os.killpg(group, signal.SIGSTOP)
                time.sleep(10)
                os.killpg(group, signal.SIGCONT)
            load.wait(n)
            load.end()
            figures = f"{len(load.errors)} lost of {load.answered}, longest gap {load.gap:.2f} s"
            row(f"one server {fault}", figures, not load.errors)
            for error in load.errors[:3]:
                print(f"      {error}")


class Sleeper(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that takes a given time for a request, two at a time, and no processor."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.n = 0
        self._workers = threading.Semaphore(2)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.n += 1
        with self._workers:
            time.sleep(self.seconds)
        return service_pb2.ModelInferResponse()

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its url."""
        healthy = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
        health = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": healthy})
        with ThreadPoolExecutor(32) as pool:
            server = grpc.server(pool)
            service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, server)
            server.add_generic_rpc_handlers((health,))
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            yield f"grpc://127.0.0.1:{port}"
            server.stop(None).wait()


def send_to(front: Front, n: int) -> float:
    """Send requests from eight threads by four connections; return the requests per second.

    Args:
        front: the front; each thread of its Envoy has some of the connections.
        n: number of requests.
    """
    target = front.grpc_url.removeprefix("grpc://")
    own = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.insecure_channel(target, options=own) for _ in range(4)]
    request = service_pb2.ModelInferRequest(model_name="m")

    def send(number: int) -> None:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channels[number % 4])
        stub.ModelInfer(request, timeout=30, wait_for_ready=True)

    begin = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(send, range(n)))
    seconds = time.perf_counter() - begin
    for channel in channels:
        channel.close()
    return n / seconds


def n_healthy(front: Front) -> float:
    """Number of servers that a front takes for healthy."""
    page = Http("127.0.0.1", front.settings.metrics_port).get("/metrics")[1]
    name = "envoy_cluster_membership_healthy"
    return prometheus.total(prometheus.parse(page), name, envoy_cluster_name="grpc")


ROUND_ROBIN = {
    "typed_extension_config": {
        "name": "envoy.load_balancing_policies.round_robin",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3"
            ".RoundRobin"
        },
    }
}


def balance(directory: Path, work: Path, scale: float) -> None:
    n = int(600 * scale)
    for times in ((0.02, 0.02), (0.02, 0.04)):
        for policy in ("fewest", "round robin"):
            with ExitStack() as stack:
                if policy != "fewest":
                    stack.enter_context(patch.object(config, "_FEWEST", ROUND_ROBIN))
                sleepers = [Sleeper(seconds) for seconds in times]
                urls = [stack.enter_context(sleeper.running()) for sleeper in sleepers]
                behind = stack.enter_context(front_of(*urls))
                while n_healthy(behind) < len(times):
                    time.sleep(0.05)
                speed = send_to(behind, n)
            first, second = (sleeper.n for sleeper in sleepers)
            is_even = abs(first - second) < 0.1 * (first + second)
            row(
                f"{times[0] * 1e3:g} and {times[1] * 1e3:g} ms, {policy}",
                f"{first} and {second} requests, {speed:.0f}/s",
                is_even or times[0] != times[1],
            )


def certificates(folder: Path) -> tuple[Path, Tls]:
    authority = trustme.CA()
    signed = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    signed.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder / "ca.pem", Tls(folder / "server.pem", folder / "server.pem")


def rate(client: Client, events: list[Any], n: int) -> float:
    """Events per second of a stream."""
    many = (events[i % len(events)] for i in range(n))
    begin = time.perf_counter()
    for _ in client.stream("patatrack", many, ordered=False):
        pass
    return n / (time.perf_counter() - begin)


def in_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, measure in ways.items():
            value = measure()
            if number:  # the first round warms up
                found[name].append(value)
    return found


def ratio(name: str, found: dict[str, list[float]], one: str, other: str, least: float) -> None:
    each = [a / b for a, b in zip(found[one], found[other], strict=True)]
    middle = statistics.median(each)
    error = statistics.stdev(each) / len(each) ** 0.5
    row(name, f"{middle:.3f} +- {error:.3f} (of {least:g} wanted)", middle >= least)


def tls(directory: Path, work: Path, scale: float) -> None:
    written, events = repository(work / "models", directory), list(read_events(directory))
    authority, encryption = certificates(work)
    n, rounds = int(200 * scale), 6
    with ExitStack() as stack:
        plain = stack.enter_context(Server(written, **PORTS))
        encrypted = stack.enter_context(Server(written, tls=encryption, **PORTS))
        behind = stack.enter_context(front_of(plain.grpc_url, tls=encryption))
        access = Access(authority)
        clients = {
            name: stack.enter_context(Client(url, transport="grpc", access=access, timeout=120))
            for name, url in (
                ("plain", plain.grpc_url),
                ("TLS", encrypted.grpc_url),
                ("front", behind.grpc_url),
            )
        }
        ways = {
            name: (lambda client=client: rate(client, events, n))  # type: ignore[misc]
            for name, client in clients.items()
        }
        found = in_turns(ways, rounds)
        ratio("gRPC with TLS straight to Triton, beside plain", found, "TLS", "plain", 0.9)
        ratio("the same by a front", found, "front", "plain", 0.85)
        assert behind.pid
        assert encrypted.pid
        memory = []
        soak = int(2000 * scale)
        for _ in range(3):
            rate(clients["TLS"], events, soak)
            rate(clients["front"], events, soak)
            memory.append([resident_of(pid) / 2**20 for pid in (encrypted.pid, behind.pid)])
        growth = max(memory[2][i] / memory[1][i] for i in range(2))
        text = "; ".join(f"Triton {a:.0f}, Envoy {b:.0f} MiB" for a, b in memory)
        row(f"memory after each third of {6 * soak} events through TLS", text, growth < 1.05)


def copies(directory: Path, work: Path, n_files: int, times: int) -> list[Path]:
    """Data directories with the events of one, some times over."""
    found = []
    for number in range(n_files):
        copy = Path(shutil.copytree(directory, work / f"in/run{number:03d}"))
        (copy / "raw.bin").write_bytes((directory / "raw.bin").read_bytes() * times)
        found.append(copy)
    return found


def bulk_command(sources: list[Path], out: Path, *more: str) -> list[str]:
    program = [sys.executable, "-c", "from trackserve.cli import app; app()"]
    return [*program, "reconstruct", "patatrack", *map(str, sources), "-o", str(out), *more]


def bulk(directory: Path, work: Path, scale: float) -> None:
    n_files, kills = max(2, int(200 * scale)), max(1, int(20 * scale))
    n_events = len(list(read_events(directory)))
    sources = copies(directory, work, n_files, 1)
    command = bulk_command(sources, work / "out", "--processes", "2", "--resume")
    moments = random.Random(1)
    done = 0
    for _ in range(kills):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
            try:
                job.wait(3 + 9 * moments.random())
                break
            except subprocess.TimeoutExpired:
                job.kill()
                done += 1
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    files = sorted((work / "out").glob("**/*.parquet"))
    wrong = [
        file.name
        for file in files
        if pq.read_table(file, columns=["event"])["event"].to_pylist() != list(range(n_events))
    ]
    left = list((work / "out").glob("**/*.parts"))
    entries = json.loads((work / "out/manifest.json").read_text())["sources"]
    states = {entry["state"] for entry in entries}
    row(
        f"{n_files} files killed {done} times",
        f"{len(files)} files, {len(wrong)} with other events than their sources',"
        f" {len(left)} left open, manifest {sorted(states)}",
        len(files) == n_files and not wrong and not left and states == {"done"},
    )


def dask(directory: Path, work: Path, scale: float) -> None:
    import distributed

    sources = copies(directory, work, 8, max(1, int(40 * scale)))
    numbers = iter(range(1000))

    def seconds(*more: str, one_file: bool = False) -> float:
        out = work / f"out{next(numbers)}"
        target = out.with_suffix(".parquet") if one_file else out
        begin = time.perf_counter()
        command = bulk_command(sources, target, *more)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return 1 / (time.perf_counter() - begin)

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        ways = {
            "dask": lambda: seconds("--dask", cluster.scheduler_address),
            "processes": lambda: seconds("--processes", "2"),
            "threads": lambda: seconds("--threads", "2", one_file=True),
        }
        found = in_turns(ways, 4)
    ratio("two workers of dask, beside one process of two threads", found, "dask", "threads", 0.9)
    ratio("two processes, beside the same", found, "processes", "threads", 0.9)


PARTS = {"front": front, "balance": balance, "tls": tls, "bulk": bulk, "dask": dask}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="length, 1 is the documented one")
    chosen = parser.parse_args()
    print(in_words(), flush=True)
    with tempfile.TemporaryDirectory(prefix="operations-") as work:
        PARTS[chosen.part](chosen.directory.resolve(), Path(work), chosen.scale)


if __name__ == "__main__":
    main()
