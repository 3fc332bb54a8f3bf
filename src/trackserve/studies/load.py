"""Loads: events again and again, for a while, by threads or by a stream of a client.

The rate is that of the answers after a lead, in which the way fills: so neither filling nor
emptying it counts.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trackserve.errors import EventError

if TYPE_CHECKING:
    from trackserve.client import Client, Timings

_LEAD_OF_AUTO = 0.4
"""Part of the time in which a stream finds its window; those answers do not count."""


class Span(NamedTuple):
    """How long a load is measured.

    Attributes:
        seconds: how long answers count.
        least: least number of answers that make a rate; more for many at a time.
    """

    seconds: float
    least: int = 6

    def answers(self, at_a_time: int) -> int:
        """Least number of answers of so many at a time."""
        return self.least * (2 + at_a_time) // 3


class Load(NamedTuple):
    """What a load came to.

    Attributes:
        rate: answers per second.
        latencies: seconds of each event, from the event to its result.
        answered: number of answers that count.
        different: number of all answers that are not the expected ones.
        usual: seconds of an event: the median of each, and the mean of these. (A median over
            events of several sizes jumps from one size to the next.)
        start, end: time of the first and last answer that count, by :func:`time.perf_counter`.
    """

    rate: float
    latencies: list[float]
    answered: int
    different: int
    usual: float
    start: float
    end: float

    def percentile(self, percent: float) -> float:
        """Latency, seconds."""
        return float(np.percentile(self.latencies, percent))


class Log:
    """The answers of a load; it is over when there are enough.

    Args:
        span: how long it is.
        at_a_time: number of events at a time.
        lead_answers, lead_seconds: what passes first.
        expected: results by number of event; others are not compared.
    """

    def __init__(
        self,
        span: Span,
        at_a_time: int,
        lead_answers: int,
        lead_seconds: float,
        expected: Mapping[int, Any],
    ) -> None:
        self._lock = threading.Lock()
        self._seconds = span.seconds
        self._least = span.answers(at_a_time)
        self._lead_answers = lead_answers
        self._begin = time.perf_counter() + lead_seconds
        self._expected = expected
        self._seen = 0
        self._times: list[float] = []
        self._latencies: list[float] = []
        self._each: defaultdict[int, list[float]] = defaultdict(list)
        self._different = 0
        self.over = False

    def add(self, answer: Any, latency: float) -> None:
        """Take an answer into account.

        Raises:
            EventError: it is one.
        """
        now = time.perf_counter()
        if isinstance(answer, EventError):
            self.over = True
            raise answer
        different = answer.event in self._expected and answer != self._expected[answer.event]
        with self._lock:
            self._seen += 1
            self._different += different
            if self.over or self._seen < self._lead_answers or now < self._begin:
                return
            self._times.append(now)
            self._latencies.append(latency)
            self._each[answer.event].append(latency)
            enough = len(self._times) > self._least
            self.over = enough and now - self._times[0] >= self._seconds

    def load(self) -> Load:
        first, last, n = self._times[0], self._times[-1], len(self._times) - 1
        rate = n / (last - first) if n else math.nan
        latencies = self._latencies[1:] or self._latencies
        usual = fmean(map(median, self._each.values()))
        return Load(rate, latencies, n, self._different, usual, first, last)


def by_threads(
    call: Callable[[Any], Any],
    events: Sequence[Any],
    threads: int,
    span: Span,
    expected: Mapping[int, Any],
) -> Load:
    """Load of threads, each of which has one event at a time.

    Args:
        call: returns the result of an event, or raises.
        events: are taken in turns.
        threads: number of threads.
        span: how long it is measured.
        expected: results by number of event.

    Raises:
        TrackserveError: as ``call``; an event failed.
    """
    log = Log(span, threads, threads, 0.0, expected)
    source = itertools.cycle(events)
    lock = threading.Lock()

    def work() -> None:
        try:
            while not log.over:
                with lock:
                    event = next(source)
                start = time.perf_counter()
                answer = call(event)
                log.add(answer, time.perf_counter() - start)
        except BaseException:
            log.over = True
            raise

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work) for _ in range(threads)]:
            future.result()
    return log.load()


def by_stream(
    client: Client,
    model: str,
    events: Sequence[Any],
    span: Span,
    expected: Mapping[int, Any],
    timings: list[Timings],
    *,
    in_flight: int | None = None,
    per_request: int | None = None,
    identity: str | None = None,
    lead: float | None = None,
) -> Load:
    """Load of a stream of a client.

    Args:
        client, model, in_flight, per_request, identity: as of
            :meth:`trackserve.client.Client.stream`.
        events, span, expected: as of :func:`by_threads`.
        lead: seconds that do not count; by default a part of the span if the stream finds its own
            window, else none.
        timings: gets the times of each event, because the client was made with its ``append``;
            those of events that do not count are removed.

    Raises:
        TrackserveError: as of the stream; an event failed.
    """
    together = (in_flight or 1) * (per_request or 1)
    if lead is None:
        lead = 0.0 if in_flight else _LEAD_OF_AUTO * span.seconds
    log = Log(span, together, together, lead, expected)

    def source() -> Iterator[Any]:
        for event in itertools.cycle(events):
            if log.over:
                return
            yield event

    timings.clear()
    answers = client.stream(
        model,
        source(),
        in_flight=in_flight,
        per_request=per_request,
        ordered=False,
        identity=identity,
    )
    n_before = 0
    for n, answer in enumerate(answers, 1):
        log.add(answer, timings[n - 1].total if len(timings) >= n else 0.0)
        if log.over and not n_before:
            n_before = n
    load = log.load()
    timings[:] = timings[n_before - load.answered : n_before]
    return load
