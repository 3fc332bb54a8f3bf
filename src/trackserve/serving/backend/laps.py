"""A stopwatch for the stages of a pipeline."""

from __future__ import annotations

import time


class Laps:
    """Seconds that stages took; called with a stage's name as it ends."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
