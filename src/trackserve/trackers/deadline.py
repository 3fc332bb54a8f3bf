"""The deadline of the work on an event: it is looked at between stages, and inside long ones."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from trackserve.edm import EventLimits
from trackserve.edm.columns import Array
from trackserve.errors import EventDeadlineExceeded

from .base import Lap
from .laps import WALL, Laps


class DeadlineOver(Exception):
    """The deadline is over; :meth:`Watch.error` is what the event comes to."""


class Watch:
    """Ends the work of a batch at its deadline; a :data:`.base.Lap`.

    Args:
        limits: have the deadline, which counts from now.
        lap: called as each stage ends; None: nothing is.

    Attributes:
        end: the deadline, by :func:`time.perf_counter`.
    """

    def __init__(self, limits: EventLimits, lap: Lap | None) -> None:
        self._deadline = limits.deadline
        self._lap = lap
        self.end = time.perf_counter() + limits.deadline
        self._last = ""

    def __call__(self, stage: str) -> None:
        """End ``stage``.

        Raises:
            DeadlineOver: the deadline is over.
        """
        if self._lap is not None:
            self._lap(stage)
        self._last = stage
        if self._deadline < math.inf:
            self.look()

    @property
    def clock(self) -> int:
        """Number of the clock for :meth:`behind_call`."""
        return self._lap.clock if isinstance(self._lap, Laps) else WALL

    def behind_call(self, stages: Sequence[str], times: Array, late: int) -> Lap:
        """What to call behind one call of compiled code, with the name of each of its stages.

        It raises a DeadlineOver at the stage that ended behind the deadline.

        Args:
            stages: names of the stages, in order.
            times: float64[stages], when each ended, by the clock of :attr:`clock`.
            late: place of the first stage that ended behind the deadline; -1: none.
        """
        if self._lap is None and late < 0:
            return _ignore
        laps = self._lap if isinstance(self._lap, Laps) else None
        at = dict(zip(stages, times.tolist(), strict=True))
        late_stage = stages[late] if late >= 0 else None

        def ended(stage: str) -> None:
            if laps is not None:
                laps.end(stage, at[stage])
            elif self._lap is not None:
                self._lap(stage)
            self._last = stage
            if stage == late_stage:
                raise DeadlineOver

        return ended

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


def _ignore(stage: str) -> None:
    """Ignore the end of a stage."""


def deadline_exceeded(event: int, deadline: float, **where: str) -> EventDeadlineExceeded:
    """The error of an event whose deadline, in seconds, is over."""
    message = "the work on the event took longer than its deadline"
    return EventDeadlineExceeded(message, event=event, bound=deadline, **where)
