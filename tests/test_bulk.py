"""Many files: every event once, whatever dies."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from bulk_work import die, die_once, double, fail
from command_line import says

from trackserve.bulk.engines import check_versions, installed_version, on_dask, on_processes
from trackserve.bulk.manifest import claim_folder, files_of
from trackserve.errors import InputError, ServerError, TrackserveError
from trackserve.trackers.patatrack.tracker import Patatrack

PROGRAM = [sys.executable, "-c", "from trackserve.cli import app; app()"]


@pytest.mark.slow
def test_every_task_has_one_outcome() -> None:
    assert sorted(on_processes(double, range(7), 2)) == [(n, 2 * n) for n in range(7)]


def test_a_worker_that_dies_costs_nothing(tmp_path: Path) -> None:
    files = [str(tmp_path / str(n)) for n in range(2)]
    assert sorted(on_processes(die_once, files, 2)) == list(enumerate(files))


@pytest.mark.slow
def test_a_task_that_takes_workers_down_stops_no_other() -> None:
    found = dict(on_processes(die, range(4), 2))
    assert {n for n, outcome in found.items() if isinstance(outcome, TrackserveError)} == {1, 3}
    assert (found[0], found[2]) == (0, 2)
    assert "its worker died" in str(found[1])


@pytest.mark.slow
def test_work_that_fails_says_why() -> None:
    [(_, outcome)] = on_processes(fail, [7], 1)
    assert isinstance(outcome, TrackserveError)
    assert "ValueError: 7 is bad" in str(outcome)


def test_files_lie_as_their_sources_do(tmp_path: Path) -> None:
    def names(*sources: str) -> list[str]:
        found = files_of([Path(one) for one in sources], tmp_path)
        return [str(file.relative_to(tmp_path)) for file in found]

    assert names("/data/run1", "/data/run2/b") == ["run1.parquet", "run2/b.parquet"]
    assert names("/data/x.parquet", "/data/y.csv") == ["x.parquet", "y.csv.parquet"]
    assert names("/data/run1") == ["run1.parquet"]
    with pytest.raises(InputError, match="same file of results"):
        names("/data/x", "/data/x.parquet")


def test_a_folder_with_something_in_it_is_not_taken(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new", resume=False)
    (tmp_path / "new" / "thing").touch()
    claim_folder(tmp_path / "new", resume=True)
    with pytest.raises(InputError, match="something is in this folder"):
        claim_folder(tmp_path / "new", resume=False)


def test_workers_of_another_version_are_refused() -> None:
    check_versions({"a": installed_version()})
    with pytest.raises(InputError, match=r"another trackserve .*'b': '0\.0\.1'"):
        check_versions({"a": installed_version(), "b": "0.0.1"})


@pytest.fixture(scope="module")
def sources(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four data directories with the sample's events, the third of them without its raw data."""
    folder = tmp_path_factory.mktemp("sources")
    found = [Path(shutil.copytree(sample_directory, folder / f"run{n}")) for n in range(4)]
    (found[2] / "raw.bin").unlink()
    return found


def rows(folder: Path) -> dict[str, Any]:
    """The tables of a folder of results, without where each event was made."""
    return {
        str(file.relative_to(folder)): pq.read_table(file).drop_columns(["origin"])
        for file in sorted(folder.glob("**/*.parquet"))
    }


@pytest.mark.slow
def test_many_files_have_the_results_of_one_by_one(sources: list[Path], tmp_path: Path) -> None:
    """What cannot be read stops no other, and is done when it can."""
    out = tmp_path / "out"
    command = ["reconstruct", "patatrack", *sources, "-o", out, "--processes", 2]
    said = says(*command, status=1)
    assert "3 files, 30 events, 0 failed" in said
    assert f"file failed: {sources[2]}" in said
    for n in (0, 1, 3):
        says("reconstruct", "patatrack", sources[n], "-o", tmp_path / "one" / f"run{n}.parquet")
    assert rows(out) == rows(tmp_path / "one")
    manifest = json.loads((out / "manifest.json").read_text())
    states = [entry["state"] for entry in manifest["sources"]]
    assert states == ["done", "done", "failed", "done"]
    assert manifest["sources"][0]["events"] == 10
    assert manifest["sources"][0]["identity"].startswith(f"patatrack {Patatrack.algorithm}")
    assert "something is in this folder" in says(*command, status=1)
    before = {file: file.stat().st_mtime_ns for file in out.glob("*.parquet")}
    shutil.copy(sources[0] / "raw.bin", sources[2])
    assert "4 files, 40 events" in says(*command, "--resume")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    (sources[2] / "raw.bin").unlink()


@pytest.mark.slow
def test_killed_at_any_moment_every_event_is_there_once(
    sample_directory: Path, tmp_path: Path
) -> None:
    many = []
    for n in range(4):
        copy = Path(shutil.copytree(sample_directory, tmp_path / "in" / f"run{n}"))
        (copy / "raw.bin").write_bytes((sample_directory / "raw.bin").read_bytes() * 10)
        many.append(copy)
    out = tmp_path / "out"
    words = ["reconstruct", "patatrack", *many, "-o", out, "--processes", 2, "--resume"]
    command = [*PROGRAM, *map(str, words)]
    moments = random.Random(1)
    n_killed = 0
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as one:
            try:
                one.wait(1.5 + 2 * moments.random())
            except subprocess.TimeoutExpired:
                one.send_signal(signal.SIGKILL)
                n_killed += 1
    assert n_killed
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "4 files, 400 events, 0 failed" in done.stdout
    for table in rows(out).values():
        assert table["event"].to_pylist() == list(range(100))
    assert not list(out.glob("**/*.parts"))


@pytest.mark.slow
def test_dask_works_on_its_workers(sources: list[Path], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    out = tmp_path / "out"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        found = dict(on_dask(double, range(3), cluster.scheduler_address))
        assert found == {0: 0, 1: 2, 2: 4}
        [(_, outcome)] = on_dask(fail, [7], cluster.scheduler_address)
        assert "7 is bad" in str(outcome)
        good = [sources[n] for n in (0, 1, 3)]
        words = ["reconstruct", "patatrack", *good, "-o", out]
        said = says(*words, "--dask", cluster.scheduler_address)
        assert "3 files, 30 events, 0 failed" in said
    says("reconstruct", "patatrack", sources[0], "-o", tmp_path / "one" / "run0.parquet")
    assert rows(out)["run0.parquet"] == rows(tmp_path / "one")["run0.parquet"]


@pytest.mark.slow
def test_a_scheduler_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("trackserve.bulk.engines._CONNECT_TIMEOUT", 0.2)
    with pytest.raises(ServerError, match="no scheduler of dask"):
        list(on_dask(double, [1], "tcp://127.0.0.1:1"))


def test_one_place_for_the_work() -> None:
    said = says("reconstruct", "patatrack", os.curdir, "--processes=1", "--dask=x", status=2)
    assert "either --processes or --dask" in said
