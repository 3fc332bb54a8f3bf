"""A real Triton serves the learned tracker: to our clients, and to published ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from exatrkx_models import random_event, small_model
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.utils import InferenceServerException
from typer.testing import CliRunner

from trackserve.cli.main import commands
from trackserve.client import Client
from trackserve.edm import (
    PointsEvent,
    RawEvent,
    SpacePoints,
)
from trackserve.errors import (
    EventError,
    InputError,
    ModelError,
    ServerError,
    decode,
)
from trackserve.serving.backend.runtime import EncodedEvent, EncodedResult
from trackserve.serving.backend.tracker import run
from trackserve.serving.http import Http
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.serving.status import read_status
from trackserve.trackers.exatrkx.architecture import Cuts
from trackserve.trackers.exatrkx.codec import CODEC
from trackserve.trackers.exatrkx.features import scale_points
from trackserve.trackers.exatrkx.model import save_model
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline
from trackserve.trackers.exatrkx.result import ExatrkxResult
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.wire.address import parse_url
from trackserve.wire.bundle import BUNDLE

FREE: dict[str, Any] = {"grpc_port": 0, "http_port": 0, "metrics_port": 0}
LIBRARIES = (triton_grpc, triton_http)
LARGE = small_model(cuts=Cuts(0.01, 0.4, 0.4))
"""Finds few edges, so that it is fast on a large event."""

SIZES = (0, 1, 2, 700, 40, 3000, 1500)


@pytest.fixture(scope="module")
def pipeline() -> ExatrkxPipeline:
    return ExatrkxPipeline(small_model())


@pytest.fixture(scope="module")
def events() -> list[PointsEvent]:
    return [random_event(size, event=number) for number, size in enumerate(SIZES)]


@pytest.fixture(scope="module")
def repository(
    tmp_path_factory: pytest.TempPathFactory, sample_directory: Path, backend: str
) -> Path:
    """Both trackers, and a second learned one; moved once written."""
    written = tmp_path_factory.mktemp("written") / "repository"
    for name, model in (("exatrkx", small_model()), ("exatrkx-large", LARGE)):
        folder = tmp_path_factory.mktemp("model")
        save_model(model, folder)
        write_model(written, "exatrkx", {"model": folder}, name=name, backend=backend)
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


def scaled(pipeline: ExatrkxPipeline, event: PointsEvent) -> Any:
    """The features of an event, as its model scales them."""
    return scale_points(event.points.position, pipeline.model.description.features)


def url_of(server: Server, library: Any) -> str:
    return (server.grpc_url if library is triton_grpc else server.http_url).split("//")[1]


def infer(
    server: Server, tensors: dict[str, Any], library: Any = triton_grpc, model: str = "exatrkx"
) -> Any:
    """Outputs that a client of Triton's own library gets."""
    types = {np.dtype("f4"): "FP32", np.dtype("f8"): "FP64", np.dtype("i8"): "INT64"}
    inputs = []
    for name, array in tensors.items():
        inputs.append(library.InferInput(name, list(array.shape), types[array.dtype]))
        inputs[-1].set_data_from_numpy(array)
    with library.InferenceServerClient(url_of(server, library)) as triton:
        return triton.infer(model, inputs)


def error_of(caught: pytest.ExceptionInfo[InferenceServerException]) -> Any:
    return decode(caught.value.message())


@pytest.mark.parametrize("keep", [("track_edges",), tuple(ExatrkxResult.intermediates())], ids=len)
def test_edges_are_served_when_asked_for(
    client: Client, pipeline: ExatrkxPipeline, events: list[PointsEvent], keep: tuple[str, ...]
) -> None:
    direct = pipeline.run(events, keep)
    assert [client.reconstruct("exatrkx", event, keep) for event in events] == direct
    assert list(client.stream("exatrkx", events, keep)) == direct


@pytest.mark.parametrize("transport", ["grpc", "http", "shm"])
def test_served_equals_direct(
    server: Server, pipeline: ExatrkxPipeline, events: list[PointsEvent], transport: str
) -> None:
    direct = pipeline.run(events)
    assert len(direct[3].candidates) > 1
    url = server.http_url if transport == "http" else server.grpc_url
    with Client(url, transport=transport) as client:
        assert [client.reconstruct("exatrkx", event) for event in events] == direct
        for in_flight in (1, 8, None):
            stream = client.stream("exatrkx", events * 3, in_flight=in_flight)
            assert list(stream) == direct * 3


def test_a_large_event_goes_by_shared_memory(server: Server) -> None:
    event = random_event(30_000)
    direct = ExatrkxPipeline(LARGE).reconstruct(event)
    assert len(direct.candidates) > 1
    with Client(server.grpc_url, transport="shm") as client:
        assert [client.reconstruct("exatrkx-large", event) for _ in range(4)] == [direct] * 4
        assert client._transport._regions._all  # type: ignore[attr-defined]


def test_several_models_side_by_side(
    client: Client,
    events: list[PointsEvent],
    sample_directory: Path,
    sample_events: list[RawEvent],
) -> None:
    large = ExatrkxPipeline(LARGE).run(events)
    patatrack = PatatrackPipeline.from_directory(sample_directory).run(sample_events)
    others = zip(
        client.stream("exatrkx-large", events),
        client.stream("patatrack", sample_events),
        strict=False,
    )
    for number, (learned, classic) in enumerate(others):
        assert learned == large[number]
        assert classic == patatrack[number]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("model", ["exatrkx", "exatrkxcpu"])
def test_published_clients_work_unchanged(
    server: Server, pipeline: ExatrkxPipeline, events: list[PointsEvent], library: Any, model: str
) -> None:
    """The clients send ``FEATURES`` and read ``LABELS``; some name the output, some do not."""
    for event in events:
        features = scaled(pipeline, event)
        labels = pipeline.reconstruct(event).labels.component
        with library.InferenceServerClient(url_of(server, library)) as triton:
            tensor = library.InferInput("FEATURES", features.shape, "FP32")
            tensor.set_data_from_numpy(features)
            for outputs in (None, [library.InferRequestedOutput("LABELS")]):
                reply = triton.infer(model, inputs=[tensor], outputs=outputs)
                found = reply.as_numpy("LABELS")
                assert found.dtype == np.int64
                assert found.tolist() == labels.tolist()


def test_wrongly_scaled_features_are_refused(
    server: Server, pipeline: ExatrkxPipeline, events: list[PointsEvent]
) -> None:
    """A published service was once measured with the scales of another model."""
    features = scaled(pipeline, events[3]) * np.float32([1, 1, 4])
    with pytest.raises(InferenceServerException) as caught:
        infer(server, {"FEATURES": features, "event": np.array([8])})
    error = error_of(caught)
    assert isinstance(error, EventError)
    assert (error.event, error.feature) == (8, "z")
    assert error.bound == [-3.0, 3.0]


def test_every_output_can_be_asked_for(server: Server, events: list[PointsEvent]) -> None:
    reply = infer(server, {"points": events[3].points.position}).get_response()
    assert {o.name for o in reply.outputs} == {spec.name for spec in CODEC.outputs}
    with triton_grpc.InferenceServerClient(url_of(server, triton_grpc)) as triton:
        metadata = triton.get_model_metadata("exatrkx")
    for tensors, specs in ((metadata.inputs, CODEC.inputs), (metadata.outputs, CODEC.outputs)):
        declared = [(t.name, t.datatype, tuple(t.shape)) for t in tensors]
        assert declared == [(s.name, s.triton_type, s.shape) for s in (*specs, BUNDLE)]


@pytest.mark.parametrize("library", LIBRARIES)
def test_points_or_features(
    server: Server, pipeline: ExatrkxPipeline, events: list[PointsEvent], library: Any
) -> None:
    points = events[3].points.position
    both = {"points": points, "FEATURES": scaled(pipeline, events[3])}
    for tensors in (both, {}):
        with pytest.raises(InferenceServerException) as caught:
            infer(server, tensors, library)
        error = error_of(caught)
        assert isinstance(error, InputError)
        assert error.found == (["FEATURES", "points"] if tensors else [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 699])
def test_a_bad_event_fails_as_it_does_directly(
    client: Client, pipeline: ExatrkxPipeline, events: list[PointsEvent], value: float, row: int
) -> None:
    position = events[3].points.position.copy()
    position[row, 2] = value
    bad = PointsEvent(SpacePoints(position), 77)
    (direct,) = pipeline.run([bad])
    assert isinstance(direct, EventError)
    answers = list(client.stream("exatrkx", [events[3], bad, events[4]]))
    assert answers[0::2] == pipeline.run([events[3], events[4]])
    assert isinstance(answers[1], EventError)
    assert (answers[1].message, answers[1].fields) == (direct.message, direct.fields)
    assert answers[1].event == 77


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    "tensors",
    [
        {"FEATURES": np.zeros((4, 2), np.float32)},
        {"FEATURES": np.zeros(12, np.float32)},
        {"FEATURES": np.zeros((4, 3), np.float64)},
        {"points": np.zeros((1, 4, 3), np.float32)},
        {"points": np.zeros((4, 3), np.float32), "event": np.zeros(2, np.int64)},
        {"features": np.zeros((4, 3), np.float32)},
    ],
)
def test_malformed_tensors_are_refused(server: Server, library: Any, tensors: Any) -> None:
    with pytest.raises(InferenceServerException) as caught:
        infer(server, tensors, library)
    assert caught.value.status() in ("StatusCode.INVALID_ARGUMENT", "400")


def test_malformed_requests_hurt_nobody(
    server: Server, client: Client, pipeline: ExatrkxPipeline, events: list[PointsEvent]
) -> None:
    """Any tensors in a request: the reply has a label for every point, or is a typed error."""
    pid, direct = server.pid, pipeline.reconstruct(events[4])
    shapes = st.one_of(
        st.tuples(st.integers(0, 6), st.just(3)), st.lists(st.integers(0, 4), max_size=3).map(tuple)
    )
    arrays = st.one_of(
        hnp.arrays(np.float32, shapes, elements=st.floats(width=32)),
        hnp.arrays(np.float32, shapes, elements=st.floats(-1, 1, width=32)),
        hnp.arrays(np.int64, shapes),
        hnp.arrays(np.float64, shapes),
    )
    names = st.sampled_from(["FEATURES", "points", "event", "LABELS", ""])

    @settings(max_examples=100, derandomize=True)
    @given(st.dictionaries(names, arrays, max_size=3), st.sampled_from(LIBRARIES))
    def one(tensors: dict[str, Any], library: Any) -> None:
        status = None
        try:
            labels = infer(server, tensors, library).as_numpy("LABELS")
        except InferenceServerException as error:
            status = error.status()
        if status is not None:
            assert status in ("StatusCode.INVALID_ARGUMENT", "400")
            return
        points = next(array for name, array in tensors.items() if name != "event")
        assert labels.shape == points.shape[:1]
        assert client.reconstruct("exatrkx", events[4]) == direct

    one()
    assert server.pid == pid


def test_wrong_arguments(
    client: Client, events: list[PointsEvent], sample_events: list[RawEvent]
) -> None:
    wrong = replace(events[0], points=SpacePoints(np.zeros((4, 3))))
    for model, event, keep in (
        ("exatrkx", wrong, ()),
        ("exatrkx", events[0], ("hits",)),
        ("exatrkx", sample_events[0], ()),
        ("patatrack", events[0], ()),
        ("no-such", events[0], ()),
        ("exatrkx", object(), ()),
    ):
        with pytest.raises(InputError):
            client.reconstruct(model, event, keep)


class Together(ExatrkxPipeline):
    """A pipeline whose events run together, as on a GPU."""

    @property
    def device(self) -> str:
        return "another"

    @device.setter
    def device(self, device: str) -> None:
        pass


@pytest.mark.parametrize("kind", [ExatrkxPipeline, Together])
def test_one_bad_request_spoils_no_other(events: list[PointsEvent], kind: Any) -> None:
    pipeline = kind(small_model())
    tensors = [CODEC.encode_event(event) for event in events[3:]]
    tensors.insert(1, tensors[0] | {"points": np.full((3, 3), np.nan, np.float32)})
    tensors.insert(3, tensors[0] | {"FEATURES": np.zeros((3, 3), np.float32)})
    answers = list(run(pipeline, CODEC, [EncodedEvent(t, CODEC.output_names()) for t in tensors]))
    assert isinstance(answers.pop(3), InputError)
    assert isinstance(answers.pop(1), EventError)
    for event, answer in zip(events[3:], answers, strict=True):
        direct = pipeline.reconstruct(event)
        assert isinstance(answer, EncodedResult)
        assert CODEC.decode_result(answer.tensors, event.event) == direct
        assert answer.found["candidates"] == direct.counts.candidates
        assert {"decode", "radius", "gnn", "components"} <= answer.seconds.keys()
    assert list(run(pipeline, CODEC, [])) == []


def test_repository_tree(repository: Path) -> None:
    models = repository / "models"
    for name in ("exatrkx", "exatrkx-large"):
        files = {str(p.relative_to(models / name)) for p in (models / name).rglob("*.*")}
        assert files == {
            "config.pbtxt",
            "probe.json",
            "1/model/model.json",
            "1/model/weights.safetensors",
        }
    assert [path.name for path in (models / "exatrkxcpu").iterdir() if path.is_file()] == [
        "config.pbtxt"
    ]


def test_a_model_is_checked_when_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such model"):
        write_model(tmp_path / "repository", "exatrkx", {"model": tmp_path / "nowhere"})
    save_model(small_model(), tmp_path / "model")
    (tmp_path / "model" / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="missing"):
        write_model(tmp_path / "repository", "exatrkx", {"model": tmp_path / "model"})
    assert not (tmp_path / "repository").exists()


def test_a_device_that_is_not_there_is_reported(tmp_path: Path) -> None:
    save_model(small_model(), tmp_path / "model")
    write_model(tmp_path / "repository", "exatrkx", {"model": tmp_path / "model"}, device="no-such")
    with pytest.raises(ServerError, match="no-such"):
        Server(tmp_path / "repository", **FREE).start()
    assert (tmp_path / "repository/models/exatrkxgpu/config.pbtxt").exists()


def test_results_survive_the_wire(events: list[PointsEvent], pipeline: ExatrkxPipeline) -> None:
    for event in events:
        direct = pipeline.reconstruct(event)
        tensors = CODEC.encode_result(direct, CODEC.output_names())
        assert CODEC.decode_result(tensors, event.event) == direct
        assert set(CODEC.encode_result(direct, ["LABELS"])) == {"LABELS"}


@pytest.mark.parametrize("name", CODEC.output_names())
def test_a_reply_that_contradicts_itself_is_refused(
    events: list[PointsEvent], pipeline: ExatrkxPipeline, name: str
) -> None:
    tensors = CODEC.encode_result(pipeline.reconstruct(events[3]), CODEC.output_names())
    for wrong in (tensors[name][:-1], tensors[name].astype(np.float64)):
        with pytest.raises(InputError) as caught:
            CODEC.decode_result(tensors | {name: wrong}, 0)
        assert caught.value.tensor in CODEC.output_names()
    with pytest.raises(InputError, match="missing"):
        CODEC.decode_result({n: a for n, a in tensors.items() if n != name}, 0)


def test_status_shows_models_and_aliases(server: Server, events: list[PointsEvent]) -> None:
    for model in ("exatrkx", "exatrkxcpu"):
        infer(server, {"FEATURES": np.zeros((3, 3), np.float32)}, model=model)
    found = read_status(parse_url(server.grpc_url), Http(server.host, server.ports.metrics))
    models = {model.name: model for model in found.models}
    assert list(models) == ["exatrkx", "exatrkx-large", "exatrkxcpu", "patatrack"]
    assert models["exatrkx"].outcomes["ok"] > 0
    assert models["exatrkxcpu"].outcomes["ok"] > 0


def test_the_command_line_names_models(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return CliRunner().invoke(commands, ["repository", str(tmp_path / "tree"), *arguments])

    save_model(small_model(), tmp_path / "model")
    assert run(f"other=exatrkx,model={tmp_path / 'model'}").exit_code == 0
    assert [path.name for path in (tmp_path / "tree" / "models").iterdir()] == ["other"]
    assert run(f"exatrkx,model={tmp_path / 'model'}").exit_code == 0
    names = {path.name for path in (tmp_path / "tree" / "models").iterdir()}
    assert names == {"other", "exatrkx", "exatrkxcpu"}
    same_name = run("exatrkx", "exatrkx=exatrkx").exception
    no_name = run("../x=exatrkx").exception
    for error in (same_name, no_name):
        assert isinstance(error, InputError)
        assert "name" in error.message
    for wrong in ("no-such", "exatrkx,modle=default", "exatrkx,model=nowhere", "patatrack"):
        assert isinstance(run(wrong).exception, InputError)


def test_types_of_results(client: Client, events: list[PointsEvent]) -> None:
    result = client.reconstruct("exatrkx", events[4])
    assert isinstance(result, ExatrkxResult)
    assert not result.labels.component.flags.writeable
