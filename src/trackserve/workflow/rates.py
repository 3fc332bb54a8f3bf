"""What a menu accepts: shares of events, and rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from trackserve.physics.statistics import Fraction, with_error
from trackserve.report.page import Table

from .decisions import Decided
from .menu import Entry


class Accepted(NamedTuple):
    """What a path, or the menu, does with the events of a sample.

    Attributes:
        passed: events that reach the threshold; of the menu, those that a path accepted.
        prescale: one of so many is accepted.
    """

    passed: Fraction
    prescale: int = 1

    def rate(self, input_rate: float) -> tuple[float, float]:
        """Rate at which events are accepted, and its error, Hz."""
        scale = input_rate / self.prescale
        return scale * self.passed.value, scale * self.passed.error


def accepted(entries: Sequence[Entry], decided: Sequence[Decided]) -> dict[str, Accepted]:
    """What each path, and the ``menu`` as a whole, does with events; those that failed are out."""
    good = [one for one in decided if one.error is None]
    found = {
        entry.name: Accepted(
            Fraction(sum(one.decisions[place].passed for one in good), len(good)), entry.prescale
        )
        for place, entry in enumerate(entries)
    }
    return found | {MENU: Accepted(Fraction(sum(one.accepted for one in good), len(good)))}


MENU = "menu"
"""Stands for all paths together, behind them."""


def rates_table(entries: Sequence[Entry], decided: Sequence[Decided], input_rate: float) -> Table:
    """Share and rate of each path, and of the menu.

    Args:
        entries: the menu.
        decided: decisions on the events of a sample.
        input_rate: events per second, Hz.
    """
    found = accepted(entries, decided)
    needs = {one.name: f"{one.threshold:g} {one.path.unit}".strip() for one in entries}
    rows = []
    for name, one in found.items():
        share, (rate, error) = one.passed, one.rate(input_rate)
        scale = str(one.prescale) if name in needs else ""
        text = with_error(share.value, share.error)
        rows.append([name, needs.get(name, ""), scale, text, _hertz(rate, error)])
    n_failed = sum(one.error is not None for one in decided)
    failed = f", {n_failed} failed" * bool(n_failed)
    caption = f"{len(decided)} events{failed}; rate of all events {input_rate:g} Hz"
    return Table(("path", "needs", "prescale", "share", "rate, Hz"), rows, caption)


def _hertz(rate: float, error: float) -> str:
    if not math.isfinite(rate):
        return "-"
    unit = 10 ** max(0, math.floor(math.log10(error))) if error > 0 else 1
    return f"{unit * round(rate / unit):.0f} ± {unit * round(error / unit):.0f}"
