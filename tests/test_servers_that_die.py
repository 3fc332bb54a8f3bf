"""Real servers that are killed, stopped and restarted under load: no answer is lost or wrong."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from exatrkx_models import random_event, small_model
from server_process import Process

from benchmarks.processes import resident_of
from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.errors import EventError
from trackserve.install import install_command
from trackserve.serving.limits import Limits
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.trackers.exatrkx.model import save_model
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline


class Work(NamedTuple):
    """Events, and the direct result or error of each."""

    events: list[Any]
    results: list[Any]
    options: dict[str, str]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(small_model(), folder)
    return folder


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, work: dict[str, Work], model: str, backend: str
) -> Path:
    written = tmp_path_factory.mktemp("repository")
    write_model(written, model, work[model].options, backend=backend)
    return written


@pytest.fixture(scope="module")
def work(
    sample_directory: Path, sample_events: list[RawEvent], pipeline: Any, learned: Path
) -> dict[str, Work]:
    """A few events of each tracker; one of them is bad."""
    raw = [*sample_events, replace(sample_events[0], data=sample_events[0].data[:-8])]
    points = [random_event(size, event=size) for size in (0, 40, 700, 200)]
    direct = ExatrkxPipeline(small_model())
    return {
        "patatrack": Work(raw, pipeline.run(raw), {"conditions": str(sample_directory)}),
        "exatrkx": Work(points, direct.run(points), {"model": str(learned)}),
    }


@pytest.fixture(scope="module")
def model(backend: str) -> str:
    """A tracker for each backend: which one it is changes nothing for a client in need."""
    return {"python": "exatrkx", "native": "patatrack"}[backend]


one_backend = pytest.mark.parametrize("backend", ["native"], indirect=True)
"""Of tests in which no backend ends by itself: which one it is changes nothing either."""


@pytest.fixture
def start(repository: Path) -> Iterator[Callable[..., list[Process]]]:
    """Starts servers, each in a process of its own."""
    with ExitStack() as stack:

        def started(n: int) -> list[Process]:
            processes = [Process(repository) for _ in range(n)]
            for process in processes:
                stack.callback(process.end)
            return [process.wait() for process in processes]

        yield started


class Audit:
    """The check of a stream: every event once, in order, with the direct answer.

    Args:
        work: the events, which come again and again.
        n: number of events; None: until :meth:`stop`.
    """

    def __init__(self, work: Work, n: int | None) -> None:
        self._work = work
        self._stopped = False
        self._numbers = iter(range(n)) if n is not None else itertools.count()
        self.done = 0
        self.longest = 0.0
        """Longest time between two answers, s."""
        self.servers: Counter[str] = Counter()
        self.last = ""

    def events(self) -> Iterator[Any]:
        for number in self._numbers:
            if self._stopped:
                return
            yield replace(self._work.events[number % len(self._work.events)], event=number)

    def stop(self) -> None:
        self._stopped = True

    def take(self, answers: Iterator[Any], each: Callable[[], None] = lambda: None) -> None:
        """Check all answers; ``each`` is called after each of them."""
        before = time.monotonic()
        for answer in answers:
            expected = self._work.results[self.done % len(self._work.events)]
            if isinstance(answer, EventError):
                assert isinstance(expected, EventError)
                assert answer.message == expected.message
                assert answer.fields["event"] == self.done
            else:
                assert answer.event == self.done
                assert replace(answer, event=expected.event) == expected
            self.last = answer.origin.server
            self.servers[self.last] += 1
            self.done += 1
            self.longest = max(self.longest, time.monotonic() - before)
            before = time.monotonic()
            each()


def url_of(processes: list[Process]) -> str:
    return ",".join(process.url for process in processes)


def once(at: int, audit: Audit, action: Callable[[], None]) -> Callable[[], None]:
    """Does something after ``at`` answers."""

    def each() -> None:
        if audit.done == at:
            action()

    return each


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "backend"),
    [("server", "native"), ("triton", "python"), ("backend", "native"), ("backend", "python")],
    indirect=["backend"],
)
def test_one_of_two_is_killed_under_load(
    start: Any, work: dict[str, Work], what: str, model: str
) -> None:
    processes = start(2)
    audit = Audit(work[model], 2000)
    with Client(url_of(processes)) as client:
        usual = Audit(work[model], 200)
        usual.take(client.stream(model, usual.events()))
        kill = once(500, audit, lambda: processes[0].kill(what))
        audit.take(client.stream(model, audit.events()), kill)
    assert audit.done == 2000
    assert audit.longest - usual.longest <= 2


@pytest.mark.slow
@one_backend
def test_all_are_killed_and_come_back(
    start: Any, work: dict[str, Work], model: str, repository: Path
) -> None:
    """Meanwhile this process computes; the service is used again within 5 s of its return."""
    processes = start(2)
    audit = Audit(work[model], None)
    back: list[Process] = []
    times: dict[str, float] = {}

    def kill_all() -> None:
        for process in processes:
            process.kill("server")
        times["killed"] = time.monotonic()

    def watch() -> None:
        if audit.done == 300:
            kill_all()
        now = time.monotonic()
        if "killed" in times and not back and now - times["killed"] > 20:
            assert audit.last == ""
            back.extend(Process(repository, process.port) for process in processes)
            threading.Thread(target=wait_for_them, daemon=True).start()
        if "back" in times and audit.last and "used" not in times:
            times["used"] = now
        if "used" in times and now - times["used"] > 2:
            audit.stop()

    def wait_for_them() -> None:
        for process in back:
            process.wait()
        while not any(process.answers(model) for process in back):
            time.sleep(0.05)
        times["back"] = time.monotonic()

    try:
        with Client(url_of(processes), fallback={model: work[model].options}) as client:
            audit.take(client.stream(model, audit.events()), watch)
            page = client.prometheus()
    finally:
        for process in back:
            process.end()
    assert audit.servers[""] > 0
    assert times["used"] - times["back"] <= 5
    assert 'server=""' in page


@pytest.mark.slow
@one_backend
def test_one_of_two_stands_still_for_10_s(start: Any, work: dict[str, Work], model: str) -> None:
    processes = start(2)
    audit = Audit(work[model], 2000)
    with Client(url_of(processes)) as client:
        usual = Audit(work[model], 200)
        usual.take(client.stream(model, usual.events()))

        def freeze() -> None:
            processes[0].freeze()
            threading.Timer(10, processes[0].thaw).start()

        audit.take(client.stream(model, audit.events()), once(300, audit, freeze))
    processes[0].thaw()
    assert audit.done == 2000
    assert audit.longest - usual.longest <= 3


@pytest.mark.slow
@one_backend
def test_a_rolling_restart_of_three_loses_nothing(repository: Path, work: dict[str, Work]) -> None:
    audit = Audit(work["patatrack"], None)
    with ExitStack() as stack:
        free = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
        servers = [stack.enter_context(Server(repository, **free)) for _ in range(3)]

        def roll() -> None:
            for number, server in enumerate(servers):
                port = int(server.grpc_url.rpartition(":")[2])
                server.stop()
                again = Server(repository, grpc_port=port, http_port=0, metrics_port=0)
                servers[number] = stack.enter_context(again)
            time.sleep(2)
            audit.stop()

        with Client(",".join(server.grpc_url for server in servers)) as client:
            rolling = threading.Thread(target=roll)
            audit.take(client.stream("patatrack", audit.events()), once(50, audit, rolling.start))
            rolling.join()
            deadline = time.monotonic() + 10
            while {state.state for state in client.servers()} != {"usable"}:
                assert time.monotonic() < deadline
                time.sleep(0.1)
    assert audit.done > 100
    assert len(audit.servers) == 3


@pytest.mark.slow
def test_overload_of_all_servers_is_bounded(
    tmp_path: Path, sample_directory: Path, work: dict[str, Work]
) -> None:
    """Events of several clients find full queues again and again; memory stays flat."""
    limits = Limits(workers=1, queue=3)
    write_model(tmp_path, "patatrack", {"conditions": sample_directory}, limits=limits)
    free = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
    with (
        Server(tmp_path, **free) as one,
        Server(tmp_path, **free) as two,
        Client(f"{one.grpc_url},{two.grpc_url}", timeout=120) as client,
    ):
        memory = []

        def run(audit: Audit) -> None:
            audit.take(client.stream("patatrack", audit.events(), in_flight=30))

        for _ in range(4):
            audits = [Audit(work["patatrack"], 300) for _ in range(3)]
            threads = [threading.Thread(target=run, args=(audit,)) for audit in audits]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [audit.done for audit in audits] == [300, 300, 300]
            memory.append(resident_of(os.getpid()))
        found = {
            s.labels["error"]: s.value for s in client.counters() if s.name == "failures_total"
        }
    assert found["ServerBusy"] > 100
    assert memory[-1] - memory[1] < 64 << 20


@pytest.mark.slow
@one_backend
def test_a_bad_event_is_asked_for_once(start: Any, work: dict[str, Work]) -> None:
    bad = work["patatrack"].events[-1]
    with Client(url_of(start(2))) as client:
        for _ in range(5):
            with pytest.raises(EventError) as caught:
                client.reconstruct("patatrack", bad)
            assert caught.value.origin.tries == 1
            assert caught.value.origin.server
        assert not [s for s in client.counters() if s.name == "failures_total"]


def test_a_light_install_says_which_extra_the_fallback_needs(tmp_path: Path) -> None:
    """A program without Numba."""
    program = (
        "import sys; sys.modules['numba'] = None\n"
        "from trackserve.client import Client\n"
        "from trackserve.edm import RawEvent\n"
        "from trackserve.trackers.registry import find_tracker\n"
        "client = Client('grpc://127.0.0.1:9', fallback={'patatrack': {'conditions': '.'}})\n"
        "client.reconstruct('patatrack', find_tracker('patatrack').example())\n"
    )
    with tempfile.TemporaryFile() as output:
        subprocess.run([sys.executable, "-c", program], stderr=output, timeout=60, check=False)
        output.seek(0)
        text = output.read().decode()
    assert "MissingExtraError" in text
    assert install_command("cpu") in text
