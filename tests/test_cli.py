"""The commands, as a user types them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import awkward as ak
import pytest
from typer.testing import CliRunner

import trackserve
import trackserve.studies.inspect.survey
from trackserve.cli.common import Progress, beside_main
from trackserve.cli.main import commands
from trackserve.install import install_command
from trackserve.studies.machine import cpu_name
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.patatrack.tracker import Patatrack
from trackserve.trackers.registry import find_tracker
from trackserve.trackers.single import SingleEventPipeline

runner = CliRunner()


def run(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(commands, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("reconstruct", "patatrack"),
        ("validate", "patatrack"),
        ("bench", "patatrack"),
        ("inspect",),
        ("serve",),
        ("repository",),
        ("status",),
        ("demo",),
        ("display",),
    ],
)
def test_help_teaches(command: tuple[str, ...]) -> None:
    assert "Usage" in run(*command, "--help")


def test_reconstruct_writes_a_row_per_event(
    sample_directory: Path, sample_results: list[PatatrackResult], tmp_path: Path
) -> None:
    output = tmp_path / "tracks.parquet"
    run("reconstruct", "patatrack", sample_directory, "--keep", "hits", "-o", output)
    table = ak.from_parquet(output)
    assert table.event.tolist() == list(range(10))
    for row, result in zip(table, sample_results, strict=True):
        assert row.counts.tracks == len(row.tracks) == result.counts.tracks
        assert row.tracks.pt.to_numpy().tobytes() == result.tracks.pt.tobytes()
        assert len(row.hits) == result.counts.clusters
        assert {"module", "x_local", "y_local", "x", "y", "z", "charge"} <= set(row.hits.fields)
        assert "doublets" not in row.fields


def test_reconstruct_keeps_the_row_of_a_bad_event(sample_directory: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(sample_directory, tmp_path / "copy"))
    raw = bytearray((copy / "raw.bin").read_bytes())
    raw[4:8] = (5000).to_bytes(4, "little")
    (copy / "raw.bin").write_bytes(raw)
    output = tmp_path / "tracks.parquet"
    text = run("reconstruct", "patatrack", copy, "-o", output, code=1)
    assert "event failed" in text
    table = ak.from_parquet(output)
    assert len(table) == 10
    assert "FED id" in table.error[0]
    assert table.error[1] == ""


def test_validate_prints_physics_and_writes_a_report(
    sample_directory: Path, tmp_path: Path
) -> None:
    text = run("validate", "patatrack", sample_directory, "-o", tmp_path / "report")
    assert "efficiency" in text
    assert "fake rate" in text
    page = (tmp_path / "report" / "report.html").read_text()
    assert "data:image/png;base64," in page
    identity = str(find_tracker("patatrack").identity({"conditions": str(sample_directory)}))
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    assert facts["identity"] == identity
    assert facts["data set"] == f"{sample_directory.name}, 10 events"
    assert facts["configuration"] == "patatrack default (config default)"
    assert facts["version"] == f"trackserve {trackserve.__version__}"
    assert facts["date"].startswith(str(date.today().year))
    assert cpu_name() in facts["machine"]
    assert f"by {identity}" in text
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["about"] == facts
    assert summary["results"]["patatrack default"]["identity"] == identity


@pytest.mark.slow
def test_validate_compares_configurations(sample_directory: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    text = run("validate", "patatrack", sample_directory, "--against", "reference", "-o", report)
    row = next(line for line in text.splitlines() if "fake rate, all loose" in line)
    reference, default = (float(value) for value in re.findall(r"(\d\.\d+) ±", row))
    assert reference == pytest.approx(0.085, abs=0.001)
    assert default < 0.045
    for name in ("efficiency", "fakes", "pulls", "vertices"):
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_bench_prints_rates_and_stages(sample_directory: Path) -> None:
    text = run("bench", "patatrack", sample_directory, "--threads", "1,2", "--rounds", "1")
    for word in ("events/s", "2 threads", "doublets", "vertices", "peak memory"):
        assert word in text


@pytest.mark.parametrize(
    ("command", "place", "name"),
    [
        (("bench", "patatrack"), SingleEventPipeline, "run"),
        (("inspect",), trackserve.studies.inspect.survey, "unpack"),
        (("reconstruct", "patatrack"), SingleEventPipeline, "run"),
        (("validate", "patatrack"), SingleEventPipeline, "run"),
    ],
)
def test_the_main_thread_computes_nothing(
    sample_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    place: Any,
    name: str,
) -> None:
    """It gets Ctrl-C, which can crash Python in a compiled function's return."""
    function, threads = getattr(place, name), set()

    def noting(*arguments: Any, **options: Any) -> Any:
        threads.add(threading.current_thread())
        return function(*arguments, **options)

    monkeypatch.setattr(place, name, noting)
    options = ("--rounds", 1, "--threads", 1) if "bench" in command else ()
    output = ("-o", tmp_path / "x.parquet") if "reconstruct" in command else ()
    run(*command, sample_directory, *options, *output)
    assert threads
    assert threading.main_thread() not in threads


def test_an_interrupt_ends_work_where_it_shows_its_progress() -> None:
    def work(show: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            show("working", 1, 2)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        beside_main(work, lambda *progress: None)
    assert time.monotonic() - start < 20


def test_repository_can_be_written_alone(sample_directory: Path, tmp_path: Path) -> None:
    run(
        "repository",
        tmp_path / "repo",
        f"patatrack,conditions={sample_directory}",
        "--instances",
        2,
    )
    assert "count: 2" in (tmp_path / "repo/models/patatrack/config.pbtxt").read_text()


def test_wrong_arguments_are_told(sample_directory: Path) -> None:
    run("bench", "patatrack", sample_directory, "--threads", "two", code=2)
    for pointless in (("--served", "x"), ("--in-flight", "3"), ("--identity", "x")):
        text = run("reconstruct", "patatrack", sample_directory, *pointless, code=2)
        assert "give --url" in text
    url = ("--url", "grpc://localhost:1")
    for pointless in (("--device", "cuda"), ("--threads", "2")):
        text = run("reconstruct", "patatrack", sample_directory, *url, *pointless, code=2)
        assert "has no effect with --url" in text
    run("reconstruct", "patatrack", sample_directory / "nowhere", code=1)


def test_errors_are_one_line(tmp_path: Path) -> None:
    """An empty directory, through the program that a user starts."""
    program = [sys.executable, "-c", "from trackserve.cli import app; app()"]
    arguments = ["reconstruct", "patatrack", str(tmp_path)]
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: no pixel data here" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_answers_until_it_is_interrupted(sample_directory: Path, tmp_path: Path) -> None:
    program = [sys.executable, "-u", "-c", "from trackserve.cli import app; app()"]
    ports = ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    models = [f"patatrack,conditions={sample_directory}", "other=exatrkx,model=large"]
    arguments = ["serve", *models, *ports]
    with (
        subprocess.Popen([*program, *arguments], stdout=subprocess.PIPE, text=True) as server,
        ExitStack() as stack,
    ):
        stack.callback(server.kill)
        assert server.stdout is not None
        ready = next(line for line in server.stdout if "ready" in line)
        url = ready.split()[1]
        directions = [next(server.stdout) for _ in range(5)]
        assert "models: other, patatrack" in directions[0]
        assert f"reconstruct patatrack PATH --url {url}" in directions[1]
        other = f"reconstruct exatrkx PATH --url {url} --served other --model large"
        assert other in directions[2]
        status = directions[3].partition("trackserve ")[2].split()
        served, direct = tmp_path / "served.parquet", tmp_path / "direct.parquet"
        run("reconstruct", "patatrack", sample_directory, "--url", url, "-o", served)
        run("reconstruct", "patatrack", sample_directory, "-o", direct)
        deadline, identity = time.monotonic() + 10, f"patatrack {Patatrack.algorithm}, "
        while identity not in (text := run(*status)) and time.monotonic() < deadline:
            time.sleep(0.2)  # Triton shows metrics two seconds after its start
        assert f"{url}: ready" in text
        assert identity in text
        assert "no metrics" not in text
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    tables = [ak.from_parquet(path) for path in (served, direct)]
    assert ak.array_equal(*(table[[n for n in table.fields if n != "origin"]] for table in tables))
    assert ak.all(tables[0].origin.server == url)
    assert ak.all(tables[1].origin.server == "")


def test_a_missing_extra_is_told(sample_directory: Path) -> None:
    """A client's installation, without numba."""
    code = "import sys; sys.modules['numba'] = None; from trackserve.cli import app; app()"
    arguments = ["reconstruct", "patatrack", str(sample_directory)]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert install_command("cpu") in done.stderr
    assert "Traceback" not in done.stderr
