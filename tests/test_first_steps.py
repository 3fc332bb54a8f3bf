"""What a newcomer sees first: version, help, a first compilation, any terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from command_line import command, says

import trackserve
from trackserve.cli import app
from trackserve.cli.common import compiling, progress
from trackserve.device.progress import announce, n_loops, watching_compilation
from trackserve.serving.compilation import CompilationLog, logging_compilation


def test_it_says_its_version() -> None:
    assert command("--version").out == f"trackserve {trackserve.__version__}\n"


def test_the_help_lists_trackers_with_their_configurations_and_models() -> None:
    text = says("--help")
    assert "patatrack: Pixel tracks and vertices from raw data. --config default, reference" in text
    assert "exatrkx: Track candidates from space points, by a learned tracker. --model" in text
    assert "--model default, large" in text


def test_a_terminal_without_a_character_gets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "argv", ["trackserve", "--version"])
    monkeypatch.setattr(trackserve, "__version__", "≥ 1 µm")
    with pytest.raises(SystemExit) as end:
        app()
    stdout.flush()
    assert end.value.code == 0
    assert raw.getvalue() == b"trackserve ? 1 ?m\n"


class Shown:
    """Keeps what a :class:`Progress` was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int, str]] = []

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        self.told.append((what, done, total, note))


def test_a_compilation_is_shown_with_its_progress() -> None:
    shown = Shown()
    with watching_compilation(compiling(shown, lambda: 3)):
        for name in ("a.find_doublets", "a._fit", "a.find_doublets"):
            announce(name)
    announce("a.not_watched")
    assert [one[1:] for one in shown.told] == [
        (1, 3, "find doublets"),
        (2, 3, "fit"),
        (2, 3, "find doublets"),
    ]
    assert "compiling" in shown.told[0][0]


def test_a_compilation_is_shown_off_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("trackserve.cli.common._SECONDS_PER_LINE", 0.0)
    with progress() as show:
        announce("a.find_doublets")
        show("Reconstructing", 1, 2)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("compiling (a first start): 1")
    assert first.endswith("find doublets")
    assert second == "Reconstructing: 1 of 2"


def test_each_compilation_of_a_loop_is_announced_once(tmp_path: Path) -> None:
    """A loop from the cache on disk is not announced."""
    from trackserve.device import compile

    before = n_loops()
    loop = compile.kernel(twice)
    assert n_loops() == before + 1
    loop._cache._cache_file.load = lambda key: None  # type: ignore[attr-defined]
    heard: list[str] = []
    with watching_compilation(heard.append):
        assert loop(2) == loop(2) == 4
    assert heard == [f"{__name__}.twice"]


def twice(number: int) -> int:
    return 2 * number


def test_who_starts_a_server_hears_what_its_models_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what the log has of earlier ones."""
    log = tmp_path / "triton.log"
    log.write_text("trackserve compiles a.server.before\n")
    reader = CompilationLog(log)
    with log.open("a") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        print("I1129 grpc_server.cc: started", file=stderr)
        with logging_compilation():
            announce("a.find_doublets")
        stderr.write("trackserve compiles a.fi")
        stderr.flush()
        assert reader.new() == ["a.find_doublets"]
        stderr.write("t\n")
        stderr.flush()
    assert reader.new() == ["a.fit"]
    log.unlink()
    assert reader.new() == []
