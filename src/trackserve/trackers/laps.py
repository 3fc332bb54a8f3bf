"""Stopwatch for the stages of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .base import Lap

WALL = time.CLOCK_MONOTONIC
"""Number of the clock of :func:`time.perf_counter`."""
_CLOCKS: dict[Any, int] = {
    time.perf_counter: WALL,
    time.thread_time: time.CLOCK_THREAD_CPUTIME_ID,
    time.process_time: time.CLOCK_PROCESS_CPUTIME_ID,
}


class Laps:
    """A stopwatch: seconds of each stage, by name; a :data:`.base.Lap`.

    Args:
        clock: function that returns seconds: :func:`time.perf_counter`, or another of this kind.

    Attributes:
        seconds: of each stage.
        clock: number of the clock, for code that reads it without Python.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self.clock = _CLOCKS[clock]
        self._clock = clock
        self._last = clock()

    def start(self) -> None:
        """Begin the next stage now."""
        self._last = self._clock()

    def __call__(self, stage: str) -> None:
        """End ``stage`` now, and begin the next one."""
        self.end(stage, self._clock())

    def end(self, stage: str, now: float) -> None:
        """End ``stage``, and begin the next one; ``now`` is a time of the clock."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def after(wait: Callable[[], None], lap: Lap | None) -> Lap:
    """Return ``lap`` with a call of ``wait`` before it; nothing is called if ``lap`` is None.

    Args:
        wait: waits for a device, so that a stage has ended when ``lap`` is called.
        lap: called as each stage ends, or None.
    """
    if lap is None:
        return lambda stage: None
    call = lap

    def wait_and_call(stage: str) -> None:
        wait()
        call(stage)

    return wait_and_call
