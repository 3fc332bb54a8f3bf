"""How many events to keep in flight."""

from __future__ import annotations

_MAX = 256
_SMOOTHING = 0.125
_FIRST_GROWTH = 0.5
"""Per answer; what the first growth does shows a round trip later, so it must not be fast."""
_GROW_BELOW = 1.5
_SHRINK_ABOVE = 3.0


class Window:
    """A bound on the events in flight that finds itself.

    It grows as long as events wait less than 1.5 times as long as the server computes them,
    and shrinks once they wait more than 3 times as long. Waiting is what a round trip takes
    beyond computing and beyond the shortest such wait so far, the way there and back: so
    the window fills a distant server too, leaves room to other clients of a busy one, and
    covers its workers, however many. (TCP Vegas steers by the same difference.)
    It grows by half with each round trip until something waits, then moves by one.

    Args:
        fixed: a bound that stays instead.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._is_fixed = fixed is not None
        self._size = float(fixed or 2)
        self._starting = True
        self._shortest = float("inf")
        self._wait = 0.0
        self._compute = 0.0

    @property
    def size(self) -> int:
        return int(self._size)

    def answered(self, round_trip: float, compute: float) -> None:
        """Take an answer into account: seconds from sending to arrival, and of computing."""
        if self._is_fixed:
            return
        travel = round_trip - compute
        self._shortest = min(self._shortest, travel)
        self._wait += _SMOOTHING * (travel - self._shortest - self._wait)
        self._compute += _SMOOTHING * (compute - self._compute)
        if self._wait < _GROW_BELOW * self._compute:
            self._size += _FIRST_GROWTH if self._starting else 1 / self._size
        elif self._wait > _SHRINK_ABOVE * self._compute:
            self._starting = False
            self._size -= 1 / self._size
        else:
            self._starting = False
        self._size = min(max(self._size, 1.0), _MAX)

    def refused(self) -> None:
        """The server was busy: halve."""
        if not self._is_fixed:
            self._starting = False
            self._size = max(self._size / 2, 1.0)
