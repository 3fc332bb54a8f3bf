"""A request that may go to several servers, until one answers."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from trackserve.errors import Cancelled, DeadlineExceeded, EventError, TrackserveError
from trackserve.wire.tensors import Tensors

from .lane import Attempt, Connection, is_for_another
from .transport import Call, Request, Via

if TYPE_CHECKING:
    from .pool import Pool

_MOST_STALLS = 3
"""Servers that may have stalled before a request goes to no further one: an event that takes very
long must not stall them all."""


class RoutedCall(Call):
    """A request to a pool of servers; ``via`` tells at last which one has answered.

    Args:
        pool: the servers.
        request: the request.
        timeout: seconds until it must be answered.
    """

    def __init__(self, pool: Pool, request: Request, timeout: float) -> None:
        super().__init__()
        self.give_up = self._cancel_attempts
        self.deadline = time.monotonic() + timeout
        self._pool = pool
        self._request = request
        self._tried: set[Connection] = set()
        self._calls: dict[Attempt, Call | None] = {}
        self._n_tries = 0
        self._n_stalls = 0
        self._is_claimed = False

    def send(self) -> None:
        """Send the request to the best server; fail if there is none."""
        if not self._send_to_another():
            self.end(self._pool.why_none(self._request))

    def send_again(self) -> bool:
        """Send the request to another server too, because one has stalled.

        Returns:
            whether there is nothing left to do; False: there is no other server now.
        """
        if self._n_stalls > _MOST_STALLS:
            return True
        if self._send_to_another(only_here=self._n_stalls == _MOST_STALLS):
            self._n_stalls += 1
            return True
        return False

    def expire(self) -> None:
        """Fail, because the deadline is over."""
        self.end(DeadlineExceeded("no answer in time", url=self._pool.url))

    def end(self, reply: Tensors | TrackserveError, via: Via | None = None) -> None:
        """Settle the call, if it is not settled, and give up what is in flight for it."""
        with self._pool.lock:
            if self._is_claimed:
                return
            self._is_claimed = True
        self.via = via or Via("", self._n_tries)
        self.settle(reply)
        self._cancel_attempts()

    def _send_to_another(self, *, only_here: bool = False) -> bool:
        """Send the request to the best server that has not had it; return whether there is one."""
        pool = self._pool
        with pool.lock:
            if self._is_over:
                return True
            found = pool.choose(self._request, self._tried, only_here=only_here)
            if found is None:
                return False
            lane, usual = found
            attempt = Attempt(self, lane, self._request)
            lane.begin(attempt, usual)
            self._tried.add(attempt.connection)
            self._calls[attempt] = None
            self._n_tries += 1
        left = max(0.0, self.deadline - time.monotonic())
        call = attempt.connection.transport.submit(self._request, left)
        self._calls[attempt] = call
        call.add_done_callback(lambda _: self._ended(attempt, call))
        if self._is_over:
            call.cancel()
        return True

    @property
    def _is_over(self) -> bool:
        return self._is_claimed or self.done()

    def _ended(self, attempt: Attempt, call: Call) -> None:
        """Take the answer of a server, or try another one."""
        reply: Tensors | TrackserveError
        try:
            reply = call.result()
        except CancelledError:
            reply = Cancelled("the request was cancelled", url=attempt.lane.server.url)
        except TrackserveError as error:
            reply = error
        is_answer = not isinstance(reply, TrackserveError) or isinstance(reply, EventError)
        pool = self._pool
        with pool.lock:
            attempt.lane.end(attempt, is_answer)
            self._calls.pop(attempt)
            if self._is_over:
                return
            is_alone = not self._calls
        if isinstance(reply, TrackserveError) and not is_answer:
            pool.failed(attempt, reply)
            is_to_try = pool.retry and is_for_another(reply)
            if is_to_try and (self._send_to_another() or not is_alone):
                return
        server = attempt.lane.server
        self.end(reply, Via(server.url, self._n_tries, not server.url, attempt.lane.identity))

    def _cancel_attempts(self) -> None:
        with self._pool.lock:
            calls = [call for call in self._calls.values() if call is not None]
        for call in calls:
            call.cancel()
