"""What a menu accepts: shares of events, and rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from trackserve.physics.statistics import Fraction, with_error
from trackserve.report.page import Table

from .decisions import Decided
from .menu import Entry

RATE = 100_000.0
"""Events per second that a trigger of CMS' kind gets, Hz: the accepts of its first level."""


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


def rates_table(
    entries: Sequence[Entry], samples: Mapping[str, Sequence[Decided]], input_rate: float
) -> Table:
    """Share and rate of each path, for each sample.

    Args:
        entries: the menu.
        samples: decisions by name of the sample.
        input_rate: events per second, Hz.
    """
    each = {name: accepted(entries, decided) for name, decided in samples.items()}
    needs = {one.name: f"{one.threshold:g} {one.path.unit}".strip() for one in entries}
    scales = {one.name: str(one.prescale) for one in entries}
    rows = []
    for name in (*needs, MENU):
        row = [name, needs.get(name, ""), scales.get(name, "")]
        for found in each.values():
            share, (rate, error) = found[name].passed, found[name].rate(input_rate)
            row += [with_error(share.value, share.error), _hertz(rate, error)]
        rows.append(row)
    columns = [text for name in each for text in (f"{name}: share", "rate, Hz")]
    n = ", ".join(f"{len(decided)} of {name}" for name, decided in samples.items())
    caption = f"events: {n}; rate of all events {input_rate:g} Hz"
    return Table(("path", "needs", "prescale", *columns), rows, caption)


def _hertz(rate: float, error: float) -> str:
    if not math.isfinite(rate):
        return "-"
    unit = 10 ** max(0, math.floor(math.log10(error))) if error > 0 else 1
    return f"{unit * round(rate / unit):.0f} ± {unit * round(error / unit):.0f}"
