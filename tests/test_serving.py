"""A real Triton gives the results of the pipeline."""

from __future__ import annotations

import os
import re
import signal
import socket
import urllib.request
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.utils import InferenceServerException

from benchmarks.processes import of_group, shared_memory_of
from trackserve.client import Client
from trackserve.edm import RawEvent
from trackserve.errors import (
    ConditionsError,
    EventError,
    InputError,
    ServerError,
)
from trackserve.serving import installation
from trackserve.serving.backend.dlpack import to_capsule
from trackserve.serving.backend.runtime import EncodedEvent, EncodedResult
from trackserve.serving.backend.tracker import run
from trackserve.serving.limits import Limits
from trackserve.serving.repository import BACKENDS, write_model
from trackserve.serving.server import Server
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.trackers.patatrack.result import PatatrackResult

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
BACKEND_FILES = {
    "python": "backends/trackserve/model.py",
    "native": "backends/trackserve_native/libtriton_trackserve_native.so",
}


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, sample_directory: Path, backend: str
) -> Path:
    written = tmp_path_factory.mktemp("written") / "repository"
    write_model(written, "patatrack", {"conditions": sample_directory}, backend=backend)
    return written.rename(tmp_path_factory.mktemp("moved") / "repository")


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with Server(repository, **FREE) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.grpc_url) as connected:
        yield connected


def bad_events(good: RawEvent) -> dict[str, RawEvent]:
    wrong_fed = good.data.copy()
    wrong_fed[4:8] = 255
    streams = {
        "empty": good.data[:0],
        "odd": good.data[:7],
        "truncated": good.data[:-8],
        "FED": wrong_fed,
    }
    return {name: RawEvent(data, good.beam_spot, 1234) for name, data in streams.items()}


def as_inputs(tensors: dict[str, Any], library: Any = triton_grpc) -> list[Any]:
    types = {np.dtype(t): n for t, n in (("u1", "UINT8"), ("f4", "FP32"), ("i8", "INT64"))}
    inputs = []
    for name, array in tensors.items():
        tensor = library.InferInput(name, list(array.shape), types[array.dtype])
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    return inputs


@pytest.mark.parametrize(
    "keep", [(), ("doublets",), tuple(PatatrackResult.intermediates())], ids=len
)
def test_served_equals_direct(
    client: Client, pipeline: PatatrackPipeline, sample_events: list[RawEvent], keep: tuple[str]
) -> None:
    for event in sample_events[:4]:
        served = client.reconstruct("patatrack", event, keep)
        assert served == pipeline.run([event], keep)[0]
        assert set(served.parts()) == {*PatatrackResult.always(), *keep}


def test_event_without_feds(client: Client, pipeline: PatatrackPipeline) -> None:
    event = RawEvent(np.zeros(4, np.uint8), event=3)
    served = client.reconstruct("patatrack", event, PatatrackResult.intermediates())
    assert served == pipeline.run([event], PatatrackResult.intermediates())[0]
    assert len(served.tracks) == len(served.digis) == 0


@pytest.mark.parametrize("kind", ["empty", "odd", "truncated", "FED"])
def test_bad_event_fails_as_it_does_directly(
    client: Client, pipeline: PatatrackPipeline, sample_events: list[RawEvent], kind: str
) -> None:
    bad = bad_events(sample_events[0])[kind]
    (direct,) = pipeline.run([bad])
    assert isinstance(direct, EventError)
    with pytest.raises(EventError) as caught:
        client.reconstruct("patatrack", bad)
    assert (caught.value.message, caught.value.fields) == (direct.message, direct.fields)
    assert caught.value.event == 1234


def test_only_the_outputs_asked_for_are_sent(
    server: Server, pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    tensors = CODEC.encode_event(sample_events[0])
    del tensors["event"]
    with triton_grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as triton:
        output = triton_grpc.InferRequestedOutput("hits_phi")
        reply = triton.infer("patatrack", as_inputs(tensors), outputs=[output])
        everything = triton.infer("patatrack", as_inputs(tensors)).get_response()
    assert [o.name for o in reply.get_response().outputs] == ["hits_phi"]
    direct = pipeline.run([sample_events[0]], ["hits"])[0]
    assert reply.as_numpy("hits_phi").tobytes() == direct.hits.phi.tobytes()  # type: ignore[union-attr]
    assert {o.name for o in everything.outputs} == {spec.name for spec in CODEC.outputs}


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("raw", np.zeros((2, 2), np.uint8)),
        ("raw", np.zeros(4, np.float32)),
        ("beam_spot", np.zeros(4, np.float32)),
        ("event", np.zeros(2, np.int64)),
    ],
)
def test_malformed_tensor_is_refused(server: Server, name: str, array: Any) -> None:
    tensors = CODEC.encode_event(RawEvent(np.zeros(4, np.uint8))) | {name: array}
    with (
        triton_grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as triton,
        pytest.raises(InferenceServerException, match=f"'{name}'") as caught,
    ):
        triton.infer("patatrack", as_inputs(tensors))
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_remote_control_is_closed(server: Server) -> None:
    code = {"file:1/model.py": b"raise SystemExit"}
    for library, url in ((triton_grpc, server.grpc_url), (triton_http, server.http_url)):
        with library.InferenceServerClient(url.split("//")[1]) as triton:
            for refused in (
                lambda t=triton: t.load_model("evil", config="{}", files=code),
                lambda t=triton: t.unload_model("patatrack"),
                lambda t=triton: t.get_model_repository_index(),
                lambda t=triton: t.register_system_shared_memory("region", "/any", 16),
                lambda t=triton: t.update_log_settings({"log_verbose_level": 1}),
                lambda t=triton: t.update_trace_settings(settings={"trace_level": ["OFF"]}),
            ):
                with pytest.raises(InferenceServerException, match="restricted"):
                    refused()
            assert triton.is_model_ready("patatrack")


def test_metrics_count_requests(
    server: Server, client: Client, sample_events: list[RawEvent]
) -> None:
    client.reconstruct("patatrack", sample_events[0])
    with urllib.request.urlopen(server.metrics_url) as reply:
        text = reply.read().decode()
    count = re.search(r'nv_inference_request_success\{model="patatrack".*\} (\d+)', text)
    assert count
    assert int(count[1]) > 0


def test_repository_tree(repository: Path, sample_directory: Path, backend: str) -> None:
    files = {str(p.relative_to(repository)) for p in repository.rglob("*") if p.is_file()}
    conditions = ("beamspot", "cablingMap", "cpefast", "fedIds", "gain")
    assert {file for file in files if "__pycache__" not in file} == {
        "models/patatrack/config.pbtxt",
        "models/patatrack/probe.json",
        BACKEND_FILES[backend],
        "models/patatrack/1/conditions/material.bin",
        *(f"models/patatrack/1/conditions/{name}.bin" for name in conditions),
    }
    for name in conditions:
        copy = repository / f"models/patatrack/1/conditions/{name}.bin"
        assert copy.read_bytes() == (sample_directory / f"{name}.bin").read_bytes()
    text = (repository / "models/patatrack/config.pbtxt").read_text()
    assert f'backend: "{BACKENDS[backend]}"' in text
    assert 'key: "tracker" value { string_value: "patatrack" }' in text
    assert str(sample_directory) not in text


def test_broken_model_is_reported(tmp_path: Path, sample_directory: Path, backend: str) -> None:
    options = {"conditions": sample_directory, "config": "no-such"}
    write_model(tmp_path, "patatrack", options, backend=backend)
    server = Server(tmp_path, **FREE)
    with pytest.raises(ServerError, match="no such configuration"):
        server.start()
    assert server.pid is None


def test_start_refuses(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerError, match="no model repository"):
        Server(tmp_path, **FREE).start()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match="cannot listen") as caught:
            Server(repository, **FREE | {"http_port": port}).start()
    assert caught.value.url == f"127.0.0.1:{port}"
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerError, match="install"):
        Server(repository, **FREE).start()


class Exporter:
    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack__(self) -> Any:
        return self.capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def from_capsule(capsule: Any) -> Any:
    return np.from_dlpack(Exporter(capsule))


def test_one_bad_request_spoils_no_other(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    good, bad = sample_events[:2], bad_events(sample_events[0])["truncated"]
    keeps: list[list[str]] = [["digis"], [], [], ["hits"]]
    batch = [
        EncodedEvent(CODEC.encode_event(event), CODEC.output_names(keep))
        for event, keep in zip((good[0], bad, bad, good[1]), keeps, strict=True)
    ]
    batch[1].tensors = {**batch[1].tensors, "beam_spot": np.zeros(2, np.float32)}
    answers = list(run(pipeline, CODEC, batch))
    assert isinstance(answers[1], InputError)
    assert isinstance(answers[2], EventError)
    for event, keep, answer in ((good[0], keeps[0], answers[0]), (good[1], keeps[3], answers[3])):
        direct = pipeline.reconstruct(event, keep)
        assert isinstance(answer, EncodedResult)
        assert CODEC.decode_result(answer.tensors, event.event, keep) == direct
        assert answer.found["tracks"] == len(direct.tracks)
        assert {"decode", "doublets", "vertices", "encode"} <= answer.seconds.keys()


def test_capsules_keep_their_array_until_they_are_freed() -> None:
    arrays = [np.arange(5.0), np.zeros((0, 5), np.float32), np.array([True, False])]
    for array in arrays:
        taken = from_capsule(to_capsule(array))
        assert taken.dtype == array.dtype
        assert taken.shape == array.shape
        np.testing.assert_array_equal(taken, array)
    array = np.zeros(1000)
    freed = weakref.ref(array)
    taken = from_capsule(to_capsule(array))
    del array
    assert freed() is not None
    del taken
    assert freed() is None


def test_conditions_are_checked_when_written(tmp_path: Path) -> None:
    with pytest.raises(ConditionsError, match="no pixel data here"):
        write_model(tmp_path / "repository", "patatrack", {"conditions": tmp_path})
    assert not (tmp_path / "repository").exists()


def test_parameters_are_written(tmp_path: Path, sample_directory: Path) -> None:
    write_model(
        tmp_path, "patatrack", {"conditions": sample_directory}, instances=3, limits=Limits(queue=7)
    )
    text = (tmp_path / "models/patatrack/config.pbtxt").read_text()
    assert "count: 3" in text
    assert 'key: "queue" value { string_value: "7" }' in text
    assert 'key: "config" value { string_value: "default" }' in text


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "running"])
def test_stop_leaves_nothing_behind(repository: Path, frozen: bool, backend: str) -> None:
    server = Server(repository, **FREE, stop_timeout=0.5 if frozen else 10)
    server.start()
    group = server.pid
    assert group is not None
    regions = shared_memory_of(group)
    assert len(of_group(group)) >= {"python": 2, "native": 1}[backend]
    assert regions or backend == "native"
    if frozen:
        os.killpg(group, signal.SIGSTOP)
    server.stop()
    assert server.pid is None
    assert of_group(group) == {}
    assert not any(region.exists() for region in regions)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.grpc_url.rpartition(":")[2])))
