"""The frame of the studies: rounds in turns, data that outlive a stop, errors that hold."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from browser import browser
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackserve.cli.main import commands
from trackserve.edm import PointsEvent, SpacePoints
from trackserve.errors import EventError, InputError, ServerError
from trackserve.io import open_points
from trackserve.report.drawing import new_figure
from trackserve.report.page import Table
from trackserve.report.tables import fitting
from trackserve.studies import catalogue, perf_analyzer, samples, spread
from trackserve.studies.catalogue import STUDIES, find_study
from trackserve.studies.lab import Lab
from trackserve.studies.load import Log, Span, by_threads
from trackserve.studies.machine import Watch
from trackserve.studies.pages import write_pages
from trackserve.studies.run import run
from trackserve.studies.study import Drawn, How, Point, Shown, Study, Values
from trackserve.studies.table import Row, chosen, numbers, read_record
from trackserve.trackers.registry import find_tracker

TRACKML = Path(__file__).parent / "data" / "trackml-mini"
HOW = How((), rounds=3, seconds=0.01)


def silent(what: str, done: int, total: int) -> None: ...


class Fake:
    """A study of two ways; it knows what it was asked, and ends where it is told to."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.asked: list[str] = []
        self.left = stop_after
        self.study = Study("fake", "A fake", "What is it?", self.plan, self.measure, self.show)

    def plan(self, how: How) -> list[Point]:
        return [Point({"way": way, "sample": place}, place) for place in "xy" for way in "ab"]

    def measure(self, lab: Lab, values: Values) -> Iterable[Row]:
        if not lab.is_warming:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.asked.append(f"{values['sample']}{values['way']}")
        lab.note("a note")
        yield {"events_per_s": 100.0 + len(self.asked), "what": "first"}
        yield {"events_per_s": 1.5, "text": 'quoted "text", with a comma'}

    def show(self, rows: list[Row]) -> Shown:
        table = Table(("way", "events/s"), [[str(r["way"]), str(r["events_per_s"])] for r in rows])
        return Shown("text & more", [table], partial(self.draw, rows))

    def draw(self, rows: list[Row]) -> list[Drawn]:
        figure, axes = new_figure(1, 1)
        axes.plot(numbers(rows, "events_per_s"))
        return [Drawn("fake", figure, "a caption")]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fake], Study]:
    """Puts a fake among the studies."""

    def install(fake: Fake) -> Study:
        monkeypatch.setitem(STUDIES, "fake", "a fake")
        name = f"{catalogue.__package__}.fake"
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(STUDY=fake.study))  # type: ignore[arg-type]
        return find_study("fake")

    return install


def test_points_of_a_setting_take_turns(tmp_path: Path) -> None:
    fake = Fake()
    record = run(fake.study, HOW, tmp_path, silent)
    assert fake.asked == ["xa", "xb"] * 3 + ["ya", "yb"] * 3
    assert [(row["sample"], row["way"], row["round"]) for row in record.rows[::2]] == [
        (place, way, turn) for place in "xy" for way in "ab" for turn in (1, 2, 3)
    ]


def test_each_row_says_how_busy_the_machine_was(tmp_path: Path) -> None:
    for row in run(Fake().study, HOW, tmp_path, silent).rows:
        assert {"load", "others", "steal", "seconds"} <= row.keys()


def test_work_of_other_programs_is_seen_and_that_of_children_is_ours() -> None:
    import subprocess

    burn = "import time\nend = time.time() + 0.5\nwhile time.time() < end: pass"
    with Watch() as ours:
        subprocess.run([sys.executable, "-c", burn], check=True)
    stranger = subprocess.Popen([f"exec setsid {sys.executable} -c '{burn}' &"], shell=True)
    stranger.wait()  # its child has lost its parent, and is nobody's
    with Watch() as theirs:
        time.sleep(0.4)
    assert theirs.seen["others"] > 0.05
    assert ours.seen["others"] >= 0


@given(st.integers(0, 11))
def test_a_study_that_was_stopped_goes_on(stop_after: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = Fake(stop_after)
        with pytest.raises(KeyboardInterrupt):
            run(first.study, HOW, folder, silent)
        assert read_record(folder, "fake") is None
        with (folder / "fake.partial.jsonl").open("a") as file:
            file.write('{"point": 3, "rou')  # killed while it wrote
        second = Fake()
        record = run(second.study, HOW, folder, silent)
        assert first.asked + second.asked == ["xa", "xb"] * 3 + ["ya", "yb"] * 3
        assert len(record.rows) == 24
        assert record.about["resumed"] == (stop_after > 0)
        assert not (folder / "fake.partial.jsonl").exists()


def test_a_stopped_study_with_other_settings_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Fake(5).study, HOW, tmp_path, silent)
    fake = Fake()
    run(fake.study, HOW._replace(seconds=0.02), tmp_path, silent)
    assert len(fake.asked) == 12


def test_csv_and_parquet_have_the_rows_that_were_measured(tmp_path: Path) -> None:
    record = run(Fake().study, HOW, tmp_path, silent)
    found = read_record(tmp_path, "fake")
    assert found is not None
    assert found.rows == record.rows
    assert found.about == json.loads(json.dumps(record.about))
    with (tmp_path / "fake.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [{k: v for k, v in row.items() if v} for row in rows] == [
        {k: str(v) for k, v in row.items()} for row in record.rows
    ]


def test_figures_are_drawn_again_without_measuring(
    tmp_path: Path, installed: Callable[[Fake], Study]
) -> None:
    run(installed(Fake()), HOW, tmp_path, silent)
    page = write_pages(tmp_path)
    first = page.read_bytes(), (tmp_path / "fake.png").read_bytes()
    page.unlink()
    (tmp_path / "fake.png").unlink()
    installed(Fake(stop_after=0))
    write_pages(tmp_path)
    assert (page.read_bytes(), (tmp_path / "fake.png").read_bytes()) == first


def test_a_busy_machine_is_named_in_the_report(
    tmp_path: Path, installed: Callable[[Fake], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Watch, "__exit__", lambda self, *_: self.seen.update(load=3.0, others=0.8, steal=0.0)
    )
    run(installed(Fake()), HOW, tmp_path, silent)
    text = write_pages(tmp_path).read_text()
    assert "BUSY" in text
    assert "others 0.80 cores" in text


def test_the_report_works_in_a_browser_and_asks_for_nothing(
    tmp_path: Path, installed: Callable[[Fake], Study]
) -> None:
    run(installed(Fake()), HOW, tmp_path, silent)
    page = write_pages(tmp_path)
    with browser() as tab:
        tab.open(page.as_uri())
        assert [url for url in tab.requests if not url.startswith("data:")] == [page.as_uri()]
        assert tab.messages == []
        assert min(tab.evaluate("[...document.images].map(one => one.naturalWidth)")) > 500
        place = "[...document.querySelectorAll('table')].at(-2)"
        column = f"[...{place}.tBodies[0].rows].map(row => +row.cells[1].textContent)"
        values = tab.evaluate(column)
        head = f"{place}.querySelectorAll('th')[1]"
        for wanted in (sorted(values), sorted(values, reverse=True)):
            tab.evaluate(f"{head}.click()")
            assert tab.evaluate(column) == wanted != values
        tab.size(400, 800)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 400
        wide = "[...document.querySelectorAll('.wide')].some(one => one.scrollWidth > 400)"
        assert tab.evaluate(wide)
        assert len(tab.ask("Page.printToPDF")["data"]) > 10_000


MEASUREMENTS = st.lists(st.floats(1, 1e3), min_size=2, max_size=20)


@given(MEASUREMENTS, st.data())
def test_a_ratio_is_the_quotient_of_the_columns_beside_it(
    under: list[float], data: st.DataObject
) -> None:
    n = len(under)
    over = data.draw(st.lists(st.floats(1, 1e3), min_size=n, max_size=n))
    found = spread.ratio(over, under)
    assert found.value == pytest.approx(spread.mean(over).value / spread.mean(under).value)
    # a machine that changes its pace changes both sides
    steady = spread.ratio([3 * value for value in under], under)
    assert steady.value == pytest.approx(3)
    assert steady.error == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 5, 10, 15])
def test_errors_hold_the_true_mean_with_68_percent(n: int) -> None:
    draws = np.random.default_rng(n).normal(50, 4, (4000, n))
    found = [spread.mean(list(row)) for row in draws]
    inside = np.mean([abs(one.value - 50) < one.error for one in found])
    assert inside == pytest.approx(0.6827, abs=0.03)


@given(st.floats(-10, 10), st.floats(0.01, 5))
def test_no_added_cost_is_negative(value: float, error: float) -> None:
    text = spread.added(spread.Spread(value, error), "ms")
    assert "-" not in text
    assert text.startswith("<") == (value < 2 * error)


def test_the_rate_of_threads_is_that_of_what_they_do() -> None:
    """Events take turns, bad bits are counted, and what fills the way is not."""
    lock = threading.Lock()
    calls: list[int] = []

    def call(event: Any) -> Any:
        with lock:
            calls.append(event)
        time.sleep(0.02)
        return SimpleNamespace(event=event)

    expected = {0: SimpleNamespace(event=0), 1: SimpleNamespace(event=1, other=True)}
    load = by_threads(call, [0, 1, 2], 2, Span(0.2), expected)
    assert calls[:6] == [0, 1, 2, 0, 1, 2]
    assert load.answered >= 6
    assert 0 < load.different <= len(calls)
    assert min(load.latencies) >= 0.02
    assert load.rate <= 2 / 0.02 * 1.1


def test_the_usual_time_of_an_event_moves_by_what_each_event_gains() -> None:
    def usual(more: float) -> float:
        log = Log(Span(10.0), 1, 1, 0.0, {})
        for n_round in range(5):
            stall = 5.0 if n_round == 3 else 0.0
            for event, seconds in enumerate((0.001, 0.002, 0.020, 0.021)):
                log.add(SimpleNamespace(event=event), seconds + more + stall)
        return log.load().usual

    assert usual(0.001) - usual(0.0) == pytest.approx(0.001)


def test_a_load_ends_with_the_error_of_an_event() -> None:
    def call(event: Any) -> Any:
        raise EventError("broken", event=event)

    with pytest.raises(EventError, match="broken"):
        by_threads(call, [0], 3, Span(10.0), {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("patatrack", "TRACKER=PATH"),
        ("patatrack=", "TRACKER=PATH"),
        ("nobody=/tmp", "no such tracker"),
        ("patatrack=/not/here", "no events are here"),
    ],
)
def test_events_that_cannot_be_measured_with_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        samples.given([text])


def test_two_samples_have_two_names(tmp_path: Path) -> None:
    for name in ("a/same", "b/same"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(InputError, match="the same name"):
        samples.given([f"exatrkx={tmp_path}/a/same", f"exatrkx={tmp_path}/b/same"])


@given(st.integers(20, 200))
def test_a_table_for_a_terminal_is_as_wide_as_the_terminal(width: int) -> None:
    table = Table(("name", *"abcdefgh"), [["row", *["12.3 ± 0.4"] * 8]], "caption")
    few = fitting(table, width)
    assert len(few.header) >= 2
    assert len(few.header) == 2 or 13 * (len(few.header) - 1) + 7 <= width
    assert ("more columns" in few.caption) == (len(few.header) < 9)


def test_every_study_has_a_plan_and_a_name(tmp_path: Path) -> None:
    for quick in (True, False):
        how = How(tuple(samples.simulated(tmp_path, quick)), quick)
        for name in STUDIES:
            study = find_study(name)
            points = study.plan(how)
            assert study.name == name
            assert points
            assert len({(json.dumps(p.values), p.setting) for p in points}) == len(points)


def test_of_several_studies_one_that_fails_does_not_end_the_others(
    tmp_path: Path, installed: Callable[[Fake], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackserve.cli import study as command

    class Failing(Fake):
        def measure(self, lab: Lab, values: Values) -> Iterable[Row]:
            raise ServerError("no server today")

    works, fails = installed(Fake()), Failing().study
    monkeypatch.setattr(command, "find_study", {"a": fails, "b": works, "fake": works}.__getitem__)
    failed = command._measure(["a", "b"], HOW, tmp_path, True)
    assert failed == ["a: no server today"]
    assert (tmp_path / "fake.csv").exists()
    with pytest.raises(ServerError):
        command._measure(["a"], HOW, tmp_path, True)


def test_plot_without_data_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study has data"):
        CliRunner().invoke(commands, ["study", "plot", str(tmp_path)], catch_exceptions=False)


def test_a_report_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text('<meta name="trackserve-subject" content="other">')
    with pytest.raises(InputError, match="something else"):
        CliRunner().invoke(
            commands, ["study", "scaling", "-o", str(tmp_path)], catch_exceptions=False
        )


def run_study(name: str, folder: Path, *options: str) -> list[Row]:
    arguments = ["study", name, "-o", str(folder), "--quick", *options]
    done = CliRunner().invoke(commands, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    record = read_record(folder, name)
    assert record is not None
    assert all(record.about["columns"].values())
    assert (folder / "report.html").exists()
    return record.rows


@pytest.fixture
def small(sample_directory: Path) -> list[str]:
    """Options of a short study on the sample."""
    events = f"patatrack={sample_directory}"
    return ["--events", events, "--seconds", "0.1", "--rounds", "2"]


def test_no_stage_of_the_ensemble_changes_a_label() -> None:
    """The stages as models of their own give the labels of the tracker, for two models."""
    from trackserve.studies.stages import STAGES, make_stages
    from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline

    event = next(iter(open_points(TRACKML)))
    for model in ("default", "large"):
        stages = make_stages(model)
        tensors = {"POINTS": event.points.position}
        for stage in STAGES:
            assert set(stage.inputs) <= tensors.keys()
            found = stages[stage.name]({name: tensors[name] for name in stage.inputs})
            assert set(stage.outputs) <= found.keys()
            tensors |= {name: found[name] for name in stage.outputs}
        direct = ExatrkxPipeline.from_model(model).reconstruct(event)
        assert tensors["LABELS"].tolist() == direct.labels.component.tolist()


def test_perf_analyzer_gets_the_tensors_of_each_event(tmp_path: Path) -> None:
    import base64

    codec = find_tracker("exatrkx").codec
    points = [np.full((n, 3), n, np.float32) for n in (1, 4)]
    events = [PointsEvent(SpacePoints(one), number) for number, one in enumerate(points, 7)]
    perf_analyzer.write_input(tmp_path / "in.json", codec, events)
    entries = json.loads((tmp_path / "in.json").read_text())["data"]
    for event, entry in zip(events, entries, strict=True):
        for name, array in codec.encode_event(event).items():
            assert entry[name]["shape"] == list(array.shape)
            assert base64.b64decode(entry[name]["b64"]) == array.tobytes()


def test_rows_of_perf_analyzer_are_read_and_its_absence_is_told(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("Concurrency,Inferences/Second,p50 latency,Note\n2,15.5,120127,x\n")
    assert perf_analyzer.read_row(file) == {
        "Concurrency": 2.0,
        "Inferences/Second": 15.5,
        "p50 latency": 120127.0,
    }
    file.write_text("Concurrency,Inferences/Second\n")
    with pytest.raises(InputError, match="no row"):
        perf_analyzer.read_row(file)


def test_without_the_package_index_perf_analyzer_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ServerError, match="cannot be fetched"):
        perf_analyzer.find_analyzer()
    assert not list(tmp_path.rglob("perf_analyzer"))


def test_a_wheel_with_another_hash_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(command: list[str], **options: Any) -> None:
        (Path(command[command.index("--dest") + 1]) / "tritonclient.whl").write_bytes(b"other")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("trackserve.studies.perf_analyzer.subprocess.run", download)
    with pytest.raises(ServerError, match="another hash"):
        perf_analyzer.find_analyzer()
    assert not list(tmp_path.rglob("perf_analyzer"))


def test_bench_writes_data_whose_ratios_are_those_of_its_columns(
    sample_directory: Path, tmp_path: Path
) -> None:
    arguments = ["bench", "patatrack", str(sample_directory), "--rounds", "2", "-o", str(tmp_path)]
    done = CliRunner().invoke(commands, arguments, catch_exceptions=False, env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    record = read_record(tmp_path, "bench")
    assert record is not None
    assert "patatrack" in record.about["identities"]["results"]
    assert {path.name for path in tmp_path.iterdir()} == {
        *("bench.csv", "bench.json", "bench.parquet", "bench.png", "report.html"),
    }
    rates = {
        way: spread.mean(
            [float(r["events_per_s"]) for r in record.rows if r["way"] == way and "threads" in r
             and r["what"] == "throughput"]  # type: ignore[arg-type]
        )
        for way in ("direct, 1 thread", "direct, 2 threads")
    }  # fmt: skip
    ratio = rates["direct, 2 threads"].value / rates["direct, 1 thread"].value
    table = find_study("bench").show(record.rows).tables[0]
    printed = float(table.rows[1][-1].split(" ")[0])
    assert printed == pytest.approx(ratio, rel=0.06)


def test_a_served_event_is_measured_by_a_client_without_the_pipeline(
    sample_directory: Path, tmp_path: Path
) -> None:
    """Its folder has no conditions, so it cannot build a pipeline; a server has them."""
    import shutil

    from trackserve.serving.repository import write_model
    from trackserve.serving.server import Server

    write_model(tmp_path / "repository", "patatrack", {"conditions": sample_directory})
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("raw.bin", "beamspot.bin"):
        shutil.copy(sample_directory / name, alone)
    out = tmp_path / "out"
    with Server(tmp_path / "repository", grpc_port=0, http_port=0, metrics_port=0) as server:
        arguments = ["bench", "patatrack", str(alone), "--url", server.grpc_url, "-o", str(out)]
        done = CliRunner().invoke(commands, [*arguments, "--rounds", "2"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "only served is measured" in done.output
    record = read_record(out, "bench")
    assert record is not None
    assert {str(row["way"]).split(",")[0] for row in record.rows} == {"served"}
    for row in record.rows:
        if row["what"] == "latency":
            parts = sum(numbers([row], f"{part}_ms")[0] for part in ("client", "network", "queue"))
            assert parts + row["compute_ms"] == pytest.approx(row["total_ms"])


@pytest.mark.slow
def test_served_answers_are_the_direct_ones(tmp_path: Path, small: list[str]) -> None:
    rows = run_study("direct-vs-served", tmp_path, *small)
    assert {row["way"] for row in rows} == {"direct", "client", "stream"}
    assert sum(numbers(rows, "different")) == 0
    assert all(math.isfinite(value) for value in numbers(rows, "p99_ms"))


@pytest.mark.slow
def test_the_parts_of_a_request_add_up(tmp_path: Path, small: list[str]) -> None:
    rows = run_study("latency", tmp_path, *small)
    for row in rows:
        if row["what"] == "parts":
            assert row["sum_ms"] == pytest.approx(row["outside_ms"], rel=0.05)
            assert min(numbers([row], name)[0] for name in ("input_ms", "output_ms")) >= 0
            assert row["different"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["transports", "instances", "concurrency", "packing", "energy", "devices", "hlt", "physics"],
)
def test_a_study_of_a_server_gives_finite_figures(
    name: str, tmp_path: Path, small: list[str]
) -> None:
    rows = run_study(name, tmp_path, *small)
    measured = [v for row in rows for v in row.values() if isinstance(v, float)]
    assert measured
    assert all(math.isfinite(value) for value in measured)
    assert sum(numbers(rows, "different")) == 0


@pytest.mark.slow
def test_an_ensemble_gives_the_labels_of_the_custom_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackserve.studies.ensemble.cores", lambda: 1)  # starts half as many
    monkeypatch.setattr("trackserve.studies.ensemble.usable_backends", lambda: ["python"])
    rows = run_study(
        *("ensemble", tmp_path, "--events", f"exatrkx={TRACKML}"),
        *("--seconds", "0.1", "--rounds", "2"),
    )
    assert "ensemble" in {row["way"] for row in rows}
    assert sum(numbers(rows, "different")) == 0


@pytest.mark.slow
def test_stages_add_up_and_a_second_run_agrees_within_its_errors(
    tmp_path: Path, small: list[str]
) -> None:
    """Processor time of the stages: other programs change it, but by a fourth at most."""
    found = []
    for number in (1, 2):
        rows = run_study("scaling", tmp_path / str(number), *small)
        stages = chosen(rows, what="stages")
        whole = chosen(stages, stage="all")
        found.append(spread.mean(numbers(whole, "processor_ms")))
        for one in whole:
            parts = [row for row in chosen(stages, round=one["round"]) if row["stage"] != "all"]
            assert sum(numbers(parts, "ms")) == pytest.approx(one["ms"])
    first, second = found
    noise = 4 * math.hypot(first.error, second.error) + 0.25 * first.value
    assert abs(first.value - second.value) < noise
