"""One answer from those of several events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trackserve.errors import ServerError
from trackserve.wire.bundle import BUNDLE, Item, join_answers
from trackserve.wire.codec import TIMING

from .runtime import Answer, Reply


class Gather:
    """Collects the answers of the events of a bundle, from any threads, and sends them together.

    Args:
        n: events.
        at_a_time: how many events the server reconstructs at a time.
        send: gets the bundle of their answers once all are there.
    """

    def __init__(self, n: int, at_a_time: int, send: Callable[[Answer], None]) -> None:
        self._answers: list[Item] = [ServerError("no answer")] * n
        self._done = [0.0] * n
        self._missing = n
        self._at_a_time = at_a_time
        self._send = send
        self._lock = threading.Lock()

    def put(self, place: int, answer: Answer) -> None:
        """The answer of the event in that place of the bundle, once."""
        self._answers[place] = answer.tensors if isinstance(answer, Reply) else answer
        self._done[place] = time.perf_counter()
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        now = time.perf_counter()
        for tensors, done in zip(self._answers, self._done, strict=True):
            if not isinstance(tensors, Exception) and TIMING.name in tensors:
                tensors[TIMING.name][0] += now - done
        self._send(Reply({BUNDLE.name: join_answers(self._answers, self._at_a_time)}, {}, {}))
