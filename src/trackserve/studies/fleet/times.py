"""Distributions of times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array

_BLOCK = 256
"""Times that are drawn at once."""


class Times(NamedTuple):
    """A distribution of times.

    Attributes:
        mean: its mean, s.
        draw: returns so many times, s: float64[n].
    """

    mean: float
    draw: Callable[[np.random.Generator, int], Array]

    def stream(self, rng: np.random.Generator) -> Iterator[float]:
        """Times without end, s."""
        while True:
            yield from self.draw(rng, _BLOCK).tolist()


def constant(seconds: float) -> Times:
    """Always the same time."""
    return Times(seconds, lambda rng, n: np.full(n, seconds))


def exponential(mean: float) -> Times:
    """Times between events that know nothing of each other, of this mean, s."""
    return Times(mean, lambda rng, n: rng.exponential(mean, n))


def lognormal(mean: float, sigma: float) -> Times:
    """Times whose logarithms are normal.

    Args:
        mean: of the times, s.
        sigma: standard deviation of the times, s.
    """
    variance = math.log1p((sigma / mean) ** 2)
    middle, width = math.log(mean) - variance / 2, math.sqrt(variance)
    return Times(mean, lambda rng, n: rng.lognormal(middle, width, n))


def measured(seconds: Sequence[float]) -> Times:
    """Times that were measured, s, each as probable as the others."""
    values = np.asarray(seconds, float)
    return Times(float(values.mean()), lambda rng, n: rng.choice(values, n))


NONE = constant(0.0)
