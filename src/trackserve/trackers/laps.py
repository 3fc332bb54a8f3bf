"""Stopwatch for the stages of a pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable

from .base import Lap


class Laps:
    """A stopwatch: seconds of each stage, by name; a :data:`.base.Lap`.

    Args:
        clock: function that returns seconds, as :func:`time.process_time`.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._last = clock()

    def start(self) -> None:
        """Begin the next stage now."""
        self._last = self._clock()

    def __call__(self, stage: str) -> None:
        """End ``stage`` now, and begin the next one."""
        now = self._clock()
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
