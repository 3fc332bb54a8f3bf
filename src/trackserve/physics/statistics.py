"""Shares and widths with their statistical errors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trackserve.edm.columns import Array

COVERAGE = "68 %"
"""What intervals hold: one standard deviation on each side of a normal distribution."""
_PERCENTILES = (15.865, 84.135)
"""The ends of that interval."""
_HALF_WIDTH_ERROR = 0.96
"""Statistical error of the half-width of n normally distributed values, in widths / sqrt(n)."""


@dataclass(frozen=True)
class Fraction:
    """``passed`` of ``total``."""

    passed: int
    total: int

    @property
    def value(self) -> float:
        """NaN if ``total`` is 0."""
        return self.passed / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the Wilson score interval, which stays within 0 and 1."""
        if not self.total:
            return float("nan"), float("nan")
        centre = (self.passed + 0.5) / (self.total + 1)
        variance = self.passed * (self.total - self.passed) / self.total + 0.25
        half = variance**0.5 / (self.total + 1)
        return centre - half, centre + half

    @property
    def error(self) -> float:
        """Half the length of ``interval``."""
        low, high = self.interval
        return (high - low) / 2

    @classmethod
    def of(cls, passed: Array) -> Fraction:
        """The share of True in a mask."""
        return cls(int(passed.sum()), len(passed))

    @classmethod
    def pooled(cls, parts: Iterable[Fraction]) -> Fraction:
        """The share in all parts together."""
        parts = list(parts)
        return cls(sum(part.passed for part in parts), sum(part.total for part in parts))


@dataclass(frozen=True)
class Width:
    """Half the interval that holds the central 68 % of ``count`` values."""

    value: float
    count: int

    @property
    def error(self) -> float:
        """Statistical error of ``value``, for values that are normally distributed."""
        return _HALF_WIDTH_ERROR * self.value / self.count**0.5 if self.count else float("nan")

    @classmethod
    def of(cls, values: Array) -> Width:
        """The width of float[n]; NaN if there are none."""
        if len(values) == 0:
            return cls(float("nan"), 0)
        low, high = np.percentile(values, _PERCENTILES)
        return cls(float(high - low) / 2, len(values))


def bin_name(low: float, high: float) -> str:
    """Name of a bin, as "0.5-0.7"; "> 5" if it has no end."""
    return f"{low:g}-{high:g}" if high < math.inf else f"> {low:g}"


def with_error(value: float, error: float) -> str:
    """A value and its error as text.

    The text goes to the first digit of ``error``, or to the second if the first is 1 or 2. It is
    a dash if the value is not finite, and the value alone if the error is not finite.
    """
    if not math.isfinite(value):
        return "-"
    if not math.isfinite(error):
        return f"{value:.3f}"
    digits = max(0, math.ceil(-math.log10(error / 3))) if error > 0 else 3
    return f"{value:.{digits}f} ± {error:.{digits}f}"
