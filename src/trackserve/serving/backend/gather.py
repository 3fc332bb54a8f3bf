"""One reply from the answers of several events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trackserve.errors import ServerError, TrackserveError
from trackserve.wire.bundle import BUNDLE, OutputsOrError, join_answers
from trackserve.wire.codec import TIMING

from .runtime import Answer, EncodedResult, send_surely


class Gather:
    """Collects the answers of the events of a bundle, from any threads, and sends them together.

    Args:
        n: number of events.
        at_a_time: number of events that the server reconstructs at a time.
        send: called once with the bundle of all answers.
    """

    def __init__(self, n: int, at_a_time: int, send: Callable[[Answer], None]) -> None:
        self._answers: list[Answer] = [ServerError("no answer")] * n
        self._done = [0.0] * n
        self._missing = n
        self._at_a_time = at_a_time
        self._send = send
        self._lock = threading.Lock()

    def put(self, place: int, answer: Answer) -> None:
        """Take the answer of the event at ``place`` in the bundle; each place has one answer."""
        self._answers[place] = answer
        self._done[place] = time.perf_counter()
        with self._lock:
            self._missing -= 1
            if self._missing:
                return
        send_surely(self._send, self._joined())

    def _joined(self) -> Answer:
        now = time.perf_counter()
        try:
            pairs = zip(self._answers, self._done, strict=True)
            answers = [_encoded(answer, now - done) for answer, done in pairs]
            bundle = join_answers(answers, self._at_a_time)
        except Exception as error:
            return ServerError("the answers cannot be joined", reason=repr(error))
        return EncodedResult({BUNDLE.name: bundle}, {}, {})


def _encoded(answer: Answer, waited: float) -> OutputsOrError:
    """The tensors of an answer that has waited for others for so many seconds."""
    if isinstance(answer, TrackserveError):
        return answer
    if TIMING.name in answer.tensors:
        answer.tensors[TIMING.name][0] += waited
    try:
        return {**answer.rest(), **answer.tensors}
    except TrackserveError as error:
        return error
