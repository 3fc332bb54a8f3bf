"""A request that may go to several servers, until one answers."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from trackserve.errors import Cancelled, DeadlineExceeded, EventError, TrackserveError
from trackserve.wire.tensors import Tensors

from .lane import Attempt, Connection, Server, is_for_another
from .transport import Call, Request, Via

if TYPE_CHECKING:
    from .pool import Pool

_MOST_STALLS = 2
"""Servers that have a request, and have stalled though they can be reached, before it goes to no
further one: an event that takes very long must not stall them all."""


class RoutedCall(Call):
    """A request to a pool of servers; ``via`` tells at last which one has answered.

    Args:
        pool: the servers.
        request: the request.
        timeout: seconds until it must be answered.
    """

    def __init__(self, pool: Pool, request: Request, timeout: float) -> None:
        super().__init__()
        self.on_cancel(self._cancel_attempts)
        self.deadline = time.monotonic() + timeout
        self._pool = pool
        self._request = request
        self._tried: dict[Server, Connection] = {}
        self._calls: dict[Attempt, Call | None] = {}
        self._n_tries = 0
        self._is_claimed = False

    def send(self) -> None:
        """Send the request to the best server; fail if there is none."""
        if not self._send_to_another():
            self.end(self._pool.why_none(self._request))

    def send_again(self) -> bool:
        """Send the request to another server too, because one has stalled.

        It goes to the same server by a new connection if the old one is lost.

        Returns:
            whether this is done; False: there is no other server now, or none that may get it.
        """
        return len(self._excluded) < _MOST_STALLS and self._send_to_another()

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

    @property
    def _excluded(self) -> set[Server]:
        """The servers that have had the request, and may still answer it."""
        return {server for server, through in self._tried.items() if not through.is_lost}

    def _send_to_another(self) -> bool:
        """Send the request to the best server that has not had it; return whether there is one."""
        pool = self._pool
        with pool.lock:
            if self._is_over:
                return True
            found = pool.choose(self._request, self._excluded)
            if found is None:
                return False
            lane, usual = found
            attempt = Attempt(self, lane, self._request)
            lane.begin(attempt, usual)
            self._tried[lane.server] = attempt.connection
            self._calls[attempt] = None
            self._n_tries += 1
        left = max(0.0, self.deadline - time.monotonic())
        call = attempt.connection.transport.submit(self._request, left)
        self._calls[attempt] = call
        call.add_done_callback(partial(self._ended, attempt))
        if self._is_over:
            call.cancel()
        return True

    @property
    def _is_over(self) -> bool:
        return self._is_claimed or self.done()

    def _ended(self, attempt: Attempt, call: Any) -> None:
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
        if isinstance(reply, TrackserveError) and not is_answer:
            pool.failed(attempt, reply)
            is_to_try = pool.retry and is_for_another(reply)
            if is_to_try and (self._send_to_another() or self._calls):
                return
        server = attempt.lane.server
        self.end(reply, Via(server.url, self._n_tries, not server.url, attempt.lane.identity))

    def _cancel_attempts(self) -> None:
        with self._pool.lock:
            calls = [call for call in self._calls.values() if call is not None]
        for call in calls:
            call.cancel()
