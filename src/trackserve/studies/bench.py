"""How fast a tracker is on a user's events, here and on a user's server: ``trackserve bench``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from trackserve.errors import EventError
from trackserve.report.drawing import BLUE, GREY, RED, new_figure
from trackserve.report.page import Table
from trackserve.trackers.laps import Laps

from .figures import bars
from .lab import Lab
from .spread import added, difference, mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

if TYPE_CHECKING:
    from trackserve.client import Client, Timings
    from trackserve.trackers.base import Pipeline

PARTS = ("client", "network", "queue", "compute", "total")
"""Parts of the time of a served event; see :class:`trackserve.client.Timings`."""


class Remote(NamedTuple):
    """A model on a server.

    Attributes:
        client: client of the server.
        timings: gets the times of each event.
        model: name of the model.
        identity: identity that its answers must have.
    """

    client: Client
    timings: list[Timings]
    model: str
    identity: str


class Subject(NamedTuple):
    """What is measured.

    Attributes:
        events: events that can be reconstructed.
        unit: what the size of an event is counted in, as "word"; empty: it has none.
        size: mean size of an event.
        pipelines: pipelines here, by number of threads; the first has one if there are any.
        remote: the model on a server, or None.
        windows: numbers of events in flight to the server; None: the client finds it.
        identity: identity of all results.
    """

    events: Sequence[Any]
    unit: str
    size: float
    pipelines: dict[int, Pipeline[Any, Any]]
    remote: Remote | None
    windows: Sequence[int | None]
    identity: str


def bench_of(subject: Subject) -> Study:
    """The study of a subject."""
    return STUDY._replace(plan=partial(_plan, subject), measure=partial(_measure, subject))


def _plan(subject: Subject, how: How) -> list[Point]:
    points: list[Values] = []
    for n in subject.pipelines:
        name = f"direct, {n} thread{'s' * (n > 1)}"
        points.append({"what": "throughput", "way": name, "threads": n})
    if subject.remote:
        for window in subject.windows:
            name = f"served, {window or 'auto'} in flight"
            values: Values = {"what": "throughput", "way": name}
            points.append(values | ({"in_flight": window} if window else {}))
    ways = ["direct"] * bool(subject.pipelines) + ["served"] * (subject.remote is not None)
    if subject.pipelines:
        points.append({"what": "stages", "way": "direct", "threads": next(iter(subject.pipelines))})
    if subject.remote:
        points += [{"what": "latency", "way": way} for way in ways]
    return [Point(values) for values in points]


def _measure(subject: Subject, lab: Lab, values: Values) -> Iterable[Row]:
    what, direct = values["what"], str(values["way"]).startswith("direct")
    lab.identities["results"] = subject.identity
    row: Row
    if what == "stages":
        yield from _stages(subject)
        return
    if what == "throughput":
        start = time.perf_counter()
        if direct:
            outcomes = subject.pipelines[int(values["threads"] or 1)].run(subject.events)
        else:
            outcomes = _stream(subject, values.get("in_flight"))
        row = {"events_per_s": len(subject.events) / (time.perf_counter() - start)}
        for outcome in outcomes:
            if isinstance(outcome, EventError):
                raise outcome
    else:
        row = _direct_latency(subject) if direct else _served_latency(subject)
    yield row


def _stream(subject: Subject, in_flight: Any) -> Sequence[Any]:
    remote = subject.remote
    assert remote is not None
    return list(
        remote.client.stream(
            remote.model, subject.events, in_flight=in_flight, identity=remote.identity
        )
    )


def _stages(subject: Subject) -> Iterable[Row]:
    pipeline = next(iter(subject.pipelines.values()))
    laps = Laps()
    for event in subject.events:
        laps.start()
        pipeline.run([event], lap=laps)
    n = len(subject.events)
    for stage, seconds in laps.seconds.items():
        row: Row = {"stage": stage, "ms": 1e3 * seconds / n}
        if subject.size:
            row |= {"unit": subject.unit, "ns_per_unit": 1e9 * seconds / n / subject.size}
        yield row


def _timed(call: Callable[[Any], Any], events: Sequence[Any]) -> Row:
    """Latency of a call, event by event."""
    seconds = []
    for event in events:
        start = time.perf_counter()
        call(event)
        seconds.append(time.perf_counter() - start)
    return {
        "ms": 1e3 * fmean(seconds),
        "p50_ms": 1e3 * median(seconds),
        "p95_ms": 1e3 * float(np.percentile(seconds, 95)),
    }


def _direct_latency(subject: Subject) -> Row:
    return _timed(next(iter(subject.pipelines.values())).reconstruct, subject.events)


def _served_latency(subject: Subject) -> Row:
    remote = subject.remote
    assert remote is not None
    remote.timings.clear()
    call = partial(remote.client.reconstruct, remote.model, identity=remote.identity)
    row = _timed(call, subject.events)
    parts = {
        f"{part}_ms": 1e3 * fmean(getattr(one, part) for one in remote.timings) for part in PARTS
    }
    return row | parts


def show(rows: list[Row]) -> Shown:
    tables = [_rates(chosen(rows, what="throughput"))]
    if stages := chosen(rows, what="stages"):
        tables.append(_stage_table(stages))
    if latency := chosen(rows, what="latency"):
        tables.append(_latencies(latency))
        tables.append(_split(chosen(latency, way="served")))
    return Shown("", tables, partial(_draw, rows))


def _rates(rows: Sequence[Row]) -> Table:
    each = groups(rows, "way")
    first = numbers(next(iter(each.values())), "events_per_s")
    body = []
    for (way,), some in each.items():
        rate = numbers(some, "events_per_s")
        ends = (f"{end:.3g}" if end < 10 else f"{end:.0f}" for end in (min(rate), max(rate)))
        body.append([str(way), mean(rate).text, *ends, ratio(rate, first).text])
    header = ("throughput", "events/s", "slowest", "fastest", "ratio to first")
    return Table(header, body)


def _stage_table(rows: Sequence[Row]) -> Table:
    unit = str(rows[0].get("unit", ""))
    header = ["stage", "ms", "share", *([f"ns / {unit}"] if unit else [])]
    each = {str(stage): some for (stage,), some in groups(rows, "stage").items()}
    total = sum(mean(numbers(some, "ms")).value for some in each.values())
    body = []
    for stage, some in each.items():
        ms = mean(numbers(some, "ms"))
        per_unit = [mean(numbers(some, "ns_per_unit")).text] if unit else []
        body.append([stage, ms.text, f"{ms.value / total:.0%}", *per_unit])
    whole = [sum(numbers(some, "ms")) for some in groups(rows, "round").values()]
    in_units = [sum(numbers(some, "ns_per_unit")) for some in groups(rows, "round").values()]
    body.append(["all", mean(whole).text, "", *([mean(in_units).text] if unit else [])])
    return Table(header, body, "One event at a time, one thread.")


def _latencies(rows: Sequence[Row]) -> Table:
    each = {str(way): some for (way,), some in groups(rows, "way").items()}
    body = [
        [way, *(mean(numbers(some, name)).text for name in ("ms", "p50_ms", "p95_ms"))]
        for way, some in each.items()
    ]
    if "direct" in each:
        cost = difference(*(numbers(each[way], "ms") for way in ("served", "direct")))
        body.append(["added by the service", added(cost, "ms"), "", ""])
    return Table(("latency, one event at a time", "mean, ms", "median, ms", "95 %, ms"), body)


def _split(rows: Sequence[Row]) -> Table:
    body = [[part, mean(numbers(rows, f"{part}_ms")).text] for part in PARTS]
    return Table(("a served event, mean", "ms"), body)


def _draw(rows: list[Row]) -> list[Drawn]:
    figure, axes = new_figure(1, 2)
    rates = {
        str(way): mean(numbers(some, "events_per_s"))
        for (way,), some in groups(chosen(rows, what="throughput"), "way").items()
    }
    bars(axes[0], rates, [BLUE if n.startswith("direct") else RED for n in rates], "events/s")
    stages = groups(chosen(rows, what="stages"), "stage")
    times = {str(stage): mean(numbers(some, "ms")) for (stage,), some in stages.items()}
    if not times:
        served = chosen(rows, what="latency", way="served")
        times = {part: mean(numbers(served, f"{part}_ms")) for part in PARTS}
    bars(axes[1], times, [GREY] * len(times), "ms per event")
    return [Drawn("bench", figure, "Throughput of each way, and where the time of an event goes.")]


STUDY = Study(
    "bench",
    "A tracker on these events",
    "How fast is a tracker on these events, directly and on a server? All ways run in turns, pass "
    "by pass over the events.",
    lambda how: [],
    lambda lab, values: [],
    show,
)
"""What is shown of the data; :func:`bench_of` measures."""
