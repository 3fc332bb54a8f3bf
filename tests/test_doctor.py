"""The findings of ``trackserve doctor``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from numba import cuda
from typer.testing import CliRunner

from trackserve.cli import commands
from trackserve.cli.doctor import (
    CHECKS,
    client,
    learned_on_gpu,
    on_cpu,
    on_gpu,
    pixel_simulation,
    points_simulation,
    serving,
    training,
)
from trackserve.serving.installation import find_triton


def test_it_prints_every_check() -> None:
    result = CliRunner().invoke(commands, ["doctor"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    for check in CHECKS:
        assert check().what in result.output


def test_it_says_what_works() -> None:
    for name in ("patatrack", "exatrkx"):
        assert on_cpu(name).works
    for check in (pixel_simulation, points_simulation, training, client):
        assert check().works
    for check in (on_gpu, learned_on_gpu):
        found = check()
        assert found.works == cuda.is_available()
        assert found.works or ("driver" in found.seen and found.cure)


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trackserve.trackers.exatrkx.training.train", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = training()
    assert not found.works
    assert "torch" in found.seen
    assert found.cure == "pip install 'trackserve[train]'"


def test_serving_names_the_file_that_a_triton_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving().works
    triton = find_triton()
    broken = triton._replace(python_backend=[*triton.python_backend, Path("no/stub")])
    monkeypatch.setattr("trackserve.serving.installation.find_triton", lambda: broken)
    found = serving()
    assert not found.works
    assert found.seen == "lacks no/stub"
