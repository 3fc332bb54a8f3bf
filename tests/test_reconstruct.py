"""``trackserve reconstruct``: many sources, interrupted, continued."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import awkward as ak
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from command_line import command

import trackserve
from trackserve.errors import EventError
from trackserve.io import (
    open_points,
    read_conditions,
    read_events,
    write_conditions,
    write_events,
)
from trackserve.io.trackml import read_event
from trackserve.serving.server import Server
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline
from trackserve.trackers.patatrack.tracker import Patatrack

PROGRAM = [sys.executable, "-u", "-c", "from trackserve.cli import app; app()"]
IN_PARTS = """
import time
from trackserve.cli import app
from trackserve.io import parquet
from trackserve.io.results_file import ResultsFile

parquet.ROW_GROUP_EVENTS = 32
write = ResultsFile.write

def write_slowly(file, *row):
    if file.n_done >= 64:
        time.sleep({seconds})
    write(file, *row)

ResultsFile.write = write_slowly
app()
"""
"""The program with parts of 32 events. After two of them it waits ``seconds`` at each event, so
that it has not ended when it is interrupted."""
N = 160
TRACKML = Path(__file__).parent / "data" / "trackml-mini"


def start(
    *arguments: Any, wait: float = 0.1, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    program = [sys.executable, "-u", "-c", IN_PARTS.format(seconds=wait)]
    return subprocess.Popen(
        [*program, "reconstruct", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def says(*arguments: Any, status: int = 0) -> tuple[str, str]:
    """What a command writes to stdout, on one line, and to stderr, without progress."""
    out, err = command("reconstruct", *arguments, status=status)
    return " ".join(out.split()), without_progress(err)


def without_progress(err: str) -> str:
    assert "Traceback" not in err
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Reconstructing: "))


@pytest.fixture(scope="module")
def many(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """:data:`N` events: those of the sample again and again, as one data directory."""
    copy = shutil.copytree(sample_directory, tmp_path_factory.mktemp("many") / "many")
    (copy / "raw.bin").write_bytes((sample_directory / "raw.bin").read_bytes() * (N // 10))
    for name in ("truth.npz", "digicluster.bin", "tracks.bin", "vertices.bin"):
        (copy / name).unlink(missing_ok=True)
    return Path(copy)


@pytest.fixture(scope="module")
def whole(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of all events of ``many``, made without a break."""
    output = tmp_path_factory.mktemp("whole") / "x.parquet"
    says("patatrack", many, "-o", output)
    return output


@pytest.fixture
def other(sample_directory: Path, tmp_path: Path) -> Path:
    """Three of the sample's events, with another beam spot and other gains; the last one is cut."""
    copy = Path(shutil.copytree(sample_directory, tmp_path / "other"))
    write_events(copy, list(read_events(sample_directory))[:3])
    raw = (copy / "raw.bin").read_bytes()
    (copy / "raw.bin").write_bytes(raw[:-1000])
    here = read_conditions(sample_directory)
    gain = here.gain.copy()
    gain["values"][:, 0] ^= 1
    spot = replace(here.beam_spot, x=here.beam_spot.x + 0.01)
    write_conditions(copy, replace(here, gain=gain, beam_spot=spot))
    return copy


@pytest.fixture(scope="module")
def backend() -> str:
    return "python"


def test_sources_of_other_conditions_in_one_file(
    sample_directory: Path, other: Path, pipeline: PatatrackPipeline, tmp_path: Path
) -> None:
    output = tmp_path / "x.parquet"
    out, _ = says("patatrack", sample_directory, other, "-o", output, status=1)
    assert "means over 12 events" in out
    assert f"event failed: {other}: raw.bin ends inside an event (event 2" in out
    table = ak.from_parquet(output)
    assert table.event.tolist() == list(range(13))
    assert table.source_event.tolist() == [*range(10), 0, 1, 2]
    assert table.source.tolist() == [str(sample_directory)] * 10 + [str(other)] * 3
    assert [bool(error) for error in table.error] == [False] * 12 + [True]
    there = PatatrackPipeline.from_directory(other)
    for row, event in ((9, list(read_events(sample_directory))[9]), (11, _first(other, 2)[1])):
        direct = (pipeline if row < 10 else there).reconstruct(event)
        assert table.tracks.pt[row].to_numpy().tobytes() == direct.tracks.pt.tobytes()
    about = pq.read_schema(output).metadata
    sources = json.loads(about[b"sources"])
    assert [source["events"] for source in sources] == [10, 3]
    spots = [source["beam_spot"] for source in sources]
    assert spots[1]["x"] == pytest.approx(spots[0]["x"] + 0.01)
    assert about[b"version"].decode() == trackserve.__version__
    assert about[b"tracker"] == b"patatrack"
    assert json.loads(about[b"options"]) == {"config": "default", "conditions": "", "tags": ""}


def _first(directory: Path, n: int) -> list[Any]:
    events = read_events(directory)
    return [next(events) for _ in range(n)]


def test_files_and_directories_of_points(tmp_path: Path) -> None:
    """One event of three has a bad number; it keeps its row."""
    folder = tmp_path / "events"
    folder.mkdir()
    for number in (1, 2, 3):
        for file in TRACKML.glob("event000000001-*"):
            name = file.name.replace("event000000001", f"event00000000{number}")
            shutil.copy(file, folder / name)
    (folder / "event000000002-hits.csv.gz").unlink()
    (folder / "event000000002-hits.csv").write_text("hit_id,x,y,z\n1,what,2,3\n")
    output = tmp_path / "x.parquet"
    single = TRACKML / "event000000001"
    out, _ = says("exatrkx", folder, single, "-o", output, "--threads", 2, status=1)
    assert out.count("event failed") == 1
    table = ak.from_parquet(output)
    assert table.source_event.tolist() == [1, 2, 3, 1]
    assert table.event.tolist() == [1, 2, 3, 5]
    assert [bool(error) for error in table.error] == [False, True, False, False]
    assert "event000000002-hits.csv" in table.error[1]
    direct = ExatrkxPipeline.from_model("default").reconstruct(read_event(single))
    for row in (0, 2, 3):
        assert len(table.candidates[row]) == len(direct.candidates)
    with pytest.raises(EventError):
        open_points(folder)[1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (":", range(13)),
        ("8:12", range(8, 12)),
        ("-2:", range(11, 13)),
        (":3", range(3)),
    ],
)
def test_some_of_all_events(
    sample_directory: Path, other: Path, tmp_path: Path, text: str, wanted: range
) -> None:
    output = tmp_path / "x.parquet"
    is_bad = 12 in wanted
    out, _ = says(
        *("patatrack", sample_directory, other, "-o", output),
        f"--events={text}",
        status=int(is_bad),
    )
    numbers = [*range(10), 0, 1, 2]
    table = pq.read_table(output)
    assert table["source_event"].to_pylist() == [numbers[i] for i in wanted]
    n_sources = len({i < 10 for i in wanted})
    assert out.count("conditions ") == n_sources, "it names what made the rows, nothing else"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "not a slice of events") for text in ("", "3", "a:b", "1:2:3", "1.5:")),
        *((text, "no event is in this slice") for text in ("10:", "20:30", "5:2", ":-10")),
    ],
)
def test_a_slice_that_is_none(
    sample_directory: Path, tmp_path: Path, text: str, reason: str
) -> None:
    output = tmp_path / "x.parquet"
    _, err = says("patatrack", sample_directory, f"--events={text}", "-o", output, status=1)
    assert reason in err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_before_any_work(
    sample_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file" / "x.parquet", tmp_path, "/proc/x.parquet"):
        _, err = says("patatrack", sample_directory, "-o", output, status=1)
        assert err.startswith("error: ")
        assert err.count("\n") == 1
    _, err = says("patatrack", sample_directory, sample_directory, status=1)
    assert "the same path is given twice" in err


@pytest.mark.parametrize(
    ("sign", "status", "threads"),
    [
        (signal.SIGTERM, 130, 2),
        pytest.param(signal.SIGINT, 130, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, 1, marks=pytest.mark.slow),
    ],
)
def test_what_is_done_is_kept_and_continued(
    many: Path, whole: Path, tmp_path: Path, sign: int, status: int, threads: int
) -> None:
    output = tmp_path / "x.parquet"
    parts = tmp_path / "x.parquet.parts"
    arguments = ("patatrack", many, "-o", output, "--threads", threads)
    with start(*arguments) as process:
        wait_until(lambda: (parts / "000001.parquet").exists())
        process.send_signal(sign)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert not output.exists()
    done = pyarrow.dataset.dataset(parts).to_table()["event"].to_pylist()
    assert done == list(range(len(done)))
    assert 1 < len(done) < N
    err = without_progress(err)
    if sign != signal.SIGKILL:
        assert err == (
            f"{len(done)} of {N} events are in {parts}; the same command with --resume goes on\n"
        )
    _, err = says(*arguments, status=1)
    assert "an earlier command did not end" in err
    _, err = says(*arguments, "--config", "reference", "--resume", status=1)
    assert "'options'" in err
    says(*arguments, "--resume")
    assert list(tmp_path.iterdir()) == [output]
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert pq.read_schema(output).equals(pq.read_schema(whole), check_metadata=True)
    before = output.stat().st_mtime_ns
    out, _ = says(*arguments, "--resume")
    assert f"means over {N} events" in out
    assert output.stat().st_mtime_ns == before


def test_a_full_disk_loses_nothing(many: Path, whole: Path, tmp_path: Path) -> None:
    """The parts fit, the whole file does not."""
    output = tmp_path / "x.parquet"
    limit = whole.stat().st_size // 2

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with start("patatrack", many, "-o", output, wait=0, before=bound) as process:
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    lines = without_progress(err).splitlines()
    assert lines[0].startswith(f"{N} of {N} events are in {output}.parts; ")
    assert lines[1].startswith("error: cannot be written: ")
    assert "File too large" in lines[1]
    assert len(lines) == 2
    assert not output.exists()
    says("patatrack", many, "-o", output, "--resume")
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.slow
def test_a_server_that_goes_away_loses_nothing(
    many: Path, whole: Path, sample_directory: Path, tmp_path: Path
) -> None:
    output = tmp_path / "x.parquet"
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    serve = [*PROGRAM, "serve", f"patatrack,conditions={sample_directory}", *ports]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = next(line for line in server.stdout if "ready" in line).split()[1]
        with start("patatrack", many, "--url", url, "-o", output) as process:
            wait_until(lambda: (tmp_path / "x.parquet.parts" / "000001.parquet").exists())
            server.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    lines = without_progress(err).splitlines()
    assert "--resume goes on" in lines[-2]
    assert lines[-1].startswith("error: ")
    done = pyarrow.dataset.dataset(tmp_path / "x.parquet.parts").to_table()
    n = len(done)
    assert 1 < n < N
    columns = [name for name in done.column_names if name not in ("source", "origin")]
    assert done.select(columns).equals(pq.read_table(whole)[:n].select(columns))
    origins = done["origin"].to_pylist()
    assert {(o["server"], o["is_fallback"]) for o in origins} == {(url, False)}
    assert all(
        o["tries"] >= 1 and o["seconds"] > 0 and f"patatrack {Patatrack.algorithm}" in o["identity"]
        for o in origins
    )


def test_events_that_cannot_be_read_keep_their_rows_through_a_server(
    sample_directory: Path, other: Path, server: Server, tmp_path: Path
) -> None:
    output = tmp_path / "x.parquet"
    there = ("--url", server.grpc_url, "--identity", "unchecked")
    says("patatrack", other, sample_directory, *there, "-o", output, status=1)
    table = ak.from_parquet(output)
    assert table.source_event.tolist() == [0, 1, 2, *range(10)]
    assert [i for i, error in enumerate(table.error) if error] == [2]
    about = pq.read_schema(output).metadata
    assert about[b"served"] == b"patatrack"
    assert b"options" not in about


def test_progress_is_told_off_a_terminal(
    sample_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackserve.cli.common._SECONDS_PER_LINE", 0.0)
    _, err = command("reconstruct", "patatrack", sample_directory, "-o", tmp_path / "x.parquet")
    assert err.splitlines() == [f"Reconstructing: {n} of 10" for n in range(1, 11)]


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_limits_of_the_command_are_those_of_the_pipeline(
    sample_directory: Path, server: Server, pipeline: PatatrackPipeline, tmp_path: Path
) -> None:
    limits = PatatrackLimits(triplets=120_000, beyond="partial")
    expected = pipeline.run(list(read_events(sample_directory)), limits=limits)
    stopped = [result.stopped_by for result in expected]  # type: ignore[union-attr]
    n = stopped.count("triplets")
    assert 0 < n < 10
    few = ("--limit", "triplets=120000")
    for number, url in enumerate(([], ["--url", server.grpc_url])):
        output = tmp_path / f"{number}.parquet"
        out, _ = says("patatrack", sample_directory, "-o", output, *few, "--partial", *url)
        assert f"means over {10 - n} events" in out
        assert f"partial, not in the means: {n} events beyond the limit of triplets" in out
        assert ak.from_parquet(output).stopped_by.tolist() == stopped
        assert json.loads(pq.read_schema(output).metadata[b"limits"])["triplets"] == 120_000
    output = tmp_path / "errors.parquet"
    out, _ = says("patatrack", sample_directory, "-o", output, *few, status=1)
    assert out.count("event failed: the event needs more work than its limits allow") == n


@pytest.mark.parametrize("text", ["speed=3", "triplets", "triplets=many", "beyond=2"])
def test_a_limit_that_is_none(sample_directory: Path, tmp_path: Path, text: str) -> None:
    output = tmp_path / "x.parquet"
    _, err = says("patatrack", sample_directory, "-o", output, "--limit", text, status=1)
    assert "no such limit" in err
