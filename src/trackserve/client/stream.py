"""A stream of events in flight: what both clients share."""

from __future__ import annotations

import heapq
import sys
import time
from collections import deque
from collections.abc import Callable, Collection

from ..errors import EventError, InputError, ServerError
from ..serving.wire import Event, Result
from .exchange import Exchange, Settings
from .transport import Call, Transport
from .window import Window

_AHEAD = 4
"""Events of a stream that may be started and not yet handed out, for each in flight."""
_BURST = 3
"""Requests that a window which finds itself sends together: the second and third find the code and
data of client and server still in the processors' caches. More would leave a distant server
without work."""

Answer = Result | EventError


class Stream:
    """The state of a stream; whoever drives it feeds events in, takes answers and waits.

    Args:
        settings, transport: the client's.
        model, keep, timeout: of each event.
        in_flight: bound on the requests in flight; None finds it.
        ordered: answers come out in the order of the events, else as they arrive.
        wake: called, in any thread, when :meth:`advance` has something to do.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        model: str,
        keep: Collection[str],
        in_flight: int | None,
        ordered: bool,
        timeout: float | None,
        wake: Callable[[], object],
    ) -> None:
        if in_flight is not None and in_flight < 1:
            raise InputError("in_flight is not positive", found=in_flight)
        self._settings = settings
        self._transport = transport
        self._model = model
        self._keep = keep
        self._timeout = timeout
        self._timed = in_flight is None
        self._ordered = ordered
        self._burst = 1 if in_flight is not None else _BURST
        self._filling = True
        self._wake = wake
        self._window = Window(in_flight)
        self._started = 0
        self._taken = 0
        self._source_ended = False
        self._exchanges: dict[int, Exchange] = {}
        self._calls: dict[int, Call] = {}
        self._ended: deque[int] = deque()
        self._delayed: list[tuple[float, int]] = []
        self._answers: dict[int, tuple[Exchange, Answer]] = {}

    @property
    def unfinished(self) -> bool:
        return not self._source_ended or self._taken < self._started

    @property
    def wants_event(self) -> bool:
        """Whether to :meth:`start` another event. Answers that wait for an earlier one
        count too, so that one slow event does not pile up all that come after it."""
        size = self._window.size
        is_full = len(self._exchanges) >= size or self._started - self._taken >= _AHEAD * size
        return self._filling and not self._source_ended and not is_full

    def start(self, event: Event | None) -> None:
        """Send an event; None: there are no more."""
        if event is None:
            self._source_ended = True
            return
        number = self._started
        self._exchanges[number] = Exchange(
            self._settings, self._model, event, self._keep, self._timeout, self._timed
        )
        self._started += 1
        self._filling = len(self._exchanges) < self._window.size
        self._send(number)

    def take(self) -> Answer | None:
        """The next answer to hand out, if it is there."""
        number = self._taken if self._ordered else next(iter(self._answers), -1)
        if number not in self._answers:
            return None
        self._taken += 1
        exchange, answer = self._answers.pop(number)
        if not isinstance(answer, EventError):
            exchange.handed_out()
        return answer

    def advance(self) -> None:
        """Take in what has ended, and send again what is due.

        Raises:
            ServerError: an event failed for another reason than its data.
        """
        while self._ended:
            self._settle(self._ended.popleft())
        while self._delayed and self._delayed[0][0] <= time.monotonic():
            self._send(heapq.heappop(self._delayed)[1])

    def pause(self) -> float | None:
        """Seconds until something is to be sent again."""
        if not self._delayed:
            return None
        return max(0.0, self._delayed[0][0] - time.monotonic())

    def cancel(self) -> None:
        """Give up all that is in flight.

        Not while Python is ending: its other threads stand still then, perhaps with a lock
        that this needs, and the end of the process gives everything up.
        """
        if sys.is_finalizing():
            return
        for call in self._calls.values():
            call.cancel()

    def _send(self, number: int) -> None:
        exchange = self._exchanges[number]
        call = self._transport.submit(exchange.request, exchange.send())
        self._calls[number] = call
        call.add_done_callback(lambda _: self._end(number))

    def _end(self, number: int) -> None:
        self._ended.append(number)
        self._wake()

    def _settle(self, number: int) -> None:
        call, exchange = self._calls.pop(number), self._exchanges[number]
        try:
            self._answers[number] = exchange, exchange.result(call.result(), call.arrived)
            self._window.answered(exchange.round_trip, exchange.compute)
        except EventError as error:
            self._answers[number] = exchange, error
        except ServerError as error:
            due = time.monotonic() + exchange.retry_after(error)
            heapq.heappush(self._delayed, (due, number))
            self._window.refused()
            return
        del self._exchanges[number]
        size = self._window.size
        if len(self._exchanges) <= size - max(1, min(self._burst, size // 2)):
            self._filling = True
