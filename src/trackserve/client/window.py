"""The number of requests in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_MAX = 256
SMOOTHING = 0.125
"""Weight of the latest value in a running mean."""
_FIRST_GROWTH = 0.5
"""Growth per reply at first. Its effect shows a round trip later, so it must not be fast."""
_BOUNDS = 1.5, 3.0
"""Waits of a request, in service times, at which the window stops growing, and shrinks."""
_BOUNDS_OF_BUNDLES = 0.5, 1.5
"""The same for requests of several events: these alone keep the server at work."""


class Windows:
    """The most requests in flight to one server or to many, each of which has a window.

    Args:
        servers: returns the names of the servers that get requests now.
        fixed: most requests in flight to all of them; None: the sum of the windows.
        each: size of each window, which never changes; None: each adjusts itself.
    """

    def __init__(
        self,
        servers: Callable[[], Iterable[str]],
        fixed: int | None = None,
        each: int | None = None,
    ) -> None:
        self._servers = servers
        self._fixed = fixed
        self._each = fixed or each
        self._windows: dict[str, Window] = {}

    @property
    def size(self) -> int:
        """Most requests in flight."""
        return self._fixed or sum([self._of(server).size for server in self._servers()])

    def answered(
        self, server: str, *, round_trip: float, busy: float, service: float, is_bundle: bool
    ) -> None:
        """Take a reply of a server into account; see :meth:`Window.answered`."""
        self._of(server).answered(
            round_trip=round_trip, server=busy, service=service, is_bundle=is_bundle
        )

    def scale(self, factor: float) -> None:
        """Multiply all sizes; see :meth:`Window.scale`."""
        for window in self._windows.values():
            window.scale(factor)

    def refused(self, server: str) -> None:
        """Halve the size for a server that was busy."""
        self._of(server).refused()

    def _of(self, server: str) -> Window:
        if server not in self._windows:
            self._windows[server] = Window(self._each)
        return self._windows[server]


class Window:
    """The most requests in flight; the window adjusts this number to the server.

    The service time of a request is the time that an idle server needs for it. The wait is the
    rest of the round trip, without the shortest way to the server and back so far. The window
    grows while the wait is below 1.5 service times, and shrinks if it is above 3. So it fills a
    distant server, leaves room to other clients of a busy server, and covers any number of
    workers. (TCP Vegas steers by the same difference.) At first it grows by half with each round
    trip; once requests wait, it moves by one.

    Args:
        fixed: a size that never changes; None: the window adjusts itself.
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
        """Most requests in flight."""
        return int(self._size)

    def answered(
        self, *, round_trip: float, server: float, service: float, is_bundle: bool = False
    ) -> None:
        """Take a reply into account.

        Args:
            round_trip: seconds from sending to arrival.
            server: seconds of these in the server.
            service: seconds that an idle server takes.
            is_bundle: whether the request had several events.
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
        """Multiply the size by ``factor``, because requests now have other numbers of events."""
        if not self._is_fixed:
            self._size = max(self._size * factor, 2.0)

    def refused(self) -> None:
        """Halve the size, because the server was busy."""
        if not self._is_fixed:
            self._starting = False
            self._size = max(self._size / 2, 1.0)
