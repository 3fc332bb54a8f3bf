"""Means of measurements that were repeated, and their statistical errors.

An error is half of the interval that holds the true mean with 68 % (Student's distribution), as
all errors of this package. What was measured in turns is compared pair by pair, so that a machine
that changes its pace changes both sides of a pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from trackserve.physics.statistics import with_error

_STUDENT = (1.837, 1.321, 1.197, 1.142, 1.110, 1.091, 1.077, 1.067, 1.059)
"""Half of the interval that holds 68.27 % of Student's distribution with 1 to 9 degrees."""


class Spread(NamedTuple):
    """A mean and its error; one measurement alone has no error (NaN)."""

    value: float
    error: float

    @property
    def text(self) -> str:
        """The mean with its error; a dash if there is none."""
        return with_error(self.value, self.error)


NOTHING = Spread(math.nan, math.nan)


def mean(values: Sequence[float]) -> Spread:
    """The mean of measurements; what is not finite is left out."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return NOTHING
    return Spread(float(np.mean(finite)), _error(finite))


def ratio(over: Sequence[float], under: Sequence[float]) -> Spread:
    """The quotient of two means, of measurements in turns: it is that of their columns."""
    value = float(np.mean(over) / np.mean(under))
    residuals = (np.asarray(over) - value * np.asarray(under)) / np.mean(under)
    return Spread(value, _error(residuals))


def quotient(over: Spread, under: Spread) -> Spread:
    """The quotient of two results that were not measured in turns."""
    value = over.value / under.value
    relative = math.hypot(over.error / over.value, under.error / under.value)
    return Spread(value, abs(value) * relative)


def difference(first: Sequence[float], second: Sequence[float]) -> Spread:
    """The mean of ``first`` less that of ``second``, of measurements in turns."""
    return mean([a - b for a, b in zip(first, second, strict=True)])


def added(cost: Spread, unit: str) -> str:
    """What something costs in addition, as text.

    A cost is not negative. If the measurement cannot tell it from nothing, the text is the bound
    that holds with 95 %, two errors above the mean or above 0.
    """
    if not math.isfinite(cost.value):
        return "-"
    if math.isfinite(cost.error) and cost.value < 2 * cost.error:
        return f"< {max(cost.value, 0) + 2 * cost.error:.2g} {unit}"
    return f"{cost.text} {unit}" if cost.value > 0 else f"none that one measurement shows, {unit}"


def _error(values: Sequence[float]) -> float:
    n = len(values)
    if n < 2:
        return math.nan
    student = _STUDENT[n - 2] if n - 2 < len(_STUDENT) else 1 + 0.5 / (n - 1)
    return student * float(np.std(values, ddof=1)) / math.sqrt(n)
