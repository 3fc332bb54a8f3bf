"""Jobs of the study: tracking and the rest of an event, run beside each other and timed."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from trackserve.trackers.base import Pipeline
from trackserve.workflow import ExternalModule, Job, Module, Schedule, Slice, run
from trackserve.workflow.busy import Busy
from trackserve.workflow.description import DEFAULT, read_description
from trackserve.workflow.job import EVENT
from trackserve.workflow.times import LogNormal

from ..lab import pinned

TRACKING, MENU = "tracking", "menu"
SHARE = 0.1
"""Share of tracking in the job that does all itself, as in the paper."""
_MENU_SHARE = 0.02
"""Share of the menu in the rest of an event."""
LEAD = 3
"""First events of each job, whose results are compared."""


class Rest(NamedTuple):
    """The rest of an event.

    Attributes:
        seconds: mean time of all its modules.
        speed: loops of :func:`trackserve.workflow.busy.burn` in a second.
        is_emulated: whether it waits, in place of work.
    """

    seconds: float
    speed: float
    is_emulated: bool

    def modules(self) -> list[Busy]:
        """The modules of the default trigger job that keep a processor busy, and the menu, which
        comes last."""
        described = read_description(DEFAULT).modules
        busy = {name: values for name, values in described.items() if values.get("use") == "busy"}
        scale = (1 - _MENU_SHARE) * self.seconds / sum(float(v["mean"]) for v in busy.values())
        found = [
            self._busy(name, scale * float(v["mean"]), float(v["spread"]), v.get("after", ()))
            for name, v in busy.items()
        ]
        menu = self._busy(MENU, _MENU_SHARE * self.seconds, 0.0, (TRACKING, *busy))
        return [*found, menu]

    def _busy(self, name: str, mean: float, spread: float, after: Sequence[str]) -> Busy:
        times = LogNormal(mean, spread, name)
        return Busy(name, times, after, self.speed, self.is_emulated)


class Nothing(Module):
    """Tracking that is left out."""

    name, inputs, outputs = TRACKING, (EVENT,), (TRACKING,)

    def produce(self, event: Any) -> None:
        return None


class Attached(ExternalModule):
    """Tracking by one thread of this process, on processors of its own: a device without a server.

    A context manager; jobs may share it.
    """

    name, inputs, outputs = TRACKING, (EVENT,), (TRACKING,)

    def __init__(self, pipeline: Pipeline[Any, Any], on_cores: frozenset[int]) -> None:
        self._pipeline = pipeline
        with pinned(on_cores):  # a thread keeps the processors of the one that has started it
            self._thread = ThreadPoolExecutor(1, "attached")
            self._thread.submit(lambda: None).result()

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()

    def acquire(self, event: Any) -> Future[Any]:
        return self._thread.submit(self._pipeline.reconstruct, event)

    def produce(self, answer: Any, event: Any) -> Any:
        return answer


class EmulatedDevice(ExternalModule):
    """A server with a device that both only wait, in place of tracking.

    Each instance has one event: first the host works on it, then the device, which works on one
    event at a time. A context manager; jobs may share it.

    Args:
        instances: number of instances.
        host, device: s of each for an event.

    Attributes:
        host_spent, device_spent: s that the waits have really taken, one for each event.
    """

    name, inputs, outputs = TRACKING, (EVENT,), (TRACKING,)
    is_emulated = True

    def __init__(self, instances: int, host: float, device: float) -> None:
        self.host_spent: list[float] = []
        self.device_spent: list[float] = []
        self._seconds = host, device
        self._device = threading.Lock()
        self._instances = ThreadPoolExecutor(instances, "emulated")

    def __enter__(self) -> EmulatedDevice:
        return self

    def __exit__(self, *error: object) -> None:
        self._instances.shutdown()

    def acquire(self, event: Any) -> Future[Any]:
        return self._instances.submit(self._serve)

    def produce(self, answer: Any, event: Any) -> Any:
        return answer

    def _serve(self) -> None:
        host, device = self._seconds
        self.host_spent.append(_wait(host))
        with self._device:
            self.device_spent.append(_wait(device))


def _wait(seconds: float) -> float:
    """Wait; return how long it has really taken, s."""
    start = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - start


class Shared(ExternalModule):
    """A module that has begun already, and that many jobs share."""

    def __init__(self, module: Any) -> None:
        self.name, self.inputs, self.outputs = module.name, module.inputs, module.outputs
        self.acquire, self.produce = module.acquire, module.produce


class Timed(NamedTuple):
    """What jobs came to.

    Attributes:
        rates: events per second of each job.
        processor: seconds of processors that this process took for an event of one job.
        slices: timeline of the first job, while it was timed.
        different: events whose tracking is not the expected one in any bit.
    """

    rates: list[float]
    processor: float
    slices: list[Slice]
    different: int


class Load(NamedTuple):
    """How jobs are run.

    Attributes:
        events: are taken again and again; a whole number of times counts.
        times: that number.
        how: threads and events in flight of each job.
        delays: s after which each job starts; one that is not the first begins with another event
            if any of them starts later.
        expected: results by number of event; others are not compared.
        lead: events of each job that pass before anything counts.
    """

    events: Sequence[Any]
    times: int
    how: Schedule
    delays: Sequence[float]
    expected: Mapping[int, Any]
    lead: int = LEAD


def run_jobs(make: Callable[[], Job], load: Load) -> Timed:
    """Run jobs beside each other in this process, until each has done its events.

    Raises:
        TrackserveError: an event failed, with the error of the event.
    """
    timer = _Timer(load)
    n_jobs = len(load.delays)
    barrier = threading.Barrier(n_jobs)

    def one(number: int) -> float:
        try:
            job = make()
            barrier.wait()
            return timer.time(job, number)
        except BaseException:
            barrier.abort()
            timer.over.set()
            raise

    with ThreadPoolExecutor(n_jobs) as pool:
        futures = [pool.submit(one, number) for number in range(n_jobs)]
    failed = [future.exception() for future in futures if future.exception()]
    for error in sorted(failed, key=lambda one: isinstance(one, threading.BrokenBarrierError)):
        assert error is not None
        raise error
    rates = [future.result() for future in futures]
    return Timed(rates, timer.processor, timer.slices, timer.different)


class _Timer:
    """Times jobs, all of which go on until the last has done its events."""

    def __init__(self, load: Load) -> None:
        self.over = threading.Event()
        self.slices: list[Slice] = []
        self.processor = 0.0
        self.different = 0
        self._load = load
        self._lock = threading.Lock()
        self._left = len(load.delays)
        self._first = load.lead - 1
        self._last = self._first + load.times * len(load.events)

    def time(self, job: Job, number: int) -> float:
        """Events per second of a job."""
        load = self._load
        time.sleep(load.delays[number])
        how = load.how._replace(keep=(EVENT, TRACKING))
        watch = self.slices.append if number == 0 else None
        end, spent = 0, 0.0
        times: list[int] = []
        for done in run(job, self._events(number), how, watch):
            if done.error is not None:
                raise done.error
            end = max(end, done.end)
            times.append(end)
            if len(times) <= LEAD:
                self._compare(done.products)
            if len(times) == self._first + 1:
                spent = time.process_time()
            if len(times) == self._last + 1:
                spent = time.process_time() - spent
                with self._lock:
                    self._left -= 1
                    if not self._left:
                        self.over.set()
        begun, end, n = times[self._first], times[self._last], self._last - self._first
        if number == 0:
            self.processor = spent / n
            self.slices = [one for one in self.slices if begun <= one.start and one.end <= end]
        return 1e9 * n / (end - begun)

    def _events(self, number: int) -> Iterator[Any]:
        events = self._load.events
        shift = number if any(self._load.delays) else 0
        for event in itertools.islice(itertools.cycle(events), shift, None):
            if self.over.is_set():
                return
            yield event

    def _compare(self, products: Mapping[str, Any]) -> None:
        event, found = products[EVENT], products[TRACKING]
        expected = self._load.expected.get(event.event)
        if found is not None and expected is not None and found != expected:
            with self._lock:
                self.different += 1
