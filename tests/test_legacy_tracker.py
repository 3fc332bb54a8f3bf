"""A tracker in another package, with a C library; trackserve does not contain its name."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import trackserve
from trackserve.client import Client
from trackserve.edm import PointsEvent, RawEvent, SpacePoints
from trackserve.errors import (
    EventError,
    InputError,
    MalformedEvent,
    MissingExtraError,
    TrackserveError,
)
from trackserve.io import open_points
from trackserve.physics.points.matching import match_candidates
from trackserve.physics.points.truth import true_paths
from trackserve.trackers import registry
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker, tracker_names

PACKAGE = Path(__file__).parent / "legacy_tracker"
PROGRAM = [sys.executable, "-c", "from trackserve.cli import app; app()"]
PORTS = [f"--{name}-port=0" for name in ("grpc", "http", "metrics")]

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("make", "cc")), reason="needs a C compiler"
)


def install(site: Path) -> None:
    """Do what pip does, without pip: compile, copy, and write the names of the trackers.

    The second package is broken: what its entry point names cannot be imported.
    """
    package = site / "legacy_tracker"
    shutil.copytree(PACKAGE / "src" / "legacy_tracker", package)
    (package / "liblegacy.so").unlink(missing_ok=True)
    build = ["make", "-C", str(PACKAGE), f"OUT={package}"]
    subprocess.run(build, check=True, capture_output=True)
    for name, place in (("legacy", "legacy_tracker.tracker:TRACKER"), ("broken", "no_such:IT")):
        about = site / f"{name}_tracker-0.1.dist-info"
        about.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}-tracker\nVersion: 0.1\n"
        (about / "METADATA").write_text(metadata)
        (about / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {place}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the installed packages, which this process and its children see."""
    folder = tmp_path_factory.mktemp("site")
    install(folder)
    source = Path(trackserve.__file__).parents[1]
    with pytest.MonkeyPatch.context() as patch:
        given = os.environ.get("PYTHONPATH")
        paths = [str(folder), str(source), *([given] if given else [])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.syspath_prepend(folder)
        find_tracker.cache_clear()
        yield folder
    find_tracker.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "legacy_tracker"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def tracker(site: Path) -> Tracker[Any, Any]:
    return find_tracker("legacy")


@pytest.fixture(scope="module")
def muons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six events of ten muons."""
    pytest.importorskip("acts")
    from trackserve.simulation.chain.collisions import Setup
    from trackserve.simulation.chain.generate import Gun
    from trackserve.simulation.points.simulate import simulate_points

    directory = tmp_path_factory.mktemp("events") / "muons"
    gun = Gun(particles=10, min_pt=1.0, max_pt=20.0, max_eta=2.5)
    simulate_points(directory, Setup("muons", events=6, gun=gun), processes=1)
    return directory


@pytest.fixture(scope="module")
def events(muons: Path) -> list[PointsEvent]:
    return list(open_points(muons))


def trackserve_says(*arguments: Any, status: int = 0) -> str:
    """Run the command line in a process of its own, and return what it prints."""
    command = [*PROGRAM, *map(str, arguments)]
    env = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_package_is_found_and_the_house_does_not_know_it(tracker: Tracker[Any, Any]) -> None:
    assert {"legacy", "patatrack", "exatrkx"} <= set(tracker_names())
    assert type(tracker).__module__ == "legacy_tracker.tracker"
    for file in Path(trackserve.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert "legacy_tracker" not in text, file
        assert '"legacy"' not in text, file


def test_a_tracker_costs_no_import_of_its_pipeline(tracker: Tracker[Any, Any]) -> None:
    code = (
        "import sys; from trackserve.trackers.registry import find_tracker as find; find('legacy');"
        "sys.exit('legacy_tracker.pipeline' in sys.modules or 'numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_and_broken_trackers_are_told(site: Path) -> None:
    with pytest.raises(InputError, match="no such tracker") as unknown:
        find_tracker("nobody")
    assert "legacy" in unknown.value.bound
    with pytest.raises(TrackserveError, match="cannot be imported: ModuleNotFoundError") as broken:
        find_tracker("broken")
    assert broken.value.place == "no_such:IT"
    says = trackserve_says("reconstruct", "--help")
    assert re.search(r"broken +Does not work here: the tracker cannot be imported", says)
    assert re.search(r"legacy +Track candidates", says)
    assert "no_such" in trackserve_says("reconstruct", "broken", "PATH", status=1)


def test_muons_are_found(tracker: Tracker[Any, Any], events: list[PointsEvent]) -> None:
    found = wanted = fakes = 0
    for event, result in zip(events, tracker.build({}).run(events), strict=True):
        assert event.truth
        points, particle = result.candidates.points, event.truth.points.particle
        matches = match_candidates(points.offsets, points.values, particle)
        whole = np.zeros(len(event.truth.particles), bool)
        whole[matches.particle[matches.double]] = True
        good = true_paths(event.truth).reconstructable()
        found, wanted = found + np.sum(whole & good), wanted + np.sum(good)
        fakes += np.sum(matches.particle < 0)
    assert wanted > 50
    assert found > 0.9 * wanted
    assert fakes <= 0.02 * wanted


def test_candidates_keep_their_promises(
    tracker: Tracker[Any, Any], events: list[PointsEvent]
) -> None:
    """Each point is on one candidate at most; points and candidates are in order."""
    for event, result in zip(events, tracker.build({}).run(events, ["seeds"]), strict=True):
        points = result.candidates.points
        assert len(np.unique(points.values)) == len(points.values)
        smallest = [row.min() for row in points]
        assert smallest == sorted(smallest)
        distance = np.linalg.norm(event.points.position.astype(np.float64), axis=1)
        assert all((np.diff(distance[row]) >= 0).all() for row in points)
        assert points.counts.min() >= 6
        assert (result.candidates.score > 0).all()
        assert (result.candidates.score <= 1).all()
        counts = result.counts
        assert counts.as_array().tolist() == [
            len(event.points),
            len(result.seeds),
            len(result.candidates),
        ]
        radius = np.hypot(*event.points.position[:, :2].T)
        assert (radius[result.seeds.inner] < radius[result.seeds.outer]).all()


def test_results_depend_on_no_thread_and_no_run(
    tracker: Tracker[Any, Any], events: list[PointsEvent]
) -> None:
    one = tracker.build({})
    first = one.run(events, ["seeds"])
    assert one.run(events, ["seeds"]) == first
    assert tracker.build({}, threads=4).run(events * 4, ["seeds"]) == first * 4
    assert [one.reconstruct(event, ["seeds"]) for event in events] == first


def test_every_stage_ends_once(tracker: Tracker[Any, Any], events: list[PointsEvent]) -> None:
    laps: list[str] = []
    tracker.build({}, threads=2).run(events[:2], lap=laps.append)
    assert tuple(laps) == tracker.stages * 2


def test_a_bad_event_fails_alone(tracker: Tracker[Any, Any], events: list[PointsEvent]) -> None:
    position = events[0].points.position.copy()
    position[3, 2] = np.nan
    bad = PointsEvent(SpacePoints(position), 17)
    pipeline = tracker.build({})
    before, failed, after = pipeline.run([events[0], bad, events[1]])
    assert [before, after] == pipeline.run(events[:2])
    assert isinstance(failed, EventError)
    assert failed.message == "a space point is not finite"
    assert failed.event == 17
    with pytest.raises(EventError, match="not finite"):
        pipeline.reconstruct(bad)


def test_an_example_is_reconstructed(tracker: Tracker[Any, Any]) -> None:
    result = tracker.build({}).reconstruct(tracker.example())
    assert len(result.candidates) == 0


def test_what_cannot_be_built_is_told(
    tracker: Tracker[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no such device"):
        tracker.build({}, device="cuda")
    with pytest.raises(InputError, match="no such option") as caught:
        tracker.build({"points": "6"})
    assert caught.value.bound == ["min-points"]
    for wrong in ("2", "-7"):
        with pytest.raises(InputError, match="3 points or more"):
            tracker.store(tmp_path, {"min_points": wrong})
    for wrong in ("", "x", "6.5"):
        with pytest.raises(InputError, match="wrong value") as caught:
            tracker.store(tmp_path, {"min_points": wrong})
        assert caught.value.fields == {"option": "min-points", "found": wrong, "bound": "int"}
    pipeline = tracker.build({})
    other = RawEvent(np.zeros(4, np.uint8))
    wide = PointsEvent(SpacePoints(np.zeros((2, 3))), 4)
    errors = pipeline.run([other, wide])
    assert [type(error) for error in errors] == [MalformedEvent, MalformedEvent]
    assert "another kind" in errors[0].message
    assert (errors[1].event, errors[1].field) == (4, "points")
    with pytest.raises(InputError, match="another kind"):
        pipeline.reconstruct(other)
    with pytest.raises(InputError, match="unknown part to keep"):
        pipeline.run([], ["edges"])
    library = importlib.import_module("legacy_tracker.library")
    monkeypatch.setattr(library.Library.__init__, "__defaults__", (tmp_path / "liblegacy.so",))
    with pytest.raises(MissingExtraError, match="run make"):
        tracker.build({})


def test_results_cross_the_wire(tracker: Tracker[Any, Any], events: list[PointsEvent]) -> None:
    codec = tracker.codec
    for keep in ((), ("seeds",)):
        direct = tracker.build({}).reconstruct(events[0], keep)
        tensors = codec.encode_result(direct, codec.output_names(keep))
        assert codec.decode_result(tensors, events[0].event, keep) == direct


def test_the_command_line_reconstructs(site: Path, muons: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.parquet"
    says = trackserve_says("reconstruct", "legacy", muons, "-o", out, "--min-points=8")
    assert "candidates" in says
    table = pq.read_table(out)
    assert table.column_names == [
        *("event", "source", "source_event", "error", "origin", "stopped_by", "counts"),
        "candidates",
    ]
    assert table.num_rows == 6
    for text in ("legacy,min-points=x", "legacy,min_points=x"):
        assert "option min-points" in trackserve_says("serve", text, *PORTS, status=1)
    bad = trackserve_says("reconstruct", "legacy", muons, "-o", out, "--min-points=1", status=1)
    assert "3 points or more" in bad


def test_the_command_line_judges(site: Path, muons: Path, tmp_path: Path) -> None:
    says = trackserve_says("validate", "legacy", muons, "-o", tmp_path / "report")
    assert re.search(r"efficiency", says, re.IGNORECASE)
    assert any((tmp_path / "report").iterdir())


@pytest.fixture(scope="module")
def served(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A server of the command line: its ``url`` and its ``metrics`` port."""
    command = [*PROGRAM, "serve", "legacy", "strict=legacy,min-points=9", *PORTS]
    env = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    with ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        )
        stack.callback(server.terminate)
        assert server.stdout
        said = ""
        for line in server.stdout:
            said += line
            if found := re.search(r"status (grpc://\S+) --metrics-port (\d+)", line):
                yield {"url": found[1], "metrics": found[2]}
                return
        raise AssertionError(said)


@pytest.mark.parametrize("keep", [(), ("--keep", "seeds")], ids=["all", "kept"])
def test_served_is_direct(
    served: dict[str, str], muons: Path, tmp_path: Path, keep: tuple[str, ...]
) -> None:
    one, other = tmp_path / "a.parquet", tmp_path / "b.parquet"
    trackserve_says("reconstruct", "legacy", muons, "-o", one, *keep)
    trackserve_says("reconstruct", "legacy", muons, "-o", other, *keep, "--url", served["url"])
    tables = [pq.read_table(path).drop_columns(["origin"]) for path in (one, other)]
    assert tables[1].equals(tables[0])
    assert ("seeds" in pq.read_table(one).column_names) == bool(keep)


def test_a_served_name_goes_with_its_options(
    served: dict[str, str], muons: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.parquet"
    arguments = ("reconstruct", "legacy", muons, "-o", out, "--url", served["url"])
    says = trackserve_says(*arguments, "--served", "strict", status=1)
    assert "another identity" in says
    for model in ("legacy: legacy 1, min-points 6", "strict: legacy 1, min-points 9"):
        assert model in says
    assert not out.exists()
    says = trackserve_says(*arguments, "--served", "strict", "--min-points", 9)
    assert "by legacy 1, min-points 9 [" in says
    assert "another identity" in trackserve_says(*arguments, "--min-points", 9, status=1)


def test_a_client_gets_what_the_options_of_the_model_say(
    served: dict[str, str], tracker: Tracker[Any, Any], events: list[PointsEvent]
) -> None:
    strict = tracker.build({"min_points": "9"})
    nan = PointsEvent(SpacePoints(np.full((1, 3), np.nan, np.float32)), 5)
    with Client(served["url"]) as client:
        for event in events:
            assert client.reconstruct("strict", event) == strict.reconstruct(event)
        with pytest.raises(EventError, match="not finite") as caught:
            client.reconstruct("legacy", nan)
    assert caught.value.event == 5


def test_the_server_is_measured_and_tells_how_it_is(served: dict[str, str], muons: Path) -> None:
    url = served["url"]
    says = trackserve_says("bench", "legacy", muons, "--url", url, "--rounds", 1, "--threads", 1)
    for word in ("direct, 1 thread", "served, 1 in flight", "order", "candidates", "ns / point"):
        assert word in says
    says = trackserve_says("status", url, "--metrics-port", served["metrics"])
    assert "ready" in says
    assert "legacy 1" in says
    assert "strict 1" in says
