"""``trackserve hlt``: the same decisions wherever tracking runs, and no event is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import command, says
from server_process import Process

from trackserve.edm import RawEvent
from trackserve.errors import MissingExtraError
from trackserve.io import open_pixel
from trackserve.serving.server import Server
from trackserve.workflow import Job, Processed, Schedule, run
from trackserve.workflow.description import DEFAULT, Rest, make_job, read_description
from trackserve.workflow.menu import path_names
from trackserve.workflow.tracking import Attached, Way

HERE = Way()


@pytest.fixture(scope="module")
def here(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decisions on the sample with tracking in the job."""
    file = tmp_path_factory.mktemp("decisions") / "here.parquet"
    said = command("hlt", sample_directory, "-o", file, "--rest", "none", "--threads", 2)
    assert all(name in said.out for name in path_names())
    return file


def test_decisions_of_each_path_are_a_column(here: Path) -> None:
    table = pq.read_table(here)
    rows = table.to_pylist()
    assert [row["source_event"] for row in rows] == list(range(10))
    assert all(row["error"] == "" for row in rows)
    for row in rows:
        each = {name: row[name] for name in row if isinstance(row[name], dict)}
        assert row["accepted"] == any(one["accepted"] for one in each.values())
        assert row["track_ht"]["passed"] == (row["track_ht"]["quantity"] >= 100.0)
        assert row["track_ht"]["quantity"] == row["track_ht_low"]["quantity"]
    assert any(row["track_ht"]["quantity"] > 0 for row in rows)
    menu = json.loads(table.schema.metadata[b"menu"])
    assert [one["name"] for one in menu] == [e.name for e in read_description(DEFAULT).entries]
    assert b"patatrack" in table.schema.metadata[b"identity"]
    meaning = table.schema.field("track_ht").type.field("quantity").metadata[b"meaning"]
    assert meaning == b"What the event is judged by, GeV."


def test_served_decisions_are_those_of_here(
    here: Path, sample_directory: Path, server: Server, tmp_path: Path
) -> None:
    where = ("--url", server.grpc_url, "--rest", "none", "--compare", here)
    said = says("hlt", sample_directory, "-o", tmp_path / "served.parquet", *where)
    assert f"all decisions are those of {here}, bit for bit" in said
    assert "10 answers by grpc://" in said


def test_without_a_server_the_fallback_decides_the_same(
    here: Path, sample_directory: Path, tmp_path: Path
) -> None:
    where = ("--url", "grpc://localhost:1", "--fallback", "--rest", "none", "--compare", here)
    said = says("hlt", sample_directory, "-o", tmp_path / "fallback.parquet", *where)
    assert "all decisions are those of" in said
    assert "10 answers by here" in said


def test_without_a_server_and_a_fallback_no_event_is_decided(
    sample_directory: Path, tmp_path: Path
) -> None:
    output = tmp_path / "none.parquet"
    said = says("hlt", sample_directory, "-o", output, "--url", "grpc://localhost:1", status=1)
    assert "localhost:1" in said
    assert not output.exists()


def test_another_menu_is_listed_as_different(
    here: Path, sample_directory: Path, tmp_path: Path
) -> None:
    text = command("hlt", "--show-job").out
    job = tmp_path / "job.toml"
    job.write_text(text.replace("threshold = 100.0", "threshold = 10.0"))
    output = tmp_path / "other.parquet"
    arguments = ("-o", output, "--job", job, "--rest", "none", "--compare", here)
    assert "decisions of other menu" in says("hlt", sample_directory, *arguments, status=1)
    assert output.exists()


def test_an_event_without_data_passes_no_path_but_zero_bias(sample_directory: Path) -> None:
    described = read_description(DEFAULT)
    job = make_job(described, open_pixel(sample_directory), HERE, Rest(is_left_out=True))
    (found,) = run(job, [described.tracker.example()], Schedule(keep=("decisions",)))
    assert found.error is None
    passed = [one.passed for one in found.products["decisions"]]
    assert passed == [entry.name == "zero_bias" for entry in described.entries]


def test_some_events_of_several_sources_are_chosen(sample_directory: Path, tmp_path: Path) -> None:
    other = tmp_path / "other[/sample]"
    shutil.copytree(sample_directory, other)
    output = tmp_path / "a[/b].parquet"
    arguments = ("-o", output, "--rest", "none", "--events", "8:11")
    said = says("hlt", sample_directory, other, *arguments)
    assert "2 events; rate of all events 100000 Hz" in said
    assert "1 events;" in said
    assert "a[/b].parquet" in said
    rows = pq.read_table(output).to_pylist()
    assert [row["source_event"] for row in rows] == [8, 9, 0]
    assert [row["event"] for row in rows] == [0, 1, 2]
    said = says("hlt", sample_directory, sample_directory, "-o", output, status=1)
    assert "the same path is given twice" in said


def test_results_of_an_attached_device_come_while_threads_go_on(
    pipeline: Any, sample_events: list[RawEvent], sample_results: list[Any]
) -> None:
    """The pipeline is that of the CPU: what is tested is how a device is waited for."""
    found = run(Job([Attached("tracking", pipeline)]), sample_events, Schedule(1, 4, ("tracking",)))
    assert [one.products["tracking"].tracks for one in found] == [
        result.tracks for result in sample_results
    ]


def test_a_device_that_is_not_there_is_an_error_before_the_first_event(
    sample_directory: Path, tmp_path: Path
) -> None:
    output = tmp_path / "a.parquet"
    said = says("hlt", sample_directory, "-o", output, "--device", "abacus", status=1)
    assert "no such device (found abacus" in said


MODULE = """
from trackserve.workflow import Module

class CountTracks(Module):
    inputs = ("selected_tracks",)
    outputs = ("n_tracks",)

    def __init__(self, least_pt=0.0):
        self.least_pt = least_pt

    def produce(self, tracks):
        return int((tracks.pt >= self.least_pt).sum())
"""
PATH = """
from trackserve.workflow.menu import Path

PATH = Path(("n_tracks",), float, threshold=100.0, unit="tracks")
"""
JOB = """
[modules.tracking]
[modules.selected_tracks]
[modules.n_tracks]
use = "own_module:CountTracks"
least_pt = 1.0
[paths.many_tracks]
use = "own_path"
threshold = 60
"""


def test_a_job_takes_modules_and_paths_of_a_users_own(
    sample_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_module.py").write_text(MODULE)
    (tmp_path / "own_path.py").write_text(PATH)
    (tmp_path / "job.toml").write_text(JOB)
    monkeypatch.syspath_prepend(tmp_path)
    output = tmp_path / "a.parquet"
    command("hlt", sample_directory, "-o", output, "--job", tmp_path / "job.toml")
    found = [row["many_tracks"] for row in pq.read_table(output).to_pylist()]
    counts = [one["quantity"] for one in found]
    assert all(count == int(count) > 0 for count in counts)
    assert [one["passed"] for one in found] == [count >= 60 for count in counts]


def test_the_timeline_shows_the_work_of_each_module(sample_directory: Path, tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    times.write_text("calorimeter,muons,full_tracking\n0.002,0.001,0.002\n")
    trace = tmp_path / "trace.json"
    arguments = ("--timeline", trace, "--times", times, "--threads", 1, "--rest", "emulated")
    said = says("hlt", sample_directory, "-o", tmp_path / "a.parquet", *arguments)
    assert "emulated by waits" in said
    found = [one for one in json.loads(trace.read_text())["traceEvents"] if one["ph"] == "X"]
    names = {one["name"] for one in found}
    assert names >= {"tracking", "track_jets", "calorimeter", "decisions", *path_names()}
    waits = [one for one in found if one["name"] == "muons"]
    assert all(one["cat"] == "module, emulated" and one["dur"] >= 1000 for one in waits)
    assert (tmp_path / "trace.png").read_bytes()[:4] == b"\x89PNG"


def test_times_of_an_unknown_module_are_refused(sample_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("muon\n0.1\n")
    arguments = ("-o", tmp_path / "a.parquet", "--times", tmp_path / "times.csv")
    said = says("hlt", sample_directory, *arguments, status=1)
    assert "times of no module of the rest (found ['muon']" in said


def test_a_damaged_event_has_its_error_in_its_row(sample_directory: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in sample_directory.iterdir():
        if file.suffix == ".bin" and file.name not in ("tracks.bin", "vertices.bin"):
            (folder / file.name).write_bytes(file.read_bytes())
    raw = folder / "raw.bin"
    raw.write_bytes(raw.read_bytes()[:-100])
    output = tmp_path / "a.parquet"
    said = says("hlt", folder, "-o", output, "--rest", "none", status=1)
    assert "event failed" in said
    assert "10 events, 1 failed; rate" in said
    other = tmp_path / "b.parquet"
    said = says("hlt", folder, "-o", other, "--rest", "none", "--compare", output, status=1)
    assert "event failed" in said
    assert f"all decisions are those of {output}" in said
    rows = pq.read_table(output).to_pylist()
    assert [bool(row["error"]) for row in rows] == [False] * 9 + [True]
    assert rows[9]["accepted"] is False


ENDING_MODULE = """
import os
import signal
import time
from trackserve.errors import ServerUnavailable
from trackserve.workflow import Module

class Ending(Module):
    inputs, outputs = ("index", "tracking"), ("nothing",)

    def __init__(self, how):
        self.how = how

    def produce(self, index, result):
        if index == 5:
            self.act()

    def act(self):
        if self.how.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.how))
            time.sleep(2)  # until the main thread looks
        elif self.how == "gone":
            raise ServerUnavailable("nobody answers")

    def end(self):
        if self.how == "end":
            raise RuntimeError("a bug of mine")
"""


@pytest.mark.parametrize(
    ("how", "status", "least"), [("SIGINT", 130, 1), ("SIGTERM", 130, 1), ("gone", 1, 5)]
)
def test_what_is_decided_before_a_command_ends_early_is_kept(
    how: str, status: int, least: int, sample_directory: Path, tmp_path: Path, here: Path
) -> None:
    """The module lies beside the job, where Python does not look."""
    name = f"ending_by_{how}"
    (tmp_path / f"{name}.py").write_text(ENDING_MODULE)
    text = DEFAULT.read_text() + f"[modules.nothing]\nuse = '{name}:Ending'\nhow = '{how}'\n"
    (tmp_path / "job.toml").write_text(text)
    output = tmp_path / "a.parquet"
    arguments = ("-o", output, "--rest", "none", "--job", tmp_path / "job.toml", "--threads", 1)
    said = says("hlt", sample_directory, *arguments, status=status)
    assert "of 10 events are decided; they are in" in said
    assert ("nobody answers" in said) == (how == "gone")
    assert not output.exists()
    rows = pq.read_table(tmp_path / "a.partial.parquet").to_pylist()
    assert least <= len(rows) <= 10
    assert rows == pq.read_table(here).to_pylist()[: len(rows)]


def test_what_is_decided_is_kept_where_a_users_module_has_a_bug_at_its_end(
    sample_directory: Path, tmp_path: Path, here: Path
) -> None:
    (tmp_path / "ending_badly.py").write_text(ENDING_MODULE)
    job = "[modules.tracking]\n[modules.nothing]\nuse = 'ending_badly:Ending'\nhow = 'end'\n"
    (tmp_path / "job.toml").write_text(job)
    arguments = ("-o", tmp_path / "a.parquet", "--job", tmp_path / "job.toml")
    with pytest.raises(RuntimeError, match="a bug of mine"):
        command("hlt", sample_directory, *arguments)
    assert len(pq.read_table(tmp_path / "a.partial.parquet")) == 10


def test_a_job_may_come_from_a_pipe(sample_directory: Path, tmp_path: Path) -> None:
    text = "[modules.tracking]\n[paths.zero_bias]\n"
    out, into = os.pipe()
    os.write(into, text.encode())
    os.close(into)
    output = tmp_path / "a.parquet"
    command("hlt", sample_directory, "-o", output, "--job", f"/dev/fd/{out}", "--events", ":1")
    os.close(out)
    assert pq.read_schema(output).metadata[b"job"].decode() == text


def test_files_that_cannot_be_written_are_refused_before_any_work(
    here: Path, sample_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "job.toml").write_text("[modules.tracking]")
    for arguments, message in [
        (("-o", here, "--compare", here), "one file is to be read and written"),
        (("-o", tmp_path / "a.png", "--timeline", tmp_path / "a.json"), "one file"),
        (("-o", tmp_path / "a", "--timeline", tmp_path / "t.png"), "one file"),
        (("-o", tmp_path / "notes.txt"), "is not replaced"),
        (("-o", tmp_path / "job.toml", "--job", tmp_path / "job.toml"), "is not replaced"),
        (("-o", tmp_path / "notes.txt" / "a"), "cannot be written"),
        (("-o", tmp_path), "this is a folder"),
        (("-o", tmp_path / "a", "--timeline", "."), "this is a folder"),
        (("-o", "/proc/a.parquet"), "cannot be written"),
    ]:
        assert message in says("hlt", sample_directory, *arguments, status=1)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["job.toml", "notes.txt"]


def test_a_missing_fastjet_is_noticed_before_anything_is_compiled(
    sample_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingExtraError("FastJet is not here")

    monkeypatch.setattr("trackserve.workflow.select.require_fastjet", missing)
    with pytest.raises(MissingExtraError, match="FastJet is not here"):
        make_job(read_description(DEFAULT), open_pixel(sample_directory), HERE, Rest())


@pytest.mark.parametrize("option", [("--identity", "x"), ("--served", "x"), ("--fallback",)])
def test_options_of_a_server_need_one(option: tuple[str, ...], sample_directory: Path) -> None:
    assert "give --url" in says("hlt", sample_directory, *option, status=2)


def numbered(events: list[RawEvent], n: int) -> Iterator[RawEvent]:
    """The events again and again, with numbers of their own."""
    for number in range(n):
        yield replace(events[number % len(events)], event=number)


def decide(
    directory: Path, way: Way, n: int, each: Callable[[Processed], object] = lambda _: None
) -> list[Any]:
    """The decisions on ``n`` events of a directory; ``each`` is called with each event."""
    events = open_pixel(directory)
    job = make_job(read_description(DEFAULT), events, way, Rest(is_left_out=True))
    found: list[Any] = []
    how = Schedule(2, 6, ("decisions", "tracking"))
    for one in run(job, numbered(list(events), n), how):
        assert one.error is None, one.error
        assert one.index == len(found)
        found.append(one.products["decisions"])
        each(one)
    return found


@pytest.fixture(scope="module")
def decisions(sample_directory: Path) -> list[bytes]:
    """Those on 1000 events, made here."""
    return bits(decide(sample_directory, HERE, 1000))


@pytest.mark.slow
def test_decisions_on_1000_events_are_equal_here_and_served(
    sample_directory: Path, server: Server, decisions: list[bytes]
) -> None:
    served = decide(sample_directory, Way(url=server.grpc_url), 1000)
    assert bits(served) == decisions
    assert len(decisions) == 1000


def bits(decisions: list[Any]) -> list[bytes]:
    """All bits of the decisions on each event."""
    return [np.array(one, np.float64).tobytes() for one in decisions]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["python"], indirect=True)  # a fallback is the client's
def test_a_server_that_dies_in_the_middle_costs_no_event(
    sample_directory: Path, repository: Path, decisions: list[bytes]
) -> None:
    process = Process(repository)
    here: list[bool] = []
    try:
        url = process.wait().url

        def kill(one: Processed) -> None:
            here.append(one.products["tracking"].origin.is_fallback)
            if one.index == 150:
                process.kill("triton")
                process.kill("server")

        served = decide(sample_directory, Way(url=url, fallback=True), 400, kill)
    finally:
        with suppress(OSError):
            process.end()
    assert bits(served) == decisions[:400]
    assert not any(here[:150])
    assert all(here[200:])
