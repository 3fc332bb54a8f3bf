"""How many requests to keep in flight."""

from __future__ import annotations

_MAX = 256
SMOOTHING = 0.125
"""Share of the latest in a mean that follows the times of answers."""
_FIRST_GROWTH = 0.5
"""Per answer; what the first growth does shows a round trip later, so it must not be fast."""
_BOUNDS = 1.5, 3.0
"""Times of its service that a request may wait before the window no longer grows, and shrinks."""
_BOUNDS_OF_BUNDLES = 0.5, 1.5
"""The same where it holds several events: one behind the other then keeps the server at work."""


class Window:
    """A bound on the requests in flight that finds itself.

    It grows as long as requests wait less than 1.5 times as long as the server needs for them
    when it is idle, and shrinks once they wait more than 3 times as long. Waiting is what a round
    trip takes beyond that and beyond the shortest way there and back so far: so the window fills
    a distant server too, leaves room to other clients of a busy one, and covers its workers,
    however many. (TCP Vegas steers by the same difference.) It grows by half with each round trip
    until something waits, then moves by one.

    Args:
        fixed: a bound that stays instead.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._is_fixed = fixed is not None
        self._size = float(fixed or 2)
        self._starting = True
        self._shortest_way = float("inf")
        self._wait = 0.0
        self._service = 0.0

    @property
    def size(self) -> int:
        return int(self._size)

    def answered(
        self, round_trip: float, server: float, service: float, is_bundle: bool = False
    ) -> None:
        """Take an answer into account.

        Args:
            round_trip: seconds from sending to arrival.
            server: of these in the server.
            service: that an idle server takes.
            is_bundle: whether it is of several events.
        """
        if self._is_fixed:
            return
        self._shortest_way = min(self._shortest_way, round_trip - server)
        wait = round_trip - self._shortest_way - service
        self._wait += SMOOTHING * (wait - self._wait)
        self._service += SMOOTHING * (service - self._service)
        grow_below, shrink_above = _BOUNDS_OF_BUNDLES if is_bundle else _BOUNDS
        if self._wait < grow_below * self._service:
            self._size += _FIRST_GROWTH if self._starting else 1 / self._size
        elif self._wait > shrink_above * self._service:
            self._starting = False
            self._size -= 1 / self._size
        else:
            self._starting = False
        self._size = min(max(self._size, 1.0), _MAX)

    def scale(self, factor: float) -> None:
        """Requests hold ``1 / factor`` times as much from now on."""
        if not self._is_fixed:
            self._size = max(self._size * factor, 2.0)

    def refused(self) -> None:
        """The server was busy: halve."""
        if not self._is_fixed:
            self._starting = False
            self._size = max(self._size / 2, 1.0)
