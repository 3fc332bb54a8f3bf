"""The deadline of the work on an event: it is looked at between stages, and inside long ones."""

from __future__ import annotations

import math
import time

from trackserve.edm import EventLimits
from trackserve.errors import EventDeadlineExceeded

from .base import Lap
from .laps import WALL, Laps


class DeadlineOver(Exception):
    """The deadline is over; :meth:`Watch.error` is what the event comes to."""


class Watch:
    """Ends the work of a batch at its deadline; a :data:`.base.Lap`.

    Args:
        limits: have the deadline, which counts from now.
        lap: called as each stage ends.

    Attributes:
        end: the deadline, by :func:`time.perf_counter`.
    """

    def __init__(self, limits: EventLimits, lap: Lap) -> None:
        self._deadline = limits.deadline
        self._lap = lap
        self.end = time.perf_counter() + limits.deadline
        self._last = ""

    def __call__(self, stage: str) -> None:
        """End ``stage``.

        Raises:
            DeadlineOver: the deadline is over.
        """
        self._lap(stage)
        self._last = stage
        if self._deadline < math.inf:
            self.look()

    @property
    def clock(self) -> int:
        """Number of the clock for :meth:`ended`."""
        return self._lap.clock if isinstance(self._lap, Laps) else WALL

    def ended(self, stage: str, at: float, is_late: bool) -> None:
        """Note that ``stage`` has ended.

        Args:
            stage: its name.
            at: when it ended, by the clock of :attr:`clock`.
            is_late: whether the deadline was over then.

        Raises:
            DeadlineOver: it was.
        """
        if isinstance(self._lap, Laps):
            self._lap.end(stage, at)
        else:
            self._lap(stage)
        self._last = stage
        if is_late:
            raise DeadlineOver

    def look(self) -> None:
        """Look at the deadline inside a stage.

        Raises:
            DeadlineOver: it is over.
        """
        if time.perf_counter() > self.end:
            raise DeadlineOver

    def error(self, event: int) -> EventDeadlineExceeded:
        """The error of an event whose work was ended."""
        where = {"stage": self._last} if self._last else {}
        return deadline_exceeded(event, self._deadline, **where)


def deadline_exceeded(event: int, deadline: float, **where: str) -> EventDeadlineExceeded:
    """The error of an event whose deadline, in seconds, is over."""
    message = "the work on the event took longer than its deadline"
    return EventDeadlineExceeded(message, event=event, bound=deadline, **where)
