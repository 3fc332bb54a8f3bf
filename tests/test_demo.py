"""The demo: its figures say when they are not those of this program."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from trackserve.cli.demo import Comparison, Speed, speed_table

QUIET = {"load": 0.0, "others": 0.02, "steal": 0.0}
BUSY = {"load": 3.0, "others": 1.3, "steal": 0.25}


def speed(direct: float, served: float, seen: dict[str, float]) -> Speed:
    """Events per second; an event takes as long by itself."""
    rates = {"direct": direct, "served": served}
    return Speed(rates, {way: 1 / rate for way, rate in rates.items()}, seen)


def printed(found: Speed) -> str:
    outcomes: dict[str, list[Any]] = {"direct": [], "served": []}
    console = Console(width=100)
    with console.capture() as capture:
        console.print(speed_table("title", [Comparison("patatrack", "", outcomes, found)]))
    return capture.get()


def test_figures_of_a_quiet_machine_have_no_caveat() -> None:
    found = speed(100, 86, QUIET)
    assert found.caveat("patatrack") == ""
    assert "100.0" in printed(found)
    assert "86.0" in printed(found)


def test_figures_of_a_busy_machine_have_a_caveat() -> None:
    text = speed(100, 86, BUSY).caveat("patatrack")
    assert "other programs kept 1.3 of" in text
    assert "the hypervisor took 25%" in text
    assert "rough" in text


@pytest.mark.parametrize("seen", [QUIET, BUSY, {}])
def test_a_server_that_seems_faster_than_a_direct_call_gets_no_figures(
    seen: dict[str, float],
) -> None:
    found = speed(100, 300, seen)
    assert not found.makes_sense
    assert "served seemed 3.0 times as fast" in found.caveat("patatrack")
    assert "300" not in printed(found)
    assert "100" not in printed(found)
