"""How long each stage of an event takes."""

from __future__ import annotations

import time


class CpuTime:
    """CPU time of this process by stage.

    Attributes:
        seconds: by stage.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def end(self, stage: str) -> None:
        """``stage`` ends now; it began when the one before it ended."""
        now = time.process_time()
        self.seconds[stage] = now - self._last
        self._last = now
