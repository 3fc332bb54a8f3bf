"""The native backend: its library in C by itself, its build, its statistics and its GPUs."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from benchmarks.triton_requests import inputs_of
from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.errors import InputError, ServerBusy, ServerError, decode
from trackserve.serving import prometheus
from trackserve.serving.backend import tracker as backend_tracker
from trackserve.serving.backend.metrics import Counters
from trackserve.serving.backend.model import ServedModel
from trackserve.serving.backend.native import build
from trackserve.serving.backend.runtime import (
    Answer,
    EncodedEvent,
    EncodedResult,
    Job,
    JobQueue,
)
from trackserve.serving.http import Http
from trackserve.serving.limits import Limits
from trackserve.serving.repository import why_not_native, write_model
from trackserve.serving.server import Server
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.trackers.patatrack.tracker import Patatrack

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
TEST_PROGRAM = Path(__file__).parent / "native" / "fake_triton.c"


def has_compiler() -> bool:
    try:
        return bool(build.compiler())
    except build.BuildError:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C compiler")


@needs_compiler
@pytest.mark.parametrize("when_full", ["busy", "wait"])
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_library_under_a_sanitizer(tmp_path: Path, sanitizer: str, when_full: str) -> None:
    """Every request of a fake Triton has one answer, whatever its threads do."""
    program = tmp_path / "program"
    flags = [flag for flag in build.FLAGS if flag not in ("-shared", "-O2")]
    flags += ["-g", "-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    files = [str(TEST_PROGRAM), str(build.SOURCES / "backend.c")]
    command = [*build.compiler(), *flags, f"-I{build.SOURCES}", "-o", str(program), *files]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in built.stderr:
        pytest.skip("the compiler lacks this sanitizer")
    assert built.returncode == 0, built.stderr
    variables = os.environ | ({"WAIT": "1"} if when_full == "wait" else {})
    done = subprocess.run(
        [program], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "released of" in done.stdout
    assert not done.stderr


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders in which the library is looked for."""
    found = [tmp_path / "first", tmp_path / "second"]
    monkeypatch.setattr(build, "_places", lambda: iter(found))
    return found


@needs_compiler
def test_the_library_is_compiled_once_and_kept(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(lambda _: build.find_library(), range(4)))
    assert set(files) == set(places[0].iterdir())
    monkeypatch.setenv("CC", "false")
    assert build.find_library() == files[0]


@needs_compiler
def test_a_folder_that_cannot_be_written_is_passed_over(places: list[Path]) -> None:
    places[0].write_text("no folder")
    assert build.find_library().parent == places[1]
    places[1] = places[0]
    with pytest.raises(build.BuildError, match="folder"):
        build.find_library()


@pytest.mark.parametrize("reason", ["no compiler", "a compiler that fails"])
def test_python_serves_where_the_library_cannot_be_built(
    places: list[Path],
    tmp_path: Path,
    sample_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    reason: str,
) -> None:
    monkeypatch.setenv("CC", "false")
    if reason == "no compiler":
        monkeypatch.setattr(build.shutil, "which", lambda name: None)  # type: ignore[attr-defined]
    assert why_not_native()
    options = {"conditions": sample_directory}
    with pytest.raises(ServerError, match="native backend cannot be built"):
        write_model(tmp_path / "repository", "patatrack", options, backend="native")


def test_a_backend_that_does_not_exist(tmp_path: Path, sample_directory: Path) -> None:
    with pytest.raises(InputError, match="no such backend") as caught:
        write_model(tmp_path, "patatrack", {"conditions": sample_directory}, backend="java")
    assert caught.value.fields == {"found": "java", "bound": ["native", "python"]}


@pytest.fixture(scope="module")
def small_server(
    tmp_path_factory: pytest.TempPathFactory, sample_directory: Path
) -> Iterator[Server]:
    """A server of one worker that holds four events."""
    if reason := why_not_native():
        pytest.skip(reason)
    repository = tmp_path_factory.mktemp("repository")
    limits = Limits(workers=1, queue=4)
    options = {"conditions": sample_directory}
    write_model(repository, "patatrack", options, limits=limits, backend="native")
    with Server(repository, **FREE) as running:
        yield running


class Figures(NamedTuple):
    """Counts of requests, and their seconds."""

    answered: float
    failed: float
    queue: float
    compute: float


def of_triton(server: Server) -> Figures:
    """Triton's own statistics."""
    with triton_grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as client:
        found = client.get_inference_statistics("patatrack", as_json=True)["model_stats"][0]
    figures = found["inference_stats"]
    counts = (float(figures[kind].get("count", 0)) for kind in ("success", "fail"))
    times = (1e-9 * float(figures[kind].get("ns", 0)) for kind in ("queue", "compute_infer"))
    return Figures(*counts, *times)


def of_ours(server: Server) -> Figures:
    """The same by our own metrics."""
    page = prometheus.parse(Http(server.host, server.ports.metrics).get("/metrics")[1])

    def total(name: str, **labels: str) -> float:
        return prometheus.total(page, f"trackserve_{name}", **labels)

    outcomes = (total("requests_total", outcome=outcome) for outcome in ("ok", "ServerBusy"))
    return Figures(*outcomes, total("queue_seconds_total"), total("compute_seconds_total"))


def test_statistics_of_triton_are_true(small_server: Server, sample_events: list[RawEvent]) -> None:
    """Refused requests are failures; what waits is queue time, what is computed compute time."""
    answers: queue.Queue[Any] = queue.Queue()
    inputs = inputs_of(sample_events[0])
    target = small_server.grpc_url.removeprefix("grpc://")
    with triton_grpc.InferenceServerClient(target) as client:
        for _ in range(60):
            client.async_infer("patatrack", inputs, lambda result, error: answers.put(error))
        errors = [answers.get(timeout=30) for _ in range(60)]
    refused = [error for error in errors if error]
    assert refused
    assert all(isinstance(decode(error.message()), ServerBusy) for error in refused)
    triton, end = of_triton(small_server), time.monotonic() + 15
    while True:  # until all is reported
        ours = of_ours(small_server)
        if ours.answered + ours.failed >= triton.answered + triton.failed:
            break
        assert time.monotonic() < end
        time.sleep(0.1)
    probes = 3
    assert triton.failed >= len(refused)
    assert abs(triton.failed - ours.failed) <= probes
    assert abs(triton.answered - ours.answered) <= probes + 1  # the example is no request
    assert 0.5 * ours.compute < triton.compute < 2 * ours.compute
    assert 0.5 * ours.queue < triton.queue < 2 * ours.queue
    assert triton.queue > triton.compute


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT], ids=["segfault", "abort"])
def test_a_crash_in_a_model_is_over_in_seconds(
    small_server: Server,
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    number: signal.Signals,
) -> None:
    """Triton is gone at once, although its own handlers of these signals would wait."""
    assert small_server.pid
    restarts = small_server.restarts
    direct = pipeline.run([sample_events[0]])[0]
    with Client(small_server.grpc_url) as client:
        assert client.reconstruct("patatrack", sample_events[0]) == direct
        os.kill(small_server.pid, number)
        assert client.reconstruct("patatrack", sample_events[0]) == direct
    assert small_server.restarts == restarts + 1


class OnDevice:
    """A pipeline that answers with the number of the device of its thread."""

    device = "cuda"


def test_workers_of_all_gpus_share_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = threading.local()
    built: list[int] = []
    meet = threading.Barrier(4, timeout=20)
    tracker = Patatrack()
    monkeypatch.setattr(
        "trackserve.device.cuda.choose_device", lambda number: setattr(chosen, "number", number)
    )

    class Tracker:
        codec = tracker.codec

        def restore(self, folder: Path, parameters: Any, device: str) -> OnDevice:
            assert device == "cuda"
            built.append(chosen.number)
            return OnDevice()

        example = tracker.example

    def run(pipeline: OnDevice, codec: Any, batch: Any) -> Iterator[Answer]:
        for event in batch:
            if "number" in event.tensors:
                meet.wait()
            device = np.full(1, chosen.number, np.uint8)
            yield EncodedResult({"device": device, "identity": device}, {}, {})

    for module in ("tracker", "model"):
        path = f"trackserve.serving.backend.{module}.tracker_of"
        monkeypatch.setattr(path, lambda parameters: Tracker())
    monkeypatch.setattr(backend_tracker, "run", run)
    parameters = {"device": "cuda", **Limits(workers=2, batch_events=1).as_parameters()}
    families: Any = {}
    jobs = JobQueue(Limits.from_parameters(parameters))
    model = ServedModel("model", parameters, jobs, Counters(), families)
    monkeypatch.setattr(model, "_report", lambda series, amount: None)
    model._reporter._report = lambda series, amount: None
    for gpu in (0, 1):
        model.add_workers(backend_tracker.load(Path(), parameters, gpu))
    assert built == [0, 0, 1, 1]
    answers: list[int] = []
    for number in range(4):
        event = EncodedEvent({"number": np.full(1, number)}, [])
        assert model.runtime.reserve() is None
        send = lambda answer: answers.append(int(answer.tensors["device"][0]))  # noqa: E731
        model.runtime.submit(Job(event, send, lambda: False))
    model.close()
    assert sorted(answers) == [0, 0, 1, 1]
