"""Runs a job over events: some in flight, on some threads, out in order.

All threads take ready tasks from one heap under one lock. Who ends a task settles it, and takes the
next one, while holding the lock once. Tasks that send work elsewhere come first, then those of the
oldest event. The thread of the caller computes nothing, so that it gets the user's interrupt.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, NamedTuple

from trackserve.errors import EventError, InputError, ModuleFailed
from trackserve.trackers.batch import one_by_one

from .job import Job, Step
from .module import Module
from .timeline import EXTERNAL, MODULE, READ, SEND, Slice

_AHEAD = 4
"""Events that may be started and not yet handed out, per event in flight."""
_LOOK = 0.25
"""Seconds between looks for answers that are overdue."""
_LAST_MODULE = 10.0
"""Seconds that an interrupted job waits for the modules that run."""
_END: Any = object()


class Schedule(NamedTuple):
    """How a job is run.

    Attributes:
        threads: number of threads.
        in_flight: events in flight; None: two for each thread.
        keep: names of the products that are handed out.
    """

    threads: int = 1
    in_flight: int | None = None
    keep: tuple[str, ...] = ()

    @property
    def most_in_flight(self) -> int:
        """Number of events in flight."""
        return self.in_flight or 2 * self.threads


@dataclass(frozen=True, slots=True)
class Processed:
    """What an event came to.

    Attributes:
        index: its place in the stream, from 0.
        products: the products to keep, by name; of an event that failed, those that were made.
        error: why it failed; None if it did not.
        module: name of the module that failed; empty if none did.
        start, end: when it was read, and when it was done, ns, by :func:`time.perf_counter_ns`.
    """

    index: int
    products: dict[str, Any]
    error: EventError | None
    module: str
    start: int
    end: int

    @property
    def seconds(self) -> float:
        """Time in flight, s."""
        return 1e-9 * (self.end - self.start)


def run(
    job: Job,
    events: Iterable[Any],
    how: Schedule = Schedule(),  # noqa: B008  # it cannot change
    watch: Callable[[Slice], object] | None = None,
) -> Generator[Processed, None, None]:
    """Run a job over events.

    Args:
        job: the job.
        events: any number, see :func:`trackserve.trackers.batch.one_by_one`; a thread of the job
            reads them, one after the other, as there is room. An
            :class:`~trackserve.errors.EventError` among them is an event that failed.
        how: threads, events in flight, products to keep.
        watch: called with each slice of the timeline, by any thread.

    Returns:
        each event, in order. If reading ``events`` fails, that error is raised behind them. If the
        loop is left early, no task is begun any more, and work elsewhere is cancelled.

    Raises:
        InputError: a number in ``how`` is not positive.
        JobError: no module makes a product to keep.
    """
    for name, number in (("threads", how.threads), ("in_flight", how.in_flight)):
        if number is not None and number < 1:
            raise InputError(f"{name} is not positive", found=number)
    return _begun(job, _Scheduler(job, one_by_one(events), how, watch))


def _begun(job: Job, scheduler: _Scheduler) -> Generator[Processed, None, None]:
    with ExitStack() as stack:
        for module in job.modules:
            stack.callback(module.end)
            module.begin()
        yield from scheduler.run()


class _Flight:
    """An event in flight."""

    __slots__ = (
        "calls",
        "end",
        "error",
        "index",
        "is_done",
        "left",
        "module",
        "products",
        "start",
        "waits",
    )

    def __init__(self, index: int, event: Any, job: Job, start: int) -> None:
        self.index = index
        self.products: list[Any] = [None] * len(job.products)
        self.products[:2] = event, index
        self.waits = [step.n_waits for step in job.steps]
        self.left = len(job.steps)
        self.is_done = False
        self.error: EventError | None = None
        self.module = ""
        self.calls: dict[int, _Call] = {}
        self.start = start
        self.end = 0


class _Call(NamedTuple):
    """Work elsewhere: its future, and when it was sent, ns."""

    future: Future[Any]
    sent: int


class _Task(NamedTuple):
    """What a thread does next. Tasks are compared by their first three fields, which differ.

    Attributes:
        order: 0 if urgent, else 1.
        event: place of the event in the stream.
        rank: rank of the step; -1: to read the event.
        flight: the event; None: it is to be read.
        answer: the future of work elsewhere that is done; None: there is none yet.
    """

    order: int
    event: int
    rank: int
    flight: _Flight | None
    answer: Future[Any] | None


class _Scheduler:
    def __init__(
        self,
        job: Job,
        source: Iterator[Any],
        how: Schedule,
        watch: Callable[[Slice], object] | None,
    ) -> None:
        self._job = job
        self._steps = job.steps
        self._first = [rank for rank, step in enumerate(job.steps) if not step.n_waits]
        self._source = source
        self._source_error: Exception | None = None
        self._keep = job.places(how.keep)
        self._most = how.most_in_flight
        self._watch = watch
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._idle = 0
        self._ready: list[_Task] = [_Task(0, 0, -1, None, None)]
        self._flights: set[_Flight] = set()
        self._n_started = self._n_taken = 0
        self._is_reading = True
        self._source_ended = self._stopped = False
        self._done: queue.SimpleQueue[_Flight | BaseException | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, args=(n,), name=f"job thread {n}", daemon=True)
            for n in range(how.threads)
        ]

    def run(self) -> Generator[Processed, None, None]:
        """Each event, in order."""
        waiting: dict[int, _Flight] = {}
        try:
            for thread in self._threads:
                thread.start()
            while not (self._source_ended and self._n_taken == self._n_started):
                flight = waiting.pop(self._n_taken, None)
                if flight is not None:
                    self._taken()
                    yield self._processed(flight)
                    continue
                try:
                    found = self._done.get(timeout=_LOOK)
                except queue.Empty:
                    self._fail_overdue()
                    continue
                if isinstance(found, BaseException):
                    raise found
                if found is not None:
                    waiting[found.index] = found
            if self._source_error is not None:
                raise self._source_error
        finally:
            self._stop()

    def _processed(self, flight: _Flight) -> Processed:
        products = {name: flight.products[place] for name, place in self._keep.items()}
        return Processed(
            flight.index, products, flight.error, flight.module, flight.start, flight.end
        )

    def _taken(self) -> None:
        with self._lock:
            self._n_taken += 1
            self._read_on()

    def _stop(self) -> None:
        with self._lock:
            self._stopped = True
            calls = [call.future for flight in self._flights for call in flight.calls.values()]
            self._wake.notify_all()
        for future in calls:
            future.cancel()
        until = time.monotonic() + _LAST_MODULE
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def _fail_overdue(self) -> None:
        """Fail the events that wait for work elsewhere for too long."""
        now = time.perf_counter_ns()
        overdue: list[Future[Any]] = []
        with self._lock:
            for flight in list(self._flights):
                for rank, call in flight.calls.items():
                    module: Any = self._steps[rank].module
                    if now - call.sent > 1e9 * module.timeout:
                        reason = f"no answer in {module.timeout:g} s"
                        error = _failed(flight, module.name, reason)
                        overdue += self._fail(flight, module.name, error)
                        break
        for future in overdue:
            future.cancel()

    # what follows is done by the job's threads

    def _work(self, thread: int) -> None:
        done: _Settle | None = None
        try:
            while True:
                with self._lock:
                    unwanted = done.by(*done.arguments) if done is not None else ()
                    task = None if unwanted else self._next()
                done = None
                for future in unwanted:  # without the lock, which their callbacks want
                    future.cancel()
                if task is not None:
                    done = self._do(task, thread)
                elif not unwanted:
                    return
        except BaseException as error:
            self._done.put(error)

    def _next(self) -> _Task | None:
        """The next task, waiting for it; None: there will be none. The lock is held."""
        while not self._stopped:
            if self._ready:
                task = heappop(self._ready)
                if task.flight is not None and task.flight.is_done:
                    continue
                if self._ready and self._idle:
                    self._wake.notify()
                return task
            self._idle += 1
            self._wake.wait()
            self._idle -= 1
        return None

    def _do(self, task: _Task, thread: int) -> _Settle | None:
        """Do a task; return what then is to be settled."""
        flight, rank = task.flight, task.rank
        if flight is None:
            return self._read(task.event, thread)
        step = self._steps[rank]
        products = flight.products
        inputs = [products[place] for place in step.inputs]
        start = time.perf_counter_ns()
        module: Any = step.module
        kind = MODULE
        try:
            if not step.is_external:
                _store(step, products, module.produce(*inputs))
            elif task.answer is not None:
                _store(step, products, module.produce(task.answer.result(), *inputs))
            else:
                kind = SEND
                self._send(flight, rank, module.acquire(*inputs))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a user's code may exit, or panic in another language
            return _Settle(
                self._fail, (flight, module.name, _as_event_error(flight, module, error))
            )
        finally:
            self._show(kind, step, flight, thread, start)
        return None if kind is SEND else _Settle(self._finish_step, (flight, step))

    def _read(self, index: int, thread: int) -> _Settle:
        start = time.perf_counter_ns()
        try:
            event = next(self._source, _END)
        except Exception as error:
            return _Settle(self._end_source, (error,))
        if event is _END:
            return _Settle(self._end_source, (None,))
        end = time.perf_counter_ns()
        if self._watch is not None:
            self._watch(Slice(READ, "", index, thread, start, end))
        return _Settle(self._start, (_Flight(index, event, self._job, end),))

    def _send(self, flight: _Flight, rank: int, future: Future[Any]) -> None:
        """Take note of work elsewhere."""
        if not isinstance(future, Future):
            raise TypeError(f"acquire returned no Future but {future!r:.80}")
        with self._lock:
            is_wanted = not (flight.is_done or self._stopped)
            if is_wanted:
                flight.calls[rank] = _Call(future, time.perf_counter_ns())
        if is_wanted:
            future.add_done_callback(lambda future: self._answered(flight, rank, future))
        else:
            future.cancel()

    def _answered(self, flight: _Flight, rank: int, future: Future[Any]) -> None:
        """Work elsewhere is done; any thread calls this."""
        step = self._steps[rank]
        with self._lock:
            call = flight.calls.pop(rank)
            if flight.is_done or self._stopped:
                return
            heappush(self._ready, _Task(1 - step.is_urgent, flight.index, rank, flight, future))
            self._wake.notify()
        self._show(EXTERNAL, step, flight, -1, call.sent)

    def _show(self, kind: str, step: Step, flight: _Flight, thread: int, start: int) -> None:
        if self._watch is not None:
            end, module = time.perf_counter_ns(), step.module
            self._watch(
                Slice(kind, module.name, flight.index, thread, start, end, module.is_emulated)
            )

    # what follows is called with the lock held; it returns the futures to cancel without it

    def _start(self, flight: _Flight) -> Iterable[Future[Any]]:
        self._is_reading = False
        self._n_started += 1
        self._flights.add(flight)
        event = flight.products[0]
        if isinstance(event, EventError):
            return self._fail(flight, "", event)
        for rank in self._first:
            self._push(flight, rank)
        if not flight.left:
            self._finish(flight)
        self._read_on()
        return ()

    def _end_source(self, error: Exception | None) -> Iterable[Future[Any]]:
        self._source_error = error
        self._source_ended = True
        self._done.put(None)
        return ()

    def _finish_step(self, flight: _Flight, step: Step) -> Iterable[Future[Any]]:
        if flight.is_done:
            return ()
        waits = flight.waits
        for rank in step.consumers:
            waits[rank] -= 1
            if not waits[rank]:
                self._push(flight, rank)
        flight.left -= 1
        if not flight.left:
            self._finish(flight)
        return ()

    def _fail(self, flight: _Flight, module: str, error: EventError) -> Iterable[Future[Any]]:
        if flight.is_done:
            return ()
        flight.error, flight.module = error, module
        self._finish(flight)
        return [call.future for call in flight.calls.values()]

    def _finish(self, flight: _Flight) -> None:
        flight.is_done = True
        flight.end = time.perf_counter_ns()
        self._flights.discard(flight)
        self._done.put(flight)
        self._read_on()

    def _push(self, flight: _Flight, rank: int) -> None:
        order = 1 - self._steps[rank].is_urgent
        heappush(self._ready, _Task(order, flight.index, rank, flight, None))

    def _read_on(self) -> None:
        """Let a thread read the next event, if there is room."""
        if self._is_reading or self._source_ended:
            return
        is_full = len(self._flights) >= self._most
        if not is_full and self._n_started - self._n_taken < _AHEAD * self._most:
            self._is_reading = True
            heappush(self._ready, _Task(0, self._n_started, -1, None, None))
            self._wake.notify()


class _Settle(NamedTuple):
    """What is to be done with the lock when a task is done."""

    by: Callable[..., Iterable[Future[Any]]]
    arguments: tuple[Any, ...]


def _store(step: Step, products: list[Any], found: Any) -> None:
    """Keep what a module has made."""
    if len(step.outputs) == 1:
        products[step.outputs[0]] = found
    elif step.outputs:
        if not isinstance(found, tuple) or len(found) != len(step.outputs):
            raise TypeError(f"produce returned no tuple of {len(step.outputs)} products")
        for place, product in zip(step.outputs, found, strict=True):
            products[place] = product


def _as_event_error(flight: _Flight, module: Module, error: BaseException) -> EventError:
    """The error of an event in which a module raised ``error``."""
    if isinstance(error, EventError):
        return error
    reason = type(error).__name__
    with suppress(Exception):  # the text is made by code of the user's own
        reason += f": {error}".encode(errors="backslashreplace").decode()
    return _failed(flight, module.name, reason, error)


def _failed(
    flight: _Flight, module: str, reason: str, cause: BaseException | None = None
) -> ModuleFailed:
    number = getattr(flight.products[0], "event", flight.index)
    failed = ModuleFailed("a module failed", event=number, module=module, reason=reason)
    failed.__cause__ = cause
    return failed
