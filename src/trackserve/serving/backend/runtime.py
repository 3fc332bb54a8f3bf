"""The workers of a backend, which take batches of events from its queue.

Each event is answered by its own callback. :mod:`.triton` and :mod:`.native` are the ways to
Triton, :mod:`.tracker` is the way to the trackers.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from trackserve.edm.columns import Array
from trackserve.errors import (
    Cancelled,
    ServerBusy,
    ServerError,
    TrackserveError,
)
from trackserve.wire.codec import TIMING
from trackserve.wire.tensors import Pieces, encode_timing

from ..limits import Limits
from .metrics import COMPUTE_BUCKET, LATENCY_BUCKET, QUEUE_BUCKET, Amounts, Counters, Series, bucket

ASK_AFTER = 0.1
"""Seconds. If an event has waited for longer, its worker asks whether it is still wanted. Between
processes the question takes 0.1 ms, for a message there and back: too much for every event."""

_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(slots=True)
class EncodedEvent:
    """One event of a request.

    Attributes:
        tensors: its input tensors.
        outputs: names of the outputs that are wanted.
        arrived: time of its arrival, by :func:`time.perf_counter`; a deadline counts from then.
        decoded: what the tensors hold, if that is known; see :func:`.tracker.decode`.
        is_gathered: whether the answer is sent with others; then it is encoded with them.
    """

    tensors: Mapping[str, Array]
    outputs: Sequence[str]
    arrived: float = math.inf
    decoded: Any = None
    is_gathered: bool = False


class EncodedResult(NamedTuple):
    """The output tensors of one event, and figures for the metrics.

    Attributes:
        tensors: output tensors by name.
        found: number of objects that were found, by kind.
        seconds: time of each stage, by name.
        outcome: what the event came to: "ok", or "partial".
        rest: makes the tensors that are still missing; it may raise a :class:`TrackserveError`.
    """

    tensors: dict[str, Array]
    found: Mapping[str, int]
    seconds: Mapping[str, float]
    outcome: str = "ok"
    rest: Callable[[], Mapping[str, Array | Pieces]] = dict


Answer = EncodedResult | TrackserveError
RunBatch = Callable[[Iterable[EncodedEvent]], Iterator[Answer]]
"""Function that answers a batch: one answer per event, in order.

A model that works event by event takes an event, yields its answer, then takes the next event. A
model that works on all events together takes them all first.
"""


@dataclass(slots=True)
class Job:
    """One event in the runtime.

    Attributes:
        event: the event.
        send: function that sends the answer; it is called once.
        unwanted: function that returns whether nobody waits for the answer.
        request: id of its request, where it is logged.
        arrived: time of :meth:`Runtime.submit`, by :func:`time.perf_counter`.
        bytes: size of the input tensors.
    """

    event: EncodedEvent
    send: Callable[[Answer], None]
    unwanted: Callable[[], bool]
    request: str = ""
    arrived: float = 0.0
    bytes: int = 0


class Done(NamedTuple):
    """A job that has its answer, and the seconds that it waited and that it took."""

    job: Job
    answer: Answer
    queue: float
    compute: float


class Queue(Protocol):
    """The jobs of a model that wait for a worker, and the number of those that are held."""

    @property
    def held(self) -> int:
        """Jobs that have a place: they wait or are in work."""

    def reserve(self) -> ServerBusy | None:
        """Reserve a place for one job; return the error if there is none."""

    def put(self, job: Job) -> None:
        """Put a job into its place."""

    def take(self, n_workers: int) -> list[Job]:
        """Wait for jobs and take a batch: the share of one of ``n_workers``, within the limits.

        Empty if the queue is closed and no job is left.
        """

    def release(self) -> None:
        """Give back the place of a job that is answered."""

    def refuse_new(self) -> None:
        """Reserve no more places."""

    def close(self) -> None:
        """Refuse new jobs, and end the wait of the workers when no job is left."""


class JobQueue:
    """A queue in this process.

    A job goes to the worker that has waited for the shortest time: its data are still in its
    processor's caches.

    Args:
        limits: largest queue and batch.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = threading.Semaphore(limits.queue)
        self._lock = threading.Lock()
        self._idle: list[threading.Condition] = []
        self._waiting: deque[Job] = deque()
        self._held = 0
        self._stopping = False
        self._closed = False

    @property
    def held(self) -> int:
        return self._held

    def reserve(self) -> ServerBusy | None:
        if self._stopping:
            return stopping()
        if not self._places.acquire(blocking=self._limits.when_full == "wait"):
            return full(self._limits)
        return None

    def put(self, job: Job) -> None:
        with self._lock:
            self._waiting.append(job)
            self._held += 1
            if self._idle:
                self._idle.pop().notify()

    def take(self, n_workers: int) -> list[Job]:
        with self._lock:
            while not (self._waiting or self._closed):
                mine = threading.Condition(self._lock)
                self._idle.append(mine)
                mine.wait()
            share = math.ceil(len(self._waiting) / n_workers)
            most = min(share, self._limits.batch_events)
            batch: list[Job] = []
            size = 0
            while self._waiting and len(batch) < most:
                size += self._waiting[0].bytes
                if batch and size > self._limits.batch_bytes:
                    break
                batch.append(self._waiting.popleft())
            return batch

    def release(self) -> None:
        with self._lock:
            self._held -= 1
        self._places.release()

    def refuse_new(self) -> None:
        self._stopping = True

    def close(self) -> None:
        self.refuse_new()
        with self._lock:
            self._closed = True
            for worker in self._idle:
                worker.notify()
            self._idle.clear()


def full(limits: Limits) -> ServerBusy:
    """The error of an event that finds the queue full."""
    return ServerBusy("the server's queue is full", found=limits.queue, bound=limits.queue)


def stopping() -> ServerBusy:
    """The error of an event that comes while the server stops."""
    return ServerBusy("the server is stopping")


class Runtime:
    """Workers that answer jobs in batches.

    A worker takes at most its share of the waiting jobs. So batches grow under load, and all
    workers have work.

    Args:
        queue: the jobs.
        counters: sums for the metrics.
        ask_after: seconds that a job must have waited until its worker asks whether it is wanted.
        log: called with each job that has its answer; None: nothing is.
    """

    def __init__(
        self,
        queue: Queue,
        counters: Counters,
        ask_after: float = ASK_AFTER,
        log: Callable[[Done], None] | None = None,
    ) -> None:
        self._queue = queue
        self._log = log
        self._counters = counters
        self._ask_after = ask_after
        self._together = 1
        self._threads: list[threading.Thread] = []

    def add_workers(self, new_run: Callable[[], RunBatch], count: int) -> None:
        """Start workers.

        Args:
            new_run: makes the function that one worker runs; called in this thread, once per
                worker.
            count: number of workers; 0 is one per core.
        """
        runs = [new_run() for _ in range(count or cores())]
        threads = [
            threading.Thread(target=self._work, args=(run,), name=f"worker-{number}", daemon=True)
            for number, run in enumerate(runs, len(self._threads))
        ]
        self._threads += threads
        for thread in threads:
            thread.start()

    @property
    def held(self) -> int:
        """Jobs that wait or are in work."""
        return self._queue.held

    @property
    def at_a_time(self) -> int:
        """Number of jobs that run at the same time.

        A model that works event by event runs one job per worker. A model that runs events
        together counts with the largest batch so far.
        """
        return len(self._threads) * self._together

    def reserve(self) -> ServerBusy | None:
        """Reserve a place for one job; :meth:`submit` must follow.

        Returns:
            None, or the error if there is no place.
        """
        refusal = self._queue.reserve()
        if refusal is not None:
            self._counters.add((Series("trackserve_requests_total", "ServerBusy"), 1))
        return refusal

    def submit(self, job: Job) -> None:
        """Put a job into its place."""
        job.arrived = time.perf_counter()
        job.bytes = sum([array.nbytes for array in job.event.tensors.values()])
        self._queue.put(job)
        self._counters.later(_counts_of_arrival)

    def refuse_new(self) -> None:
        """Reserve no more places; jobs that have a place are still done."""
        self._queue.refuse_new()

    def close(self) -> None:
        """Do all jobs that have a place, then end the workers."""
        self._queue.close()
        for thread in self._threads:
            thread.join()

    def _work(self, run: RunBatch) -> None:
        while batch := self._queue.take(len(self._threads)):
            size = sum([job.bytes for job in batch])
            self._counters.later(partial(_counts_of_batch, len(batch), size))
            while batch:
                batch = self._run(run, batch)

    def _run(self, run: RunBatch, batch: list[Job]) -> list[Job]:
        """Answer the jobs of a batch; return the rest if one of them broke the run."""
        rest = iter(batch)
        taken: deque[tuple[Job, float]] = deque()

        def events() -> Iterator[EncodedEvent]:
            for job in rest:
                if not self._give_up(job):
                    taken.append((job, time.perf_counter()))
                    self._together = max(self._together, len(taken))
                    job.event.arrived = job.arrived
                    yield job.event

        reason = "no answer"
        try:
            for answer in run(events()):
                job, start = taken.popleft()
                self._answer(job, answer, start)
        except BaseException as error:  # whatever it is, the worker goes on
            reason = f"{type(error).__name__}: {error}"
        left = list(rest)
        if len(left) == len(batch):  # the run takes no event, so it would not take the next either
            now = time.perf_counter()
            taken.extend((job, now) for job in left)
            left = []
        for job, start in taken:
            self._answer(job, ServerError("the model failed", reason=reason), start)
        return left

    def _give_up(self, job: Job) -> bool:
        now = time.perf_counter()
        if now - job.arrived < self._ask_after:
            return False
        try:
            is_unwanted = job.unwanted()
        except Exception:  # Triton cannot tell
            return False
        if is_unwanted:
            self._answer(job, Cancelled("nobody waits for the answer"), now)
        return is_unwanted

    def _answer(self, job: Job, answer: Answer, start: float) -> None:
        queue, compute = start - job.arrived, time.perf_counter() - start
        outcome, found, seconds = type(answer).__name__, _NONE, _NONE
        if isinstance(answer, EncodedResult):
            outcome, found, seconds = answer.outcome, answer.found, answer.seconds
            if TIMING.name in job.event.outputs:
                answer.tensors[TIMING.name] = encode_timing(queue, compute)
        self._counters.later(partial(_counts_of_event, queue, compute, outcome, found, seconds))
        if self._log is not None:
            self._log(Done(job, answer, queue, compute))
        send_surely(job.send, answer)
        self._queue.release()


_NONE: Mapping[str, float] = {}


def _counts_of_arrival() -> Amounts:
    """What an event that is put into its place adds to the metrics."""
    yield "trackserve_waiting", {"": 1}
    yield "trackserve_held", {"": 1}


def _counts_of_batch(n: int, size: int) -> Amounts:
    """What a batch of ``n`` events, whose inputs have ``size`` bytes, adds to the metrics."""
    yield "trackserve_batches_total", {"": 1}
    yield "trackserve_batched_requests_total", {"": n}
    yield "trackserve_input_bytes_total", {"": size}
    yield "trackserve_waiting", {"": -n}


def _counts_of_event(
    queue: float,
    compute: float,
    outcome: str,
    found: Mapping[str, float],
    seconds: Mapping[str, float],
) -> Amounts:
    """What an event that has its answer adds to the metrics.

    Args:
        queue, compute: seconds that it waited, and that it took.
        outcome: what it came to.
        found: number of objects that were found, by kind.
        seconds: time of each stage, by name.
    """
    yield "trackserve_requests_total", {outcome: 1}
    yield "trackserve_queue_seconds_total", {"": queue}
    yield "trackserve_compute_seconds_total", {"": compute}
    yield "trackserve_held", {"": -1}
    yield QUEUE_BUCKET, {bucket(QUEUE_BUCKET, queue).label: 1}
    yield COMPUTE_BUCKET, {bucket(COMPUTE_BUCKET, compute).label: 1}
    yield LATENCY_BUCKET, {bucket(LATENCY_BUCKET, queue + compute).label: 1}
    yield "trackserve_found_total", found
    yield "trackserve_stage_seconds_total", seconds


def send_surely(send: Callable[[Answer], None], answer: Answer) -> None:
    """Send an answer, or the error that says why it cannot be sent; raise nothing."""
    try:
        send(answer)
    except Exception as error:
        if isinstance(answer, EncodedResult):
            failure = ServerError("the answer cannot be sent", reason=str(error))
            with suppress(Exception):
                send(failure)


def cores() -> int:
    """Number of cores that this process may use, by its affinity and its container's quota."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        return max(1, min(count, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return count
