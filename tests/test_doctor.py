"""What ``trackserve doctor`` finds."""

from __future__ import annotations

import pytest
from numba import cuda
from typer.testing import CliRunner

from trackserve.cli import commands
from trackserve.cli.doctor import on_cpu, on_gpu, serving


def test_it_prints_every_check() -> None:
    result = CliRunner().invoke(commands, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for what in ("Patatrack on this CPU", "Patatrack on a GPU", "serving", "client"):
        assert what in result.output


def test_it_says_what_works() -> None:
    assert on_cpu().works
    found = on_gpu()
    assert found.works == cuda.is_available()
    assert found.works or ("driver" in found.seen and found.cure)


def test_numpy_2_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving().works
    monkeypatch.setattr("trackserve.cli.doctor._version", lambda package: "2.5.0")
    assert not serving().works
    assert "numpy<2" in serving().cure
