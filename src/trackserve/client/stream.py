"""A stream of events in flight, for both clients."""

from __future__ import annotations

import heapq
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from numbers import Integral
from typing import Any, NamedTuple

from trackserve.edm.result import Outcome
from trackserve.errors import EventError, InputError, ServerError, TrackserveError
from trackserve.wire.bundle import MOST_EVENTS, AnswerBundle
from trackserve.wire.identity import UNCHECKED
from trackserve.wire.tensors import Tensors

from .exchange import Asking, Exchange, Patience, Settings, Task, bundled, time_for, unbundled
from .models import explained
from .pool import Pool
from .transport import Call, Request, Transport
from .waiter import Waiter
from .window import SMOOTHING, Windows

_AHEAD = 4
"""Events that a stream may have started and not yet handed out, per event in flight."""
_BURST = 3
"""Requests that the stream sends together if it finds its window. The second and third find the
code and data of client and server still in the processors' caches. More requests would leave a
distant server without work."""
_WORTH_A_REQUEST = 0.1
"""Seconds of the server's work in a request, if the stream finds its window."""
_MOST_PER_REQUEST = 16
"""Most events in a request. Any request costs client and server 1 to 2 ms of a processor."""
_WITHOUT_TIMES = 4
"""Requests in flight to a server that does not say its times."""
END: Any = object()
"""Stands behind the last event of a source."""


class StreamSettings(NamedTuple):
    """The settings of a stream.

    Attributes:
        in_flight: most requests in flight; None: the stream finds a good number.
        per_request: events in a request; None: the stream finds a good number if it finds
            ``in_flight`` too, else 1.
        ordered: whether answers come out in the order of the events; else they come as they arrive.
        timeout: seconds for each event, see :class:`.exchange.Patience`.
    """

    in_flight: int | None = None
    per_request: int | None = None
    ordered: bool = True
    timeout: float | None = None


class Stream:
    """The state of a stream; the client starts events, takes answers and waits.

    Args:
        settings, transport: settings and transport of the client.
        task: the work to do on each event.
        how: settings of the stream. A model that takes no bundles gets one event in a request.
        wake: called, in any thread, when :meth:`advance` has something to do.
        submit: starts a request; None: the transport does.

    Raises:
        InputError: a number in ``how`` is not a positive integer or too large, or a part to keep is
            unknown.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        task: Task,
        how: StreamSettings,
        wake: Callable[[], object],
        submit: Callable[[Request, float], Call] | None = None,
    ) -> None:
        in_flight, per_request = how.in_flight, how.per_request
        for name, value in (("in_flight", in_flight), ("per_request", per_request)):
            if value is not None and not (isinstance(value, Integral) and value > 0):
                raise InputError(f"{name} is not a positive integer", found=repr(value)[:80])
        if per_request is not None and per_request > MOST_EVENTS:
            raise InputError("per_request is too large", found=per_request, bound=MOST_EVENTS)
        self._settings = settings
        self._transport = transport
        self._task = task
        self._how = how
        lasts = task.limits is None or task.limits.deadline == math.inf
        self._timed = in_flight is None and task.has_timing
        self._asking = Asking(settings, task, self._timed)
        self._finds_per_request = per_request is None and self._timed and task.has_bundles and lasts
        self._per_request = (per_request if task.has_bundles else 1) or self._worth_a_request()
        self._burst = 1 if in_flight is not None else _BURST
        self._filling = True
        self._wake = wake
        self._submit = submit or Waiter(transport).submit
        self._window = Windows(self._servers, in_flight, None if self._timed else _WITHOUT_TIMES)
        self._most = self._window.size * self._per_request
        """Most events in flight."""
        self._started = 0
        self._taken = 0
        self._source_ended = False
        self._exchanges: dict[int, Exchange] = {}
        self._gathered: list[int] = []
        self._calls: dict[Call, list[int]] = {}
        self._ended: deque[Call] = deque()
        self._delayed: list[tuple[float, int]] = []
        self._answers: dict[int, tuple[Exchange | None, Outcome]] = {}
        self._source_error: Exception | None = None

    @property
    def unfinished(self) -> bool:
        """Whether answers are still to come."""
        return not self._source_ended or self._taken < self._started

    @property
    def wants_event(self) -> bool:
        """Whether to :meth:`start` another event.

        Answers that wait for an earlier event count too: so few pile up behind a slow event.
        """
        if not self._filling or self._source_ended:
            return False
        most = self._most
        return len(self._exchanges) < most and self._started - self._taken < _AHEAD * most

    def start(self, event: Any) -> None:
        """Send an event, perhaps with others in one request.

        An event that is an :class:`EventError`, or malformed, is answered by its error.
        :data:`END` stands for no more events.
        """
        if event is END:
            self.end()
            return
        number = self._started
        self._started += 1
        try:
            if isinstance(event, EventError):
                raise event
            patience = Patience(self._settings, self._how.timeout)
            exchange = Exchange(self._asking, event, patience)
        except EventError as error:
            self._answers[number] = None, error
            return
        self._exchanges[number] = exchange
        self._filling = len(self._exchanges) < self._most
        self._gathered.append(number)
        if len(self._gathered) >= self._per_request or self._is_idle:
            self.flush()

    def end(self, error: Exception | None = None) -> None:
        """There are no more events; the source has failed if there is an ``error``."""
        self._source_ended = True
        self._source_error = error
        self.flush()

    def close(self) -> None:
        """Raise the error of the source, if it has failed; call it behind the last answer."""
        if self._source_error is not None:
            raise self._source_error

    def flush(self) -> None:
        """Send the events that wait for others in their request."""
        if self._gathered:
            self._send(self._gathered)
            self._gathered = []

    @property
    def _is_idle(self) -> bool:
        """Whether nothing is in flight, and the stream finds the number of events in a request."""
        return self._finds_per_request and len(self._calls) == len(self._ended)

    def take(self) -> Outcome | None:
        """The next answer; None if it has not arrived."""
        number = self._taken if self._how.ordered else next(iter(self._answers), -1)
        if number not in self._answers:
            return None
        self._taken += 1
        exchange, answer = self._answers.pop(number)
        if exchange is not None and not isinstance(answer, EventError):
            exchange.handed_out()
        return answer

    def advance(self) -> None:
        """Take the replies that have arrived, and send again the events that are due.

        Raises:
            ServerError: an event failed for another reason than its data.
        """
        while self._ended:
            self._settle(self._ended.popleft())
        if self._is_idle:
            self.flush()
        while self._delayed and self._delayed[0][0] <= time.monotonic():
            self._send([heapq.heappop(self._delayed)[1]])
        self._most = self._window.size * self._per_request

    def pause(self) -> float | None:
        """Seconds until an event is sent again; None if there is no such event."""
        if not self._delayed:
            return None
        return max(0.0, self._delayed[0][0] - time.monotonic())

    def cancel(self) -> bool:
        """Give up all requests in flight; return whether this was done.

        While Python ends, this does nothing: a thread may have stopped with a lock that it needs,
        and the end of the process gives up all requests. After a fork the requests are those of
        the other process.
        """
        if sys.is_finalizing() or os.getpid() != self._settings.process:
            return False
        for call in self._calls:
            call.cancel()
        return True

    def _servers(self) -> list[str]:
        """Names of the servers that get requests now."""
        if not isinstance(self._transport, Pool):
            return [self._settings.url]
        known = self._settings.identities.get(self._task.model, "")
        identity = self._task.identity or known
        return self._transport.usable(self._task.model, "" if identity == UNCHECKED else identity)

    def _send(self, numbers: list[int]) -> None:
        sent = []
        for number in numbers:
            try:
                self._exchanges[number].begin_try()
            except EventError as error:
                exchange = self._exchanges.pop(number)
                self._answers[number] = exchange, exchange.failed(error)
                self._filling = True
            else:
                sent.append(number)
        if not sent:
            return
        exchanges = [self._exchanges[number] for number in sent]
        call = self._submit(bundled(exchanges), time_for(exchanges))
        self._calls[call] = sent
        call.add_done_callback(self._end)

    def _end(self, call: Any) -> None:
        self._ended.append(call)
        self._wake()

    def _settle(self, call: Call) -> None:
        numbers = self._calls.pop(call)
        exchanges = [self._exchanges[number] for number in numbers]
        n_delayed = len(self._delayed)
        server = self._settings.url if call.via is None else call.via.server
        if call.via is not None:
            for exchange in exchanges:
                exchange.note(call.via)
        try:
            answers = unbundled(exchanges, call.result())
        except (EventError, ServerError) as error:
            answers = AnswerBundle([error] * len(numbers), 1)
        except InputError as error:
            raise explained(error, self._settings, self._transport, self._task.model) from error
        done = [
            exchange
            for number, exchange, answer in zip(numbers, exchanges, answers.answers, strict=True)
            if self._settle_event(number, exchange, answer, call.arrived)
        ]
        if len(self._delayed) > n_delayed:
            self._window.refused(server)
        elif done and self._timed:
            self._steer(server, done, answers.at_a_time)
        size = self._window.size
        burst = self._burst if self._per_request == 1 else 1
        rest = size - max(1, min(burst, size // 2))
        if len(self._exchanges) <= rest * self._per_request:
            self._filling = True

    def _settle_event(
        self, number: int, exchange: Exchange, answer: Tensors | TrackserveError, arrived: float
    ) -> bool:
        """Take the answer to one event; return whether it is a result."""
        settled: Outcome
        try:
            if isinstance(answer, TrackserveError):
                raise answer
            settled = exchange.result(answer, arrived)
        except EventError as error:
            settled = exchange.failed(error)
        except ServerError as error:
            try:
                due = time.monotonic() + exchange.retry_after(error)
            except EventError as late:
                settled = late
            else:
                heapq.heappush(self._delayed, (due, number))
                return False
        self._answers[number] = exchange, settled
        del self._exchanges[number]
        return not isinstance(settled, EventError)

    def _steer(self, server: str, done: list[Exchange], at_a_time: int) -> None:
        """Adjust the window, and the events per request, to the times of a reply of a server."""
        compute = sum(exchange.compute for exchange in done)
        self._window.answered(
            server,
            round_trip=done[0].round_trip,
            busy=max(exchange.queue + exchange.compute for exchange in done),
            service=compute / min(len(done), at_a_time),
            is_bundle=len(done) > 1,
        )
        if self._finds_per_request and compute > 0:
            mean, known = compute / len(done), self._settings.compute
            before = known.get(self._task.model, mean)
            known[self._task.model] = before + SMOOTHING * (mean - before)
            now = self._worth_a_request()
            if now != self._per_request:
                self._window.scale(self._per_request / now)
                self._per_request = now

    def _worth_a_request(self) -> int:
        """Good number of events in a request; 1 if the stream does not find it."""
        compute = self._settings.compute.get(self._task.model)
        if not self._finds_per_request or compute is None:
            return 1
        return max(1, min(round(_WORTH_A_REQUEST / compute), _MOST_PER_REQUEST))
