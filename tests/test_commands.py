"""``validate``, ``bench`` and ``inspect`` on what is empty, damaged or without truth."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import says

from benchmarks.raw_words import stream
from trackserve.edm import Particles, PointsEvent, PointsTruth, SpacePoints, TruePoints
from trackserve.errors import InputError
from trackserve.io import write_events, write_points
from trackserve.report.page import Picture, Section, claim, write_report

TRACKML = Path(__file__).parent / "data" / "trackml-mini"
SHORT = ("--rounds", 1, "--threads", 1)


@pytest.fixture
def copy(sample_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_directory, tmp_path / "copy"))


@pytest.fixture
def cut(copy: Path) -> Path:
    """The sample; event 0 is damaged, and the file ends inside event 9."""
    raw = bytearray((copy / "raw.bin").read_bytes()[:-1000])
    raw[4:8] = (5000).to_bytes(4, "little")
    (copy / "raw.bin").write_bytes(raw)
    return copy


@pytest.fixture(params=["no event", "an empty event"])
def empty(request: pytest.FixtureRequest, copy: Path) -> Path:
    events = [] if request.param == "no event" else [stream([])]
    write_events(copy, events)
    for name, n in (("digicluster.bin", 3), ("tracks.bin", 1), ("vertices.bin", 1)):
        np.zeros(n * len(events), "<u4").tofile(copy / name)
    with np.load(copy / "truth.npz") as file:
        arrays = dict(file)
    for name in ("particles", "hits", "vertices"):
        arrays[name] = arrays[name][:0]
    for name in ("pdg", "primary"):
        arrays.pop(name, None)
    if events:
        arrays["vertices"] = np.zeros((1, 4))
    np.savez(copy / "truth.npz", **arrays)
    return copy


def test_damaged_pixel_events_end_no_command(cut: Path, tmp_path: Path) -> None:
    for command in (
        ("validate", "patatrack", cut, "-o", tmp_path / "report"),
        ("bench", "patatrack", cut, *SHORT),
        ("inspect", cut),
    ):
        text = says(*command, status=1)
        assert text.count("event failed") == 2
        assert "FED id" in text
        assert "raw.bin ends inside an event" in text
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["results"]["patatrack default"]["n_events"] == 8


def test_damaged_points_end_no_command(tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    for number in (1, 2):
        for file in TRACKML.glob("event000000001-*"):
            name = file.name.replace("event000000001", f"event00000000{number}")
            shutil.copy(file, folder / name)
    (folder / "event000000001-truth.csv.gz").write_bytes(b"")
    for command in ("validate", "bench"):
        text = says(command, "exatrkx", folder, *(SHORT if command == "bench" else ()), status=1)
        assert text.count("event failed") == 1
        assert "event000000001-truth.csv" in text


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_empty_pixel_events(empty: Path, tmp_path: Path) -> None:
    n = (empty / "raw.bin").stat().st_size > 0
    output = tmp_path / "x.parquet"
    assert f"means over {int(n)} events" in says("reconstruct", "patatrack", empty, "-o", output)
    text = says("validate", "patatrack", empty, "-o", tmp_path / "report")
    assert f"events {int(n)}" in text.replace("│", "").replace("  ", " ")
    says("validate", "patatrack", empty, "--against", "reference")
    says("inspect", empty, "-o", tmp_path / "contents")
    assert "nan" not in says("inspect", empty, "--against", empty, "-o", tmp_path / "beside")
    text = says("bench", "patatrack", empty, *SHORT, status=0 if n else 1)
    assert n or "error: no events to measure with" in text


def test_empty_points(tmp_path: Path) -> None:
    nothing = PointsTruth(TruePoints.empty(), Particles.empty())
    write_points(tmp_path / "empty", [PointsEvent(SpacePoints.empty(), 0, nothing)])
    assert "means over 1 events" in says(
        "reconstruct", "exatrkx", tmp_path / "empty", "-o", tmp_path / "x.parquet"
    )
    text = says("validate", "exatrkx", tmp_path / "empty", "-o", tmp_path / "report")
    assert "nan" not in text
    says("validate", "exatrkx", tmp_path / "empty", "--against", "large")
    says("bench", "exatrkx", tmp_path / "empty", *SHORT)
    (tmp_path / "nothing").mkdir()
    for command in ("reconstruct", "validate", "bench"):
        assert "error: no events" in says(command, "exatrkx", tmp_path / "nothing", status=1)
        assert "error: no pixel data here" in says(
            command, "patatrack", tmp_path / "nothing", status=1
        )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An event of GenericDetector, without truth and without points."""
    write_points(tmp_path / "bare", [PointsEvent(SpacePoints.empty(), 0)], "generic")
    return tmp_path / "bare"


@pytest.mark.parametrize(
    "arguments",
    [
        "pixels BARE -o NEW",
        "train exatrkx --data BARE -o NEW",
        "train exatrkx --data BARE --config BARE/none.toml -o NEW",
        "validate exatrkx BARE --model pixels -o NEW",
        "inspect BARE -o NEW",
        "reconstruct exatrkx BARE --model pixels -o NEW/tracks.parquet",
        "hlt BARE -o NEW/decisions.parquet",
        "repository NEW exatrkx patatrack,conditions=BARE",
    ],
)
def test_a_command_that_fails_leaves_no_folder(arguments: str, bare: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    places = {"BARE": str(bare), "NEW": str(new / "folder")}
    words = arguments.split()
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    assert "error: " in says(*words, status=1)
    assert not new.exists()


def test_what_is_there_is_said_where_something_else_should_be(bare: Path) -> None:
    text = says("inspect", bare, status=1)
    assert "no pixel data here" in text
    assert "found points.parquet" in text
    assert "bound ['raw.bin', 'fedIds.bin'" in text
    for command in (["reconstruct", "exatrkx"], ["reconstruct", "patatrack"]):
        assert "found no such file or folder" in says(*command, bare / "none", status=1)


def test_a_model_is_described_with_what_it_lacks() -> None:
    text = says("model", "show", "pixels")
    assert "short: finish │ field 2.0, piece_points 3, sure_edge 0.15" in text
    assert "unfinished: finish │ none" in text


def test_counts_are_compared_without_truth(copy: Path, tmp_path: Path) -> None:
    (copy / "truth.npz").unlink()
    report = tmp_path / "report"
    text = says("validate", "patatrack", copy, "--config", "reference", "-o", report)
    assert "There is no truth (truth.npz)" in text
    assert "efficiency" not in text
    summary = json.loads((report / "summary.json").read_text())
    (numbers,) = summary["results"].values()
    assert list(numbers) == ["reference", "identity"]
    assert numbers["reference"]["words"] == numbers["reference"]["n_events"] == 10
    assert "There is no truth (truth.npz)" in (report / "report.html").read_text()
    text = says("validate", "patatrack", copy, "--against", "reference")
    assert "ntuplets, against the C++ program" in text
    (copy / "vertices.bin").unlink()
    text = says("validate", "patatrack", copy, status=1)
    assert "error: nothing to compare with" in text
    assert "truth.npz" in text


def test_occupancies_are_shown_beside_each_other_and_beside_cms(
    copy: Path, sample_directory: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report"
    text = says("inspect", copy, "--against", sample_directory, "--events", 2, "-o", report)
    words = re.search(r"│ words │ ([\d,]+) │ ([\d,]+) │ 59,825 │", text)
    assert words is not None
    assert words[1] == words[2], "the same events"
    assert re.search(r"Charge \(ke, median\).* FPix -3 │ (\d+) │ \1 │ 29 │", text)
    page = (report / "report.html").read_text()
    assert "Size y, median (pixels)" in page
    assert (report / "comparison.png").exists()


def test_a_report_of_something_else_is_not_overwritten(
    sample_directory: Path, tmp_path: Path
) -> None:
    """And a place that cannot be written is told before any work."""
    report = tmp_path / "report"
    says("inspect", sample_directory, "-o", report)
    before = {path: path.read_bytes() for path in report.iterdir()}
    text = says("validate", "patatrack", sample_directory, "-o", report, status=1)
    assert "error: a report of something else is here" in text
    assert "found Contents of" in text
    assert {path: path.read_bytes() for path in report.iterdir()} == before
    (tmp_path / "file").write_text("")
    for command in (("validate", "patatrack"), ("inspect",)):
        text = says(*command, sample_directory, "-o", tmp_path / "file", status=1)
        assert text.startswith("error: cannot be written")


def test_a_report_removes_its_own_old_pictures_alone(tmp_path: Path) -> None:
    def sections(*names: str) -> list[Section]:
        return [Section("x", pictures=[Picture(name, b"png", "") for name in names])]

    (tmp_path / "mine.png").write_bytes(b"mine")
    write_report(tmp_path, "a & b", sections("one", "two"), "subject <1>")
    write_report(tmp_path, "a", sections("two", "three"), "subject <1>")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"mine.png", "report.html", "two.png", "three.png"}
    with pytest.raises(InputError, match=r"something else.*found subject <1>, bound a"):
        write_report(tmp_path, "a", sections("two"))
    with pytest.raises(InputError, match="something else"):
        claim(tmp_path, "another")
    claim(tmp_path / "new", "another")
    assert not (tmp_path / "new").exists()
