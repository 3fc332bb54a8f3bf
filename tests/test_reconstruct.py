"""``trackserve reconstruct`` in processes of its own: many sources, interrupted, continued."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import trackserve
from trackserve.errors import EventError
from trackserve.io import open_points, read_events, write_events
from trackserve.io.trackml import read_event
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.patatrack.pipeline import PatatrackPipeline

PROGRAM = [sys.executable, "-u", "-c", "from trackserve.cli import app; app()"]
TRACKML = Path(__file__).parent / "data" / "trackml-mini"


def start(*arguments: Any, before: Callable[[], None] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, "reconstruct", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def says(
    *arguments: Any, status: int = 0, before: Callable[[], None] | None = None
) -> tuple[str, str]:
    """What a command writes to stdout, on one line, and to stderr, without progress."""
    with start(*arguments, before=before) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == status, out + err
    return " ".join(out.split()), without_progress(err)


def without_progress(err: str) -> str:
    assert "Traceback" not in err
    lines = err.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("Reconstructing: "))


@pytest.fixture(scope="module")
def many(sample_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten events of the sample thirty times, as one data directory."""
    copy = shutil.copytree(sample_directory, tmp_path_factory.mktemp("many") / "many")
    (copy / "raw.bin").write_bytes((sample_directory / "raw.bin").read_bytes() * 30)
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
    for name, n, change in (("beamspot.bin", 3, 0.01), ("gain.bin", 0, 0)):
        words = np.fromfile(copy / name, "<f4")
        words[:n] += change
        words.tofile(copy / name)
    return copy


@pytest.fixture(scope="module")
def server(sample_directory: Path) -> Iterator[str]:
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    arguments = ["serve", f"patatrack,conditions={sample_directory}", *ports]
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield next(line for line in process.stdout if "ready" in line).split()[1]
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


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
    assert json.loads(about[b"options"]) == {"config": "default", "conditions": ""}


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
        ("20:30", range(0)),
        ("5:2", range(0)),
    ],
)
def test_some_of_all_events(
    sample_directory: Path, other: Path, tmp_path: Path, text: str, wanted: range
) -> None:
    output = tmp_path / "x.parquet"
    is_bad = 12 in wanted
    says(
        *("patatrack", sample_directory, other, "-o", output),
        f"--events={text}",
        status=int(is_bad),
    )
    numbers = [*range(10), 0, 1, 2]
    table = pq.read_table(output)
    assert table["source_event"].to_pylist() == [numbers[i] for i in wanted]


@pytest.mark.parametrize("text", ["", "3", "a:b", "1:2:3", "1.5:"])
def test_a_slice_that_is_none(sample_directory: Path, tmp_path: Path, text: str) -> None:
    output = tmp_path / "x.parquet"
    _, err = says("patatrack", sample_directory, f"--events={text}", "-o", output, status=1)
    assert "not a slice of events" in err
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
    [(signal.SIGINT, 130, 1), (signal.SIGINT, 130, 2), (signal.SIGKILL, -signal.SIGKILL, 1)],
)
def test_what_is_done_is_kept_and_continued(
    many: Path, whole: Path, tmp_path: Path, sign: int, status: int, threads: int
) -> None:
    output = tmp_path / "x.parquet"
    parts = tmp_path / "x.parquet.parts"
    command = ("patatrack", many, "-o", output, "--threads", threads)
    with start(*command) as process:
        wait_until(lambda: (parts / "000001.parquet").exists())
        process.send_signal(sign)
        _, err = process.communicate(timeout=30)
    assert process.returncode == status
    assert not output.exists()
    done = pyarrow.dataset.dataset(parts).to_table()["event"].to_pylist()
    assert done == list(range(len(done)))
    assert 128 <= len(done) < 300
    err = without_progress(err)
    if sign == signal.SIGINT:
        assert err == (
            f"{len(done)} of 300 events are in {parts}; the same command with --resume goes on\n"
        )
    _, err = says(*command, status=1)
    assert "an earlier command did not end" in err
    _, err = says(*command, "--config", "reference", "--resume", status=1)
    assert "'options'" in err
    says(*command, "--resume")
    assert list(tmp_path.iterdir()) == [output]
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert pq.read_schema(output).equals(pq.read_schema(whole), check_metadata=True)
    before = output.stat().st_mtime_ns
    out, _ = says(*command, "--resume")
    assert "means over 300 events" in out
    assert output.stat().st_mtime_ns == before


def test_a_full_disk_loses_nothing(many: Path, whole: Path, tmp_path: Path) -> None:
    """The parts fit, the whole file does not."""
    output = tmp_path / "x.parquet"
    limit = whole.stat().st_size // 2

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    _, err = says("patatrack", many, "-o", output, before=bound, status=1)
    lines = err.splitlines()
    assert lines[0].startswith(f"300 of 300 events are in {output}.parts; ")
    assert lines[1].startswith("error: cannot be written: ")
    assert "File too large" in lines[1]
    assert len(lines) == 2
    assert not output.exists()
    says("patatrack", many, "-o", output, "--resume")
    assert pq.read_table(output).equals(pq.read_table(whole))
    assert list(tmp_path.iterdir()) == [output]


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
    assert 128 <= n < 300
    columns = [name for name in done.column_names if name != "source"]
    assert done.select(columns).equals(pq.read_table(whole)[:n].select(columns))


def test_events_that_cannot_be_read_keep_their_rows_through_a_server(
    sample_directory: Path, other: Path, server: str, tmp_path: Path
) -> None:
    output = tmp_path / "x.parquet"
    says("patatrack", other, sample_directory, "--url", server, "-o", output, status=1)
    table = ak.from_parquet(output)
    assert table.source_event.tolist() == [0, 1, 2, *range(10)]
    assert [i for i, error in enumerate(table.error) if error] == [2]
    about = pq.read_schema(output).metadata
    assert about[b"served"] == b"patatrack"
    assert b"options" not in about


def test_progress_is_told_off_a_terminal(many: Path, tmp_path: Path) -> None:
    code = "import trackserve.cli.common as c; c._SECONDS_PER_LINE = 0.2; "
    program = [sys.executable, "-c", code + PROGRAM[-1]]
    arguments = ["reconstruct", "patatrack", str(many), "-o", str(tmp_path / "x.parquet")]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("Reconstructing: ") and line.endswith(" of 300") for line in lines)


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_limits_of_the_command_are_those_of_the_pipeline(
    sample_directory: Path, server: str, pipeline: PatatrackPipeline, tmp_path: Path
) -> None:
    limits = PatatrackLimits(triplets=250_000, beyond="partial")
    expected = pipeline.run(list(read_events(sample_directory)), limits=limits)
    stopped = [result.stopped_by for result in expected]  # type: ignore[union-attr]
    n = stopped.count("triplets")
    assert 0 < n < 10
    few = ("--limit", "triplets=250000")
    for number, url in enumerate(([], ["--url", server])):
        output = tmp_path / f"{number}.parquet"
        out, _ = says("patatrack", sample_directory, "-o", output, *few, "--partial", *url)
        assert f"means over {10 - n} events" in out
        assert f"partial, not in the means: {n} events beyond the limit of triplets" in out
        assert ak.from_parquet(output).stopped_by.tolist() == stopped
        assert json.loads(pq.read_schema(output).metadata[b"limits"])["triplets"] == 250_000
    output = tmp_path / "errors.parquet"
    out, _ = says("patatrack", sample_directory, "-o", output, *few, status=1)
    assert out.count("event failed: the event needs more work than its limits allow") == n


@pytest.mark.parametrize("text", ["speed=3", "triplets", "triplets=many", "beyond=2"])
def test_a_limit_that_is_none(sample_directory: Path, tmp_path: Path, text: str) -> None:
    output = tmp_path / "x.parquet"
    _, err = says("patatrack", sample_directory, "-o", output, "--limit", text, status=1)
    assert "no such limit" in err
