"""What the study measures: jobs with real work, many jobs that wait, distance, service times."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

from trackserve.serving.limits import Limits
from trackserve.trackers.registry import find_tracker
from trackserve.workflow import Job, Schedule, Slice
from trackserve.workflow.busy import loops_per_second
from trackserve.workflow.timeline import EXTERNAL
from trackserve.workflow.tracking import Here, Served, Way

from ..lab import Lab, pinned
from ..lab import Served as Server
from ..load import by_threads
from ..samples import Sample
from ..study import How, Point, Values
from ..table import Row
from .jobs import (
    LEAD,
    SHARE,
    TRACKING,
    Attached,
    EmulatedDevice,
    Load,
    Nothing,
    Rest,
    Shared,
    Timed,
    run_jobs,
)

WITHOUT, IN_JOB, ATTACHED, SERVED = "without", "in the job", "attached", "served"
DEVICE = "emulated device"
"""Ways to do the tracking. The last is a server that waits, with a device beside its host."""
JOB, CLIENTS, DISTANCE, SERVICE, SLICE = "job", "clients", "distance", "service", "slice"
"""Kinds of measurements. A slice is a piece of the timeline of a measurement."""
AT_ONCE, OWN = "at once", "own"
"""When jobs start: all at once with the same event, or each at a time and with an event of its own.
"""
WORK, EMULATED = "work", "emulated"
"""What the rest of an event is."""
THREADS, IN_FLIGHT = 1, 2
"""Of each job."""
_HOST = 2.0
"""Time of the host of an emulated device for an event, in that of the device."""
_FILLED = 8
"""Requests in flight that keep a server with one worker busy."""
_FULL_USE = 0.5
"""Use of a server above which jobs are measured for fewer events, as all of them make many."""
_LONGER = 3
"""Time of one job with real work, in that of the others: it has a small difference to show."""
_PASSES = 3
"""Passes over the events in which the cost of tracking is measured."""
_QUICK, _FULL = (1, 5, 9, 14), (1, 2, 4, 6, 8, 10, 12, 16, 24)
"""Numbers of jobs; about ten take all that the server can do, if tracking is a tenth of a job."""


def plan(how: How) -> list[Point]:
    """All points take turns, since all are compared. A quick plan gives many jobs small events."""
    tracker = how.trackers[0]
    usual = how.usual(tracker)
    light = min(how.of(tracker), key=lambda one: one.pileup or 0) if how.quick else usual
    waits: Values = {"sample": light.name, "rest": EMULATED}
    many = waits | {"what": CLIENTS, "way": SERVED}
    values: list[Values] = [
        {"what": JOB, "way": way, "jobs": 1, "sample": usual.name, "rest": WORK}
        for way in (WITHOUT, IN_JOB, ATTACHED, SERVED)
    ]
    values += [waits | {"what": CLIENTS, "way": IN_JOB, "jobs": 1}]
    numbers = _QUICK if how.quick else _FULL
    for instances in (1, 10):
        which = numbers if instances == 1 or not how.quick else numbers[::2]
        values += [many | {"jobs": n, "instances": instances, "start": OWN} for n in which]
        service: Values = {"what": SERVICE, "way": SERVED, "instances": instances}
        values += [service | {"sample": light.name}]
    some = numbers[2:3] if how.quick else numbers[2::2]
    values += [many | {"jobs": n, "instances": 1, "start": AT_ONCE} for n in some]
    values += [many | {"way": ATTACHED, "jobs": n, "start": OWN} for n in some]
    values += [{"what": SERVICE, "way": ATTACHED, "sample": light.name}]
    for instances in (1, 10):
        waiting = many | {"way": DEVICE, "instances": instances, "start": OWN}
        which = numbers[1:3] if instances == 1 else numbers[1::2]
        values += [waiting | {"jobs": n} for n in (which if how.quick else numbers)]
    for rtt in (0, 50) if how.quick else (0, 20, 50, 100):
        for in_flight in (1, 8) if how.quick else (1, 2, 8):
            values += [many | {"what": DISTANCE, "rtt_ms": rtt, "in_flight": in_flight}]
    here: Values = {"tracker": tracker}
    return [Point(here | one, tracker) for one in values]


def whole_rounds(wanted: float, in_flight: int) -> int:
    """About as many events as wanted, of whole rounds of those that a job has in flight.

    A full server answers all requests of a job one after the other, then those of the next job. So
    the first of them must not count from one round and the last from another.
    """
    return in_flight * max(1, int(wanted / in_flight))


class Cores(NamedTuple):
    """Processors of the jobs, and of the server or device; the same if there is but one."""

    jobs: frozenset[int]
    device: frozenset[int]


def cores() -> Cores:
    """The first and the last processor that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[:1]), frozenset(usable[-1:]))


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Measure a point once."""
    sample = lab.how.find(values["tracker"], values["sample"])
    if len(cores().jobs | cores().device) < 2:
        lab.note("jobs and server share the one processor that there is: compare nothing")
    way, n = str(values["way"]), int(values.get("jobs") or 1)
    if values["what"] == SERVICE:
        if way == ATTACHED:
            yield from _attached_service(lab, sample)
        else:
            yield from _service(lab, sample, int(values["instances"] or 1))
        return
    is_emulated = values["rest"] == EMULATED
    rest = lab.keep(("rest", sample), partial(_rest, lab, sample))._replace(is_emulated=is_emulated)
    url = _url(lab, sample, values)
    in_flight: Any = values.get("in_flight") or IN_FLIGHT
    cycle = rest.seconds / (1 - SHARE)
    delays = [0.0] * n
    if values.get("start") == OWN:
        delays = [cycle * k / n for k in range(n)]
    events = lab.events(sample)
    events = events[: whole_rounds(min(lab.span.seconds / cycle, len(events)), in_flight)]
    expected = lab.expected(sample)
    slower = max(1.0, n * SHARE / _FULL_USE)  # a job, when the server has more than it can do
    times = max(1, round(lab.span.seconds / len(events) / cycle / slower))
    load = Load(events, times, Schedule(THREADS, in_flight), delays, expected)
    if values["what"] == JOB:
        if lab.is_warming:
            return
        compared = {event.event: expected[event.event] for event in events[:LEAD]}
        load = load._replace(times=_LONGER * times, lead=max(LEAD, len(events)), expected=compared)
        pool = lab.keep(("job", sample, way), partial(_process, lab.how))
        timed = pool.submit(_run_alone, sample, values, url, rest, load).result()
    else:
        timed = _run(lab, sample, values, url, rest, load)
    spent: Row = {}
    if way == DEVICE:
        device = _device(lab, sample, values)
        spent = {"host_ms": 1e3 * fmean(device.host_spent)}
        spent |= {"device_ms": 1e3 * fmean(device.device_spent)}
    yield {
        **spent,
        "rest_ms": 1e3 * rest.seconds,
        "events_per_s": sum(timed.rates),
        "slowest_per_s": min(timed.rates),
        "answered": n * times * len(events),
        **({"processor_ms": 1e3 * timed.processor} if n == 1 else {}),
        "different": timed.different,
    }
    if n == 1 and values["what"] in (JOB, CLIENTS):
        yield from map(_slice_row, _few(timed, len(events)))


def _process(how: How) -> ProcessPoolExecutor:
    """A process for one job: no other part of the study works in it."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(how,))


_labs: list[Lab] = []
"""The laboratory of a process for one job."""


def _begin(how: How) -> None:
    _labs.append(Lab(how))


def _run_alone(sample: Sample, values: Values, url: str, rest: Rest, load: Load) -> Timed:
    return _run(_labs[0], sample, values, url, rest, load)


def _run(lab: Lab, sample: Sample, values: Values, url: str, rest: Rest, load: Load) -> Timed:
    tracking = _tracking(lab, sample, values, url)
    with pinned(cores().jobs):
        return run_jobs(lambda: Job([tracking(), *rest.modules()]), load)


@contextmanager
def _rest(lab: Lab, sample: Sample) -> Iterator[Rest]:
    """The rest of an event, so that tracking takes its share of a job."""
    pipeline, events = lab.pipeline(sample), lab.events(sample)

    def once(event: Any) -> float:
        start = time.thread_time()
        pipeline.reconstruct(event)
        return time.thread_time() - start

    with pinned(cores().jobs):
        for event in events:
            once(event)
        cost = fmean(once(event) for _ in range(_PASSES) for event in events)
        rest = Rest(cost * (1 - SHARE) / SHARE, loops_per_second(), is_emulated=False)
    yield rest  # not with these processors alone


def _url(lab: Lab, sample: Sample, values: Values) -> str:
    """Address of the server that does the tracking; empty if none does."""
    if values["way"] != SERVED:
        return ""
    server = _server(lab, sample, int(values.get("instances") or 1))
    if values["what"] != DISTANCE:
        return server.url
    proxy = lab.proxy(server)
    proxy.delay = float(values["rtt_ms"] or 0) / 2e3
    return f"grpc://127.0.0.1:{proxy.port}"


def _tracking(lab: Lab, sample: Sample, values: Values, url: str) -> Any:
    """Makes the module of tracking for each job."""
    way = values["way"]
    if way == WITHOUT:
        return Nothing
    if way == IN_JOB:
        pipeline = lab.pipeline(sample)
        return lambda: Here(TRACKING, pipeline)
    if way == DEVICE:
        device = _device(lab, sample, values)
        return lambda: Shared(device)
    if way == ATTACHED:
        attached = _attached(lab, sample)
        return lambda: Shared(attached)
    client = lab.keep(("tracking", url), partial(_begun, lab, sample, url))
    return lambda: Shared(client)


def _attached(lab: Lab, sample: Sample) -> Attached:
    pipeline = lab.pipeline(sample)
    return lab.keep(("attached", sample), lambda: Attached(pipeline, cores().device))


def _device(lab: Lab, sample: Sample, values: Values) -> EmulatedDevice:
    """An emulated device that takes as long as the tracking, and its host longer."""
    rest = lab.keep(("rest", sample), partial(_rest, lab, sample))
    tracking = rest.seconds * SHARE / (1 - SHARE)
    instances = int(values["instances"] or 1)
    make = partial(EmulatedDevice, instances, _HOST * tracking, tracking)
    return lab.keep((DEVICE, instances), make)


def _server(lab: Lab, sample: Sample, instances: int) -> Server:
    """A server on the core of the device, whose instances run one event each."""
    limits = Limits(workers=1, batch_events=1)
    device = cores().device
    return lab.served(sample, instances=instances, limits=limits, on_cores=device)


@contextmanager
def _begun(lab: Lab, sample: Sample, url: str) -> Iterator[Served]:
    tracker: Any = find_tracker(sample.tracker)
    module = Served(TRACKING, tracker, {}, lab.opened(sample), Way(url=url))
    try:
        with pinned(cores().jobs):
            module.begin()
        yield module
    finally:
        module.end()


def _service(lab: Lab, sample: Sample, instances: int) -> Iterable[Row]:
    """Events per second that a server does, and the time of each event when it is alone."""
    server = _server(lab, sample, instances)
    with pinned(cores().jobs):
        timed = lab.client(server.url)
        load = lab.stream(timed, server.model, sample, in_flight=_FILLED, per_request=1)
        yield {"events_per_s": load.rate, "answered": load.answered, "different": load.different}
        timed.timings.clear()
        for event in lab.events(sample):
            timed.client.reconstruct(server.model, event)
    for one in timed.timings:
        yield {"what": SLICE, "module": SERVICE, "event": one.event, "ms": 1e3 * one.compute}


def _attached_service(lab: Lab, sample: Sample) -> Iterable[Row]:
    """The same of an attached device."""
    attached, events = _attached(lab, sample), lab.events(sample)

    def call(event: Any) -> Any:
        return attached.acquire(event).result()

    with pinned(cores().jobs):
        load = by_threads(call, events, _FILLED, lab.span, lab.expected(sample))
        yield {"events_per_s": load.rate, "answered": load.answered, "different": load.different}
        for event in events:
            start = time.perf_counter()
            call(event)
            ms = 1e3 * (time.perf_counter() - start)
            yield {"what": SLICE, "module": SERVICE, "event": event.event, "ms": ms}


def _few(timed: Timed, n: int) -> Sequence[Slice]:
    """The slices of the first ``n`` events of a timeline."""
    events = sorted({one.event for one in timed.slices})[:n]
    return [one for one in timed.slices if events[0] <= one.event <= events[-1]]


def _slice_row(one: Slice) -> Row:
    return {
        "what": SLICE,
        "kind": one.kind,
        "module": one.name,
        "event": one.event,
        "thread": one.thread if one.kind != EXTERNAL else -1,
        "begin_ms": 1e-6 * one.start,
        "ms": 1e-6 * (one.end - one.start),
        "emulated": int(one.is_emulated),
    }
