"""JSON that others wrote, or a user's editor, is checked: an error of ours, and no traceback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.client import Client
from trackserve.client.served import ServedModel
from trackserve.edm import PointsEvent, RawEvent, SpacePoints
from trackserve.errors import InputError, ModelError, TrackserveError, parse_json
from trackserve.io import open_points, write_points
from trackserve.serving import local
from trackserve.serving.http import Http
from trackserve.serving.status import read_status
from trackserve.serving.watch import Life, count_batches, probe, sweep
from trackserve.simulation.chain.manifest import claim
from trackserve.trackers.exatrkx.model import from_json, load_model, to_json
from trackserve.trackers.exatrkx.training.config import TrainingConfig
from trackserve.trackers.exatrkx.training.train import _claim
from trackserve.trackers.patatrack.tracker import TRACKER
from trackserve.wire.address import parse_url

TEXTS = {
    "empty": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe{}",
    "deep": b"[" * 100_000,
    "number": b"5",
    "null": b"null",
    "text": b'"text"',
    "list": b"[]",
    "list of numbers": b"[1, 2]",
    "object": b"{}",
    "object of others": b'{"error": [], "outputs": 5, "parameters": [], "model_stats": 5, "x": 1}',
    "object of lists": b'{"parameters": {"tracker": []}, "outputs": [[]], "model_stats": [1]}',
    "page": b"<html></html>",
}
texts = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


class Page(BaseHTTPRequestHandler):
    """Answers everything with one text."""

    text: ClassVar[bytes] = b""
    status: ClassVar[int] = 200

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.text)))
        self.send_header("Inference-Header-Content-Length", str(len(self.text)))
        self.end_headers()
        self.wfile.write(self.text)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@given(
    text=st.binary() | st.text(),
    kind=st.sampled_from([dict, list]),
)
def test_json_is_of_its_kind_or_an_error(text: bytes | str, kind: type) -> None:
    try:
        assert isinstance(parse_json(text, kind, file="f"), kind)
    except InputError as error:
        assert error.file == "f"  # noqa: PT017


@pytest.mark.parametrize("status", [200, 400, 500])
@texts
def test_a_reply_that_is_not_tritons_is_a_typed_error(
    port: int, text: bytes, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Page, "text", text)
    monkeypatch.setattr(Page, "status", status)
    http = Http("127.0.0.1", port)
    event = RawEvent(np.zeros(4, np.uint8))
    with Client(f"http://127.0.0.1:{port}", timeout=5) as client:
        with pytest.raises(TrackserveError):
            client.reconstruct("patatrack", event)
        client._settings.served["patatrack"] = ServedModel("patatrack", TRACKER, True)
        with pytest.raises(TrackserveError):
            client.reconstruct("patatrack", event)
        with pytest.raises(TrackserveError):
            list(client.stream("patatrack", [event]))
    with suppress(TrackserveError):
        read_status(parse_url(f"http://127.0.0.1:{port}"), http)
    assert probe(http, "patatrack", "{}") is (Life.ANSWERS if status == 200 else Life.DEAD)
    assert count_batches(http) == {}
    sweep(http, {})
    for kind in (dict, list):
        with suppress(OSError):
            assert isinstance(http.get_json("/", kind), kind)


@pytest.mark.parametrize("name", ["no url", "a/../b", "é", "", "\n", "\ud800"])
def test_a_name_of_a_model_may_have_any_letter(port: int, name: str) -> None:
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(TrackserveError):
        client.reconstruct(name, RawEvent(np.zeros(4, np.uint8)))


@texts
def test_a_simulation_json_is_checked(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "simulation.json").write_bytes(text)
    with pytest.raises(InputError):
        claim(tmp_path, {"parameters": {"events": 3}}, ("raw.bin",))


@pytest.mark.parametrize(
    "counts",
    [{"counts": 3}, {"counts": {"hits": "many"}}, {"kept": []}, {"kept": {"events": 2}}],
)
def test_the_counts_in_a_simulation_json_are_checked(tmp_path: Path, counts: Any) -> None:
    manifest = {"parameters": {"events": 3}}
    (tmp_path / "simulation.json").write_text(json.dumps(manifest | counts))
    with pytest.raises(InputError, match="counts of events"):
        claim(tmp_path, manifest, ("raw.bin",))


@texts
def test_a_training_json_is_checked(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "training.json").write_bytes(text)
    with pytest.raises(InputError):
        _claim(tmp_path, [tmp_path], TrainingConfig(name="x"), resume=True, start=None)


@texts
def test_a_model_json_is_checked(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(ModelError):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("gnn", {"kind": []}), ("gnn", []), ("cuts", 10**400), ("features", {"scales": 1})),
        *(("record", []), ("format", None), ("order", {})),
    ],
)
def test_a_value_of_a_model_json_is_checked(key: str, value: Any) -> None:
    values = to_json(load_model("default").description)
    with pytest.raises(ModelError):
        from_json(values | {key: value}, "model.json")


@texts
def test_a_published_file_is_checked(
    tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert local.publish(1, local.Local("header", "value", 3, 4))
    local.file(1).write_bytes(text)
    assert local.find(1) is None


def test_a_file_that_cannot_be_published_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "file"))
    assert not local.publish(1, local.Local("header", "value", 3, 4))
    assert local.find(1) is None
    local.withdraw(1)


@texts
def test_a_list_of_events_is_checked(tmp_path: Path, text: bytes) -> None:
    points = np.zeros((2, 3), np.float32)
    write_points(tmp_path, [PointsEvent(SpacePoints(points), number) for number in range(2)])
    path = tmp_path / "points.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({b"events": text, b"detector": b"\xff"}), path)
    try:
        assert len(open_points(tmp_path)) >= 2
    except InputError as error:
        assert "list of events" in error.message  # noqa: PT017
