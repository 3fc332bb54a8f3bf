"""The findings of ``trackserve doctor``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from command_line import command, says
from numba import cuda

from trackserve.cli.doctor import (
    Finding,
    _sentence,
    checks,
    client,
    learned_on_gpu,
    on_cpu,
    on_gpu,
    pixel_simulation,
    points_simulation,
    serving,
    training,
)
from trackserve.install import install_command
from trackserve.serving.installation import find_triton


def test_it_prints_every_check_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each begins a line with its name; what was seen stands there on three lines at most."""
    monkeypatch.setenv("COLUMNS", "80")
    shown, _, _ = command("doctor").out.partition("what works here:\n")[2].partition("\n\n")
    rows = re.split(r"\n(?=yes|no)", shown.strip("\n"))
    assert len(rows) == len(checks())
    assert all(re.match(r"(yes|no ) {2}[\w ]+  \S", row) for row in rows)
    assert max(row.count("\n") for row in rows) < 3
    assert max(map(len, shown.splitlines())) <= 80


def test_a_reason_is_one_sentence() -> None:
    assert _sentence("No driver\n is found. Try to install one. Or 2.") == "No driver is found."
    assert _sentence("needs numpy 2.1 or newer") == "needs numpy 2.1 or newer"


def test_one_check_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Finding:
        raise RuntimeError("a library is broken. And more.")

    monkeypatch.setattr("trackserve.cli.doctor.checks", lambda: [broken, client])
    said = says("doctor")
    assert "no broken RuntimeError: a library is broken. yes client" in said


def test_it_works_where_no_command_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "trackserve.cli.main")
    monkeypatch.delattr("trackserve.cli.main")
    monkeypatch.delattr("trackserve.cli.reconstruct")
    monkeypatch.setitem(sys.modules, "trackserve.cli.reconstruct", None)
    said = says("doctor")
    assert "no commands import of trackserve.cli.reconstruct halted" in said
    assert f"commands: {install_command()}" in said
    assert "`trackserve doctor` says more" in says("status", status=1)


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
    assert found.cure == install_command("train")


def test_serving_names_the_file_that_a_triton_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert serving().works
    triton = find_triton()
    broken = triton._replace(python_backend=[*triton.python_backend, Path("no/stub")])
    monkeypatch.setattr("trackserve.serving.installation.find_triton", lambda: broken)
    found = serving()
    assert not found.works
    assert found.seen == "lacks no/stub"
