"""The runtime that every backend shares: batches, limits, errors, metrics, draining."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.errors import (
    Cancelled,
    EventError,
    InputError,
    ServerBusy,
    ServerError,
    WireMismatch,
    encode,
)
from trackserve.serving import drain, prometheus
from trackserve.serving.backend import runtime as runtime_module
from trackserve.serving.backend.gather import Gather
from trackserve.serving.backend.metrics import (
    METRICS,
    Counters,
    Reporter,
    Series,
)
from trackserve.serving.backend.model import ServedModel
from trackserve.serving.backend.runtime import (
    ASK_AFTER,
    Answer,
    EncodedEvent,
    EncodedResult,
    Job,
    JobQueue,
    RunBatch,
    Runtime,
    cores,
)
from trackserve.serving.backend.tracker import load
from trackserve.serving.http import Http
from trackserve.serving.limits import Limits
from trackserve.serving.watch import Watch
from trackserve.trackers.patatrack.tracker import Patatrack
from trackserve.wire.bundle import split_answers
from trackserve.wire.codec import TIMING
from trackserve.wire.tensors import decode_timing, encode_timing


class Model:
    """A model that answers an event by its number; a test can stop or break it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)

    def new_run(self) -> RunBatch:
        return self.run

    def run(self, batch: Iterable[EncodedEvent]) -> Iterator[Answer]:
        numbers: list[int] = []
        self.batches.append(numbers)
        for request in batch:
            number = int(request.tensors["number"][0])
            numbers.append(number)
            self.started.release()
            assert self.gate.wait(10)
            if number % 10 == 7:
                yield EventError("unlucky", event=number)
            elif number % 10 == 9:
                raise RuntimeError(f"broken by {number}")
            else:
                tensors = {"number": np.array([number])}
                yield EncodedResult(tensors, {"tracks": number}, {"fit": 0.5})


class Answers:
    """Collects the answers to jobs, by their number."""

    def __init__(self) -> None:
        self.found: dict[int, Answer] = {}
        self.changed = threading.Condition()

    def job(self, number: int, size: int = 1, unwanted: bool = False) -> Job:
        array = np.zeros(size)
        array[0] = number

        def send(answer: Answer) -> None:
            with self.changed:
                assert number not in self.found
                self.found[number] = answer
                self.changed.notify_all()

        return Job(EncodedEvent({"number": array}, ["number"]), send, lambda: unwanted)

    def wait(self, count: int) -> dict[int, Answer]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.found) >= count, 10)
        return self.found


def submit(runtime: Runtime, job: Job) -> None:
    refusal = runtime.reserve()
    if refusal is None:
        runtime.submit(job)
    else:
        job.send(refusal)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def start(model: Model, counters: Counters) -> Iterator[Callable[..., Runtime]]:
    """A function that starts runtimes; they are closed at the end."""
    started: list[Runtime] = []

    def run(ask_after: float = ASK_AFTER, **limits: Any) -> Runtime:
        bounds = Limits(**limits)
        runtime = Runtime(JobQueue(bounds), counters, ask_after)
        runtime.add_workers(model.new_run, bounds.workers)
        started.append(runtime)
        return runtime

    yield run
    model.gate.set()
    for runtime in started:
        runtime.close()


def test_a_repository_of_another_version_of_the_wire_is_not_loaded() -> None:
    parameters = {"tracker": "patatrack", "wire": "0"}
    with pytest.raises(WireMismatch, match="do not go together"):
        ServedModel("tracks", parameters, JobQueue(Limits()), Counters(), {})


def test_what_waits_becomes_batches_within_the_limit(
    model: Model, start: Callable[..., Runtime]
) -> None:
    runtime, answers = start(workers=1, batch_events=4), Answers()
    model.gate.clear()
    submit(runtime, answers.job(0))
    assert model.started.acquire(timeout=10)
    for number in (1, 2, 3, 4, 5, 6):
        submit(runtime, answers.job(number))
    model.gate.set()
    found = answers.wait(7)
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert {n: answer.tensors["number"][0] for n, answer in found.items()} == {
        n: n for n in range(7)
    }


def test_events_one_by_one_stay_with_one_worker(
    model: Model, start: Callable[..., Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data are in its processor's caches."""
    workers: list[int] = []
    run = model.run

    def noted(batch: Iterable[EncodedEvent]) -> Iterator[Answer]:
        workers.append(threading.get_ident())
        return run(batch)

    monkeypatch.setattr(model, "run", noted)
    runtime, answers = start(workers=3), Answers()
    for number in range(6):
        end = time.monotonic() + 10
        while len(runtime._queue._idle) < 3:  # type: ignore[attr-defined]
            assert time.monotonic() < end
            time.sleep(0.001)
        submit(runtime, answers.job(number))
        answers.wait(number + 1)
    assert len(set(workers)) == 1


def test_a_batch_leaves_the_other_workers_their_share(
    model: Model, start: Callable[..., Runtime]
) -> None:
    runtime, answers = start(workers=2, batch_events=8), Answers()
    model.gate.clear()
    for number in (0, 1):
        submit(runtime, answers.job(number))
        assert model.started.acquire(timeout=10)
    for number in (10, 11, 12, 13):
        submit(runtime, answers.job(number))
    model.gate.set()
    answers.wait(6)
    assert max(map(len, model.batches)) == 2


def test_a_batch_ends_before_too_many_bytes(model: Model, start: Callable[..., Runtime]) -> None:
    runtime, answers = start(workers=1, batch_bytes=8 * 10), Answers()
    model.gate.clear()
    submit(runtime, answers.job(0))
    assert model.started.acquire(timeout=10)
    for number, size in ((1, 5), (2, 5), (3, 1), (4, 100), (5, 1)):
        submit(runtime, answers.job(number, size))
    model.gate.set()
    answers.wait(6)
    assert model.batches == [[0], [1, 2], [3], [4], [5]]


def test_a_full_queue_is_busy_until_there_is_place(
    model: Model, start: Callable[..., Runtime]
) -> None:
    runtime, answers = start(workers=1, queue=3), Answers()
    model.gate.clear()
    for number in range(5):
        submit(runtime, answers.job(number))
    refused = answers.wait(2)
    assert sorted(refused) == [3, 4]
    assert all(isinstance(answer, ServerBusy) for answer in refused.values())
    assert refused[3].fields == {"found": 3, "bound": 3}  # type: ignore[union-attr]
    assert runtime.held == 3
    model.gate.set()
    answers.wait(5)
    submit(runtime, answers.job(5))
    assert isinstance(answers.wait(6)[5], EncodedResult)


def test_when_full_wait_holds_the_caller_up(model: Model, start: Callable[..., Runtime]) -> None:
    runtime, answers = start(workers=1, queue=1, when_full="wait"), Answers()
    model.gate.clear()
    submit(runtime, answers.job(0))
    second = threading.Thread(target=lambda: submit(runtime, answers.job(1)))
    second.start()
    second.join(0.1)
    assert second.is_alive()
    model.gate.set()
    second.join(10)
    assert not second.is_alive()
    assert isinstance(answers.wait(2)[1], EncodedResult)


@pytest.mark.parametrize("batch_events", [1, 100])
def test_an_error_answers_only_its_own_request(
    model: Model, start: Callable[..., Runtime], batch_events: int
) -> None:
    runtime, answers = start(workers=2, batch_events=batch_events), Answers()
    model.gate.clear()
    for number in range(40):
        submit(runtime, answers.job(number))
    model.gate.set()
    for number, answer in answers.wait(40).items():
        if number % 10 == 7:
            assert isinstance(answer, EventError)
            assert answer.event == number
        elif number % 10 == 9:
            assert isinstance(answer, ServerError)
            assert answer.reason == f"RuntimeError: broken by {number}"
        else:
            assert isinstance(answer, EncodedResult)
            assert answer.tensors["number"] == number


def test_a_model_that_runs_events_together_fails_them_together(counters: Counters) -> None:
    def run(batch: Iterable[EncodedEvent]) -> Iterator[Answer]:
        numbers = [int(request.tensors["number"][0]) for request in batch]
        started.set()
        assert gate.wait(10)
        if 9 in numbers:
            raise RuntimeError("broken")
        yield from (EncodedResult({}, {}, {}) for number in numbers if number != 7)

    gate, started, answers = threading.Event(), threading.Event(), Answers()
    runtime = Runtime(JobQueue(Limits(batch_events=3)), counters)
    runtime.add_workers(lambda: run, 1)
    submit(runtime, answers.job(0))
    assert started.wait(10)
    for number in (1, 8, 9, 2, 3, 7):
        submit(runtime, answers.job(number))
    gate.set()
    runtime.close()
    reasons = {n: a.reason for n, a in answers.found.items() if isinstance(a, ServerError)}
    broken = "RuntimeError: broken"
    assert reasons == {1: broken, 8: broken, 9: broken, 7: "no answer"}
    assert runtime.at_a_time == 3


def test_answers_are_gathered_from_any_threads() -> None:
    """Answers come to their places; waiting for the others is waiting."""
    sent: list[Answer] = []
    gather = Gather(3, 2, sent.append)
    full = ServerBusy("full", bound=2)
    for place in (2, 0):
        reply = EncodedResult({TIMING.name: encode_timing(place, 1)}, {}, {})
        thread = threading.Thread(target=gather.put, args=(place, reply))
        thread.start()
        thread.join()
    time.sleep(0.05)
    assert not sent
    gather.put(1, full)
    (answer,) = sent
    assert isinstance(answer, EncodedResult)
    found, at_a_time = split_answers(answer.tensors, [TIMING], 3)
    assert at_a_time == 2
    assert isinstance(found[1], ServerBusy)
    for place in (0, 2):
        tensors = found[place]
        assert isinstance(tensors, dict)
        waited, took = decode_timing(tensors, TIMING)
        assert place + 0.04 < waited < place + 5
        assert took == 1


@pytest.mark.parametrize(
    "answer",
    [
        EncodedResult({"x": "no array"}, {}, {}),  # type: ignore[dict-item]
        EncodedResult({"x": np.zeros(1)}, {}, {}),
    ],
    ids=["not joined", "not sent"],
)
def test_answers_that_cannot_be_joined_or_sent_are_an_error(answer: Answer) -> None:
    sent: list[Answer] = []

    def send(reply: Answer) -> None:
        if isinstance(reply, EncodedResult):
            raise RuntimeError("no connection")
        sent.append(reply)

    gather = Gather(2, 1, send)
    gather.put(0, answer)
    gather.put(1, EventError("bad", event=1, found=object()))
    (reply,) = sent
    assert isinstance(reply, ServerError)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, MemoryError, ValueError])
@pytest.mark.parametrize("takes", [0, 1])
def test_whatever_a_model_raises_its_jobs_are_answered(
    counters: Counters, kind: type[BaseException], takes: int
) -> None:
    def run(batch: Iterable[EncodedEvent]) -> Iterator[Answer]:
        for _, _ in zip(range(takes), batch, strict=False):
            pass
        raise kind("unexpected")
        yield

    answers = Answers()
    runtime = Runtime(JobQueue(Limits(queue=16)), counters)
    runtime.add_workers(lambda: run, 1)
    for number in range(8):
        submit(runtime, answers.job(number))
    found = answers.wait(8)
    runtime.close()
    assert runtime.held == 0
    for answer in found.values():
        assert isinstance(answer, ServerError)
        assert answer.reason == f"{kind.__name__}: unexpected"


def test_what_nobody_waits_for_is_not_run(model: Model, start: Callable[..., Runtime]) -> None:
    """An event can also be given up when its batch already runs."""
    runtime, answers = start(ask_after=0.01, workers=1), Answers()
    model.gate.clear()
    submit(runtime, answers.job(0, unwanted=True))
    assert model.started.acquire(timeout=10)
    first, second, third = (answers.job(number) for number in (1, 2, 3))
    second.unwanted = lambda: 1 in answers.found
    third.unwanted = lambda: {}["Triton cannot tell"]
    for job in (first, second, third):
        submit(runtime, job)
    time.sleep(0.02)
    model.gate.set()
    found = answers.wait(4)
    assert isinstance(found[0], EncodedResult)
    assert isinstance(found[2], Cancelled)
    assert model.batches == [[0], [1, 3]]


def test_stopping_refuses_what_is_new_and_does_what_is_held(
    model: Model, start: Callable[..., Runtime]
) -> None:
    runtime, answers = start(workers=1), Answers()
    model.gate.clear()
    submit(runtime, answers.job(0))
    runtime.refuse_new()
    submit(runtime, answers.job(1))
    assert isinstance(answers.wait(1)[1], ServerBusy)
    model.gate.set()
    runtime.close()
    assert isinstance(answers.found[0], EncodedResult)
    assert runtime.held == 0


def test_an_answer_that_cannot_be_sent_ends_no_worker(
    model: Model, start: Callable[..., Runtime]
) -> None:
    runtime, answers = start(workers=1), Answers()
    broken, tried = answers.job(0), []

    def send(answer: Answer) -> None:
        tried.append(answer)
        raise ConnectionError("gone")

    broken.send = send
    submit(runtime, broken)
    submit(runtime, answers.job(1))
    assert isinstance(answers.wait(1)[1], EncodedResult)
    assert [type(answer) for answer in tried] == [EncodedResult, ServerError]


def test_timing_is_added_where_asked_for(model: Model, start: Callable[..., Runtime]) -> None:
    runtime, answers = start(workers=1), Answers()
    model.gate.clear()
    for number in (0, 1):
        job = answers.job(number)
        job.event.outputs = ["number", TIMING.name]
        submit(runtime, job)
    time.sleep(0.05)
    model.gate.set()
    found = answers.wait(2)
    queue, _ = decode_timing(found[1].tensors, TIMING)
    assert 0.05 <= queue < 5


def test_counts_add_up(model: Model, start: Callable[..., Runtime], counters: Counters) -> None:
    runtime, answers = start(workers=3, queue=50), Answers()
    for number in range(40):
        submit(runtime, answers.job(number))
    answers.wait(40)
    runtime.close()
    counted = counters.take()
    outcomes = {s.label: n for s, n in counted.items() if s.metric == "trackserve_requests_total"}
    assert outcomes == {"ok": 32, "EventError": 4, "ServerError": 4}
    good = [n for n in range(40) if n % 10 not in (7, 9)]
    assert counted[Series("trackserve_found_total", "tracks")] == sum(good)
    assert counted[Series("trackserve_stage_seconds_total", "fit")] == 0.5 * 32
    assert counted[Series("trackserve_batched_requests_total")] == 40
    assert counted[Series("trackserve_input_bytes_total")] == 40 * 8
    assert {Series("trackserve_waiting"), Series("trackserve_held")}.isdisjoint(counted)
    assert {series.metric for series in counted} <= set(METRICS)
    assert counters.take() == {}


def test_one_thread_reports_what_many_count(counters: Counters) -> None:
    reported: dict[Series, float] = {}
    threads = set()
    series = Series("trackserve_requests_total", "ok")

    def report(series: Series, amount: float) -> None:
        threads.add(threading.current_thread().name)
        reported[series] = reported.get(series, 0) + amount

    reporter = Reporter(counters, report, 0.001)
    adders = [
        threading.Thread(target=lambda: [counters.add((series, 1)) for _ in range(2000)])
        for _ in range(4)
    ]
    for thread in adders:
        thread.start()
    for thread in adders:
        thread.join()
    reporter.close()
    assert reported == {series: 8000}
    assert threads == {"metrics"}


@given(
    st.builds(
        Limits,
        workers=st.integers(0, 99),
        batch_events=st.integers(1, 99),
        batch_bytes=st.integers(1, 2**40),
        queue=st.integers(1, 10**6),
        when_full=st.sampled_from(["busy", "wait"]),
    )
)
def test_limits_survive_as_parameters(limits: Limits) -> None:
    assert Limits.from_parameters(limits.as_parameters() | {"config": "reference"}) == limits


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"queue": "0"}, "queue is too small"),
        ({"workers": "-1"}, "workers is too small"),
        ({"batch_events": "many"}, "batch_events is not a number"),
        ({"when_full": "drop"}, "no such when_full"),
    ],
)
def test_wrong_limits_are_named(parameters: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Limits.from_parameters(parameters)
    assert Limits.from_parameters({}) == Limits()


def test_cores_respect_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(runtime_module, "_CPU_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert cores() == 64
    for text, count in (("max 100000", 64), ("350000 100000", 4), ("10000 100000", 1)):
        quota.write_text(text)
        assert cores() == count


def test_draining_waits_for_every_live_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(drain.VARIABLE, str(tmp_path))
    with drain.worker() as ordered:
        assert not ordered()
        drain.order(tmp_path)
        assert ordered()
        assert not drain.done(tmp_path)
    (tmp_path / "999999999").touch()
    assert drain.done(tmp_path)


def test_metrics_pages_are_read() -> None:
    text = (
        "# HELP a_total Anything\n# TYPE a_total counter\n"
        'a_total{model="m",kind="x y"} 3\na_total{model="n",kind="z"} 4e2\nplain 1.5\n'
    )
    samples = prometheus.parse(text)
    assert prometheus.total(samples, "a_total") == 403
    assert prometheus.total(samples, "a_total", model="n") == 400
    assert prometheus.total(samples, "plain") == 1.5
    assert samples[0].labels == {"model": "m", "kind": "x y"}


class Service(BaseHTTPRequestHandler):
    """A service that answers probes by ``replies`` in turn; the last one stays."""

    replies: ClassVar[list[tuple[int, str]]] = []
    batches: ClassVar[float] = 0

    def do_POST(self) -> None:
        self._answer(*(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]))

    def do_GET(self) -> None:
        lines = (
            f'trackserve_batches_total{{model="{model}"}} {n}\n'
            for model, n in (("m", self.batches), ("other", time.monotonic()))
        )
        self._answer(200, "".join(lines))

    def log_message(self, *arguments: Any) -> None:
        pass

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


GOOD = (200, "{}")
BUSY = (503, json.dumps({"error": encode(ServerBusy("the server's queue is full"))}))
DEAD = (500, json.dumps({"error": "Stub process 'm_0_0' is not healthy."}))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Http]:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "probe.json").write_text("{}")
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Http("127.0.0.1", server.server_port)
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ([GOOD], None),
        ([DEAD, GOOD], None),
        ([DEAD, BUSY], None),
        ([DEAD], "m: a request failed inside Triton"),
        ([DEAD, (400, "no JSON")], "m: a request failed inside Triton"),
    ],
)
def test_a_model_is_dead_that_fails_twice(
    service: Http, tmp_path: Path, replies: list[tuple[int, str]], reason: str | None
) -> None:
    Service.replies = list(replies)
    assert Watch(service, service, tmp_path, patience=60).look() == reason


def test_a_busy_model_is_alive_as_long_as_it_takes_batches(service: Http, tmp_path: Path) -> None:
    Service.replies, Service.batches = [BUSY], 1
    watch = Watch(service, service, tmp_path, patience=0.05)
    for _ in range(3):
        Service.batches += 1
        time.sleep(0.06)
        assert watch.look() is None
    time.sleep(0.06)
    assert watch.look() == "m: busy, but no batch is taken"


def test_a_server_that_is_gone_is_dead(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "probe.json").write_text("{}")
    nowhere = Http("127.0.0.1", 1)
    assert Watch(nowhere, nowhere, tmp_path, patience=60).look() is not None


@pytest.mark.parametrize(("device", "pipelines"), [("cpu", 1), ("cuda", 3)])
def test_workers_share_a_pipeline_only_on_a_cpu(
    device: str, pipelines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU a pipeline has a stream, on which one batch runs after the other."""
    built = []

    class Built:
        def __init__(self) -> None:
            self.device = device

    class Countable(Patatrack):
        def restore(self, folder: Path, options: Any, device: str) -> Any:
            built.append(Built())
            return built[-1]

    monkeypatch.setattr("trackserve.trackers.registry.find_tracker", lambda name: Countable())
    new_run = load(Path(), {"tracker": "patatrack", "device": device})
    for one in [new_run() for _ in range(3)]:
        assert list(one([])) == []
    assert len(built) == pipelines
