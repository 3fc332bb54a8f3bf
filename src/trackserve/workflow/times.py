"""How long modules take: distributions of time, the same for an event whenever it comes."""

from __future__ import annotations

import csv
import math
import zlib
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple, Protocol

from trackserve.errors import InputError
from trackserve.io.files import readable

_NORMAL = NormalDist()
_WORD = (1 << 64) - 1


class Times(Protocol):
    """A distribution of the time that a module takes."""

    def seconds(self, event: int) -> float:
        """Time of the event of this number, s."""


class LogNormal(NamedTuple):
    """Times whose logarithms are normally distributed.

    Attributes:
        mean: their mean, s.
        spread: standard deviation of their natural logarithm.
        name: distributions of different names are independent.
    """

    mean: float
    spread: float = 0.0
    name: str = ""

    def seconds(self, event: int) -> float:
        """Time of the event of this number, s."""
        chance = (_mixed(event ^ (zlib.crc32(self.name.encode()) << 32)) + 0.5) / 2.0**64
        deviation = self.spread * _NORMAL.inv_cdf(min(max(chance, 1e-12), 1 - 1e-12))
        return self.mean * math.exp(deviation - self.spread**2 / 2)


class Measured(NamedTuple):
    """Times that were measured; an event has one of them.

    Attributes:
        times: of some events, s. The event of one number has the same place in each.
    """

    times: tuple[float, ...]

    def seconds(self, event: int) -> float:
        """Time of the event of this number, s."""
        return self.times[_mixed(event) % len(self.times)]


def read_times(path: Path) -> dict[str, Measured]:
    """Times by name of module, from a CSV file: names, then a row of seconds for each event.

    An event takes all its times from one row, so that modules stay as related as they were.

    Raises:
        ConditionsError: it cannot be read.
        InputError: it has no rows, or a value that is not a time.
    """
    with readable(path), path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [row for row in csv.reader(file) if row]
    if len(rows) < 2:
        raise InputError("no times are here", file=str(path))
    names = [name.strip() for name in rows[0]]
    columns: list[list[float]] = [[] for _ in names]
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(names):
            raise InputError(
                "a row of another length",
                file=str(path),
                row=number,
                found=len(row),
                bound=len(names),
            )
        for column, text in zip(columns, row, strict=True):
            column.append(_time(text, path, number))
    return {name: Measured(tuple(column)) for name, column in zip(names, columns, strict=True)}


def _time(text: str, path: Path, row: int) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError("not a time in seconds", file=str(path), row=row, found=text[:80])
    return seconds


def _mixed(number: int) -> int:
    """64 bits that depend on all bits of ``number`` (the finaliser of SplitMix64, Steele 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & _WORD
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _WORD
    return number ^ (number >> 31)
