"""The counters of a backend, and the thread that reports them to Prometheus."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple


class Series(NamedTuple):
    """One line of a Prometheus metric: its name and the value of its one label, if any."""

    metric: str
    label: str = ""


class Metric(NamedTuple):
    """A Prometheus metric: its help, its label beside ``model``, and whether it can fall."""

    help: str
    label: str = ""
    gauge: bool = False


QUEUE_BUCKET = "trackserve_queue_seconds_bucket"
COMPUTE_BUCKET = "trackserve_compute_seconds_bucket"
LATENCY_BUCKET = "trackserve_latency_seconds_bucket"
RESTARTS = "trackserve_restarts"

METRICS = {
    "trackserve_requests_total": Metric("Events answered, by outcome", "outcome"),
    "trackserve_batches_total": Metric("Batches that workers took"),
    "trackserve_batched_requests_total": Metric("Events in those batches"),
    "trackserve_input_bytes_total": Metric("Bytes of the inputs of those events"),
    "trackserve_found_total": Metric("Objects reconstructed, by kind", "kind"),
    "trackserve_queue_seconds_total": Metric("Time that events waited for a worker"),
    "trackserve_compute_seconds_total": Metric("Time that workers took for events"),
    "trackserve_stage_seconds_total": Metric("Time that the stages took", "stage"),
    "trackserve_waiting": Metric("Events that wait for a worker", gauge=True),
    "trackserve_identity": Metric("Backend processes, by identity", "identity", gauge=True),
    "trackserve_held": Metric("Events that wait or are in work", gauge=True),
    "trackserve_build_info": Metric("Backend processes, by version", "version", gauge=True),
    RESTARTS: Metric("Times that Triton was started anew", gauge=True),
    QUEUE_BUCKET: Metric("Events that waited for at most so many seconds", "le"),
    COMPUTE_BUCKET: Metric("Events that took a worker at most so many seconds", "le"),
    LATENCY_BUCKET: Metric("Events answered after at most so many seconds", "le"),
}
"""All metrics by name; each has the label ``model`` too. An event of a bundle counts as one.

Triton's version that we run has no histograms for backends, so a histogram is a counter with the
label ``le``, as Prometheus takes it.
"""

_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the histograms' buckets, seconds."""
Amounts = Iterable[tuple[str, Mapping[str, float]]]
"""Names of metrics, each with what to add by value of its label."""
_MOST_LATER = 64
"""Most things that wait to be added."""
_BUCKETS = {
    metric: [Series(metric, bound) for bound in (*map(str, _BOUNDS), "+Inf")]
    for metric in (QUEUE_BUCKET, COMPUTE_BUCKET, LATENCY_BUCKET)
}


def bucket(metric: str, seconds: float) -> Series:
    """The narrowest bucket of a histogram that a time falls into."""
    return _BUCKETS[metric][bisect_left(_BOUNDS, seconds)]


class Counters:
    """Sums that many threads add to.

    Triton's own metrics take a message between processes for each call, and two threads that
    call at the same time kill the server. So threads add here, and one thread reports.
    """

    def __init__(self) -> None:
        self.collect: Callable[[], None] = lambda: None
        """Adds what is counted elsewhere; called before each report."""
        self._lock = threading.Lock()
        self._unreported: defaultdict[str, defaultdict[str, float]] = defaultdict(_zeros)
        self._later: deque[Callable[[], Amounts]] = deque()

    def later(self, amounts: Callable[[], Amounts]) -> None:
        """Add what ``amounts`` returns before the next report.

        This costs less than to add it at once: those of a second run one after the other, so that
        their code and data are in the processor's caches.
        """
        self._later.append(amounts)
        if len(self._later) >= _MOST_LATER:
            self._add_what_waits()

    def _add_what_waits(self) -> None:
        with suppress(IndexError):  # another thread does the same
            for _ in range(len(self._later)):
                self._add_all(self._later.popleft()())

    def _add_all(self, amounts: Amounts) -> None:
        with self._lock:
            for metric, more in amounts:
                sums = self._unreported[metric]
                for label, amount in more.items():
                    sums[label] += amount

    def add(self, *amounts: tuple[Series, float]) -> None:
        """Add to some series, all at once."""
        self._add_all((series.metric, {series.label: amount}) for series, amount in amounts)

    def take(self) -> dict[Series, float]:
        """The sums since the last call, without zeros; a bucket has those of all narrower ones."""
        self.collect()
        self._add_what_waits()
        taken: defaultdict[Series, float] = defaultdict(float)
        with self._lock:
            for metric, sums in self._unreported.items():
                for label, amount in sums.items():
                    taken[Series(metric, label)] = amount
            self._unreported.clear()
        for buckets in _BUCKETS.values():
            total = 0.0
            for series in buckets:
                total += taken[series]
                taken[series] = total
        return {series: amount for series, amount in taken.items() if amount}


def _zeros() -> defaultdict[str, float]:
    return defaultdict(float)


class Reporter:
    """A thread that reports the sums every ``period`` seconds, until it is closed."""

    def __init__(
        self, counters: Counters, report: Callable[[Series, float], None], period: float
    ) -> None:
        self._counters = counters
        self._report = report
        self._period = period
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Report what is left and end the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._period):
            self._report_all()
        self._report_all()

    def _report_all(self) -> None:
        for series, amount in self._counters.take().items():
            self._report(series, amount)
