"""Whatever a file or an argument holds, the answer is an error of ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exatrkx_models import small_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackserve import io
from trackserve.cli.main import commands
from trackserve.edm import Particles, PointsEvent, PointsTruth, SpacePoints, TruePoints
from trackserve.errors import ConditionsError, EventError, InputError, ModelError, TrackserveError
from trackserve.io import trackml
from trackserve.trackers.exatrkx.model import load_model, save_model

READERS: dict[str, Callable[[Any], Any]] = {
    "open_pixel": lambda path: list(io.open_pixel(path)),
    "read_events": lambda path: list(io.read_events(path)),
    "read_conditions": io.read_conditions,
    "read_reference_counts": io.read_reference_counts,
    "read_truth": io.read_truth,
    "open_points": lambda path: list(io.open_points(path)),
    "trackml.read_event": trackml.read_event,
    "trackml.read_cells": trackml.read_cells,
    "trackml.read_detectors": trackml.read_detectors,
    "load_model": load_model,
}
WRONG = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=4)),
    *(st.just([]), st.just({}), st.just(np.zeros(3)), st.text(max_size=5)),
    st.sampled_from(["", ".", "/", "a" * 300, "**", "[", "a/b", "\0", "~"]),
)


@pytest.mark.parametrize("name", READERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=WRONG)
def test_no_reader_takes_what_is_no_place_of_data(
    name: str, path: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        assert READERS[name](path) is None
        assert name == "read_reference_counts"
    except TrackserveError:
        pass


@pytest.mark.parametrize("name", READERS)
def test_readers_of_a_place_that_holds_something_else(name: str, tmp_path: Path) -> None:
    """A file in place of a folder, and folders in place of files."""
    (tmp_path / "file").write_text("")
    names = ["raw", "fedIds", "beamspot", "digicluster", "tracks", "vertices"]
    folders = [f"{n}.bin" for n in names] + ["truth.npz", "points.parquet"]
    folders += ["e1-hits.csv", "weights.safetensors"]
    for folder in folders:
        (tmp_path / "folders" / folder).mkdir(parents=True)
    for place in (tmp_path / "file", tmp_path / "folders", tmp_path / "folders" / "e1"):
        try:
            assert READERS[name](place) is None
            assert name == "read_reference_counts"
        except TrackserveError:
            pass


def some_points() -> PointsEvent:
    particles = Particles(
        *(np.full(2, number, dtype) for number, dtype in ((0, "i4"), (211, "i4"), (1, "i1"))),
        position=np.zeros((2, 3)),
        momentum=np.ones((2, 3)),
        primary=np.ones(2, np.bool_),
    )
    place = (np.full(5, 1, dtype) for dtype in ("i2", "i2", "i4"))
    truth = TruePoints(np.array([0, 0, 1, 1, -1], "i4"), *place, weight=np.ones(5, "f4"))
    position = np.arange(15, dtype="f4").reshape(5, 3)
    return PointsEvent(SpacePoints(position), 3, PointsTruth(truth, particles))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["x", "z", "weight", "vx", "pz"])
def test_a_number_that_is_not_finite_is_an_error_of_its_event(
    column: str, bad: float, tmp_path: Path
) -> None:
    io.write_points(tmp_path, [some_points(), replace(some_points(), event=4)])
    path = tmp_path / ("particles.parquet" if column in ("vx", "pz") else "points.parquet")
    whole = pq.read_table(path)
    rows = len(whole) // 2
    values = whole[column].to_numpy().copy()
    values[rows + 1] = bad
    table = whole.set_column(whole.column_names.index(column), column, pa.array(values))
    pq.write_table(table, path)
    events = io.open_points(tmp_path)
    assert len(events[0].points) == 5
    with pytest.raises(EventError, match=f"not finite.*column {column}, row 1") as error:
        events[1]
    assert error.value.event == 4


def test_columns_of_several_lengths_are_not_written(tmp_path: Path) -> None:
    event = some_points()
    assert event.truth is not None
    cut = PointsTruth(event.truth.points.take(slice(4)), event.truth.particles)
    with pytest.raises(InputError, match=r"do not fit together.*event 3"):
        io.write_points(tmp_path, [PointsEvent(event.points, 3, cut)])


@pytest.mark.parametrize(
    ("array", "place", "value"),
    [
        ("particles", (0, 0), -1),
        ("particles", (0, 0), 1e15),
        ("particles", (0, 0), 0.5),
        ("particles", (0, 1), 1e6),
        ("particles", (0, 2), np.nan),
        ("particles", (0, 3), 1e3),
        ("particles", (0, 5), 300),
        ("hits", (5, 0), np.inf),
        ("hits", (5, 1), 0.25),
        ("hits", (5, 1), -2),
        ("hits", (5, 2), 1856),
        ("hits", (5, 3), np.nan),
        ("vertices", (2, 3), -np.inf),
        ("layer", 7, 10),
        ("bs", 2, np.nan),
    ],
    ids=str,
)
def test_truth_with_one_bad_number(
    sample_directory: Path, tmp_path: Path, array: str, place: Any, value: float
) -> None:
    with np.load(sample_directory / "truth.npz") as file:
        arrays = dict(file)
    arrays[array][place] = value
    np.savez(tmp_path / "truth.npz", **arrays)
    with pytest.raises(ConditionsError, match=r"truth\.npz"):
        io.read_truth(tmp_path)


@pytest.mark.parametrize("of", [str, complex, object, np.ndarray], ids=lambda of: of.__name__)
@pytest.mark.parametrize("array", ["particles", "bs", "layer", "pdg"])
def test_truth_of_another_type_or_shape(
    sample_directory: Path, tmp_path: Path, array: str, of: type
) -> None:
    with np.load(sample_directory / "truth.npz") as file:
        arrays: dict[str, Any] = dict(file)
    arrays.setdefault("pdg", np.zeros(len(arrays["particles"])))
    changed = np.array(3) if of is np.ndarray else arrays[array].astype(of)
    np.savez(tmp_path / "truth.npz", **arrays | {array: changed})
    with pytest.raises(ConditionsError, match=r"truth\.npz"):
        io.read_truth(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1), new=st.binary(min_size=1, max_size=8))
def test_damaged_truth(sample_directory: Path, tmp_path: Path, at: float, new: bytes) -> None:
    data = bytearray((sample_directory / "truth.npz").read_bytes())
    start = int(at * (len(data) - 8))
    data[start : start + len(new)] = new
    (tmp_path / "truth.npz").write_bytes(data)
    try:
        io.read_truth(tmp_path)
    except ConditionsError as error:
        assert "truth.npz" in error.file  # noqa: PT017


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(small_model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((("cuts", "radius"), value) for value in (0, -1, float("nan"), float("inf"), "1", None)),
        *((("cuts", "filter"), value) for value in (-0.1, 1, float("nan"), True)),
        *((("cuts", "edge"), value) for value in (-0.1, 1.5, float("nan"))),
        *((("cuts", "min_points"), value) for value in (0, -3, 2.5)),
        *((("features", "scales"), value) for value in ([0, 1, 1], [1, float("nan"), 1], [1, 1])),
        (("features", "scales"), [1, float("inf"), 1]),
        (("features", "low"), [5, 5, 5]),
        (("embedding", "widths"), [0]),
        (("embedding", "widths"), [7]),
        (("embedding", "dimensions"), -1),
        (("embedding", "activation"), "exp"),
        (("filter", "inputs"), []),
        (("gnn", "steps"), 0),
        (("gnn", "steps"), 10**9),
        (("gnn", "depth"), 10**9),
        (("gnn", "hidden"), 33),
    ],
    ids=str,
)
def test_models_that_no_pipeline_can_run(
    folder: Path, place: tuple[str, str], value: object
) -> None:
    description = json.loads((folder / "model.json").read_text())
    if place == ("features", "low"):
        description["features"]["high"] = [1, 1, 1]
    description[place[0]][place[1]] = value
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(ModelError) as error:
        load_model(folder)
    assert "model" in error.value.file


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.floats(0, 1), new=st.binary(min_size=1, max_size=8), name=st.sampled_from(["json", "st"])
)
def test_damaged_models(folder: Path, at: float, new: bytes, name: str) -> None:
    path = folder / {"json": "model.json", "st": "weights.safetensors"}[name]
    whole = path.read_bytes()
    head = min(len(whole) - 8, 2000)  # of the weights, what describes them
    data = bytearray(whole)
    data[int(at * head) : int(at * head) + len(new)] = new
    path.write_bytes(data)
    try:
        load_model(folder)
    except ModelError:
        pass
    finally:
        path.write_bytes(whole)


def test_weights_that_are_not_finite(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "weights.safetensors"
    weights = load_file(path)
    name = sorted(weights)[3]
    for bad in (np.nan, np.inf):
        weights[name].flat[0] = bad
        save_file(weights, path)
        with pytest.raises(ModelError, match=f"not finite.*{name}"):
            load_model(folder)
    save_file(weights | {name: np.zeros(3, np.float64)}, path)
    with pytest.raises(ModelError, match="wrong shape or type"):
        load_model(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ["simulate", "pixel", "-o", "FILE", "--process", "muons", "--events", "1"],
        ["simulate", "pixel", "-o", "NEW", "--events", "-1"],
        ["simulate", "pixel", "-o", "NEW", "--pileup", "nan"],
        ["simulate", "points", "-o", "NEW", "--process", "gravitons"],
        ["simulate", "points", "-o", "NEW", "--process", "muons", "--pt", "5", "1"],
        ["model", "show", "a\0b"],
        ["model", "show", "x" * 300],
        ["model", "show", "default@none"],
        ["model", "show", "FILE"],
        ["inspect", "FILE"],
        ["inspect", "NEW"],
        ["repository", "NEW", "nothing"],
        ["repository", "NEW", "patatrack,conditions=NONE"],
        ["repository", "FILE", "exatrkx"],
        ["repository", "NEW", "exatrkx", "--instances", "0"],
        ["status", "http://"],
        ["status", "nonsense"],
        ["train", "exatrkx", "NONE", "-o", "NEW"],
        ["serve", "a=b=c"],
        ["demo", "NONE", "NONE"],
    ],
    ids=" ".join,
)
def test_commands_with_nonsense(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("")
    done = CliRunner().invoke(commands, arguments)
    assert done.exit_code
    ours = (SystemExit, TrackserveError, OSError)
    assert isinstance(done.exception, ours), repr(done.exception)
