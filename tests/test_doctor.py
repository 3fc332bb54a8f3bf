"""What ``trackserve doctor`` finds."""

from __future__ import annotations

import sys

import pytest
from numba import cuda
from typer.testing import CliRunner

from trackserve.cli import commands
from trackserve.cli.doctor import (
    CHECKS,
    client,
    learned_on_cpu,
    learned_on_gpu,
    on_cpu,
    on_gpu,
    serving,
    simulation,
    training,
)


def test_it_prints_every_check() -> None:
    result = CliRunner().invoke(commands, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for check in CHECKS:
        assert check().what in result.output


def test_it_says_what_works() -> None:
    for check in (on_cpu, learned_on_cpu, simulation, training, client):
        assert check().works
    for check in (on_gpu, learned_on_gpu):
        found = check()
        assert found.works == cuda.is_available()
        assert found.works or ("driver" in found.seen and found.cure)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trackserve.training.train", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = training()
    assert not found.works
    assert "torch" in found.seen
    assert found.cure == "pip install 'trackserve[train]'"


def test_numpy_2_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving().works
    monkeypatch.setattr("trackserve.cli.doctor._version", lambda package: "2.5.0")
    assert not serving().works
    assert "numpy<2" in serving().cure
