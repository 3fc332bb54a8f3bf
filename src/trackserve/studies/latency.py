"""Where the time of a request goes, and what distance costs."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from trackserve.client import Timings
from trackserve.report.drawing import PALETTE, new_figure
from trackserve.report.page import Table

from .direct_vs_served import row_of
from .figures import curve, style
from .lab import Lab, Served
from .load import by_threads
from .samples import Sample
from .spread import mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

PARTS = ("client", "network", "queue", "input", "compute", "output")
"""Parts of a request's time. The server tells each event's wait for a worker and the worker's time;
its metrics say which shares of the latter are decoding and encoding. The network is the rest of the
round trip that the client measures, the client's own part the rest of the event's time."""
_LAPS = {"input": "decode", "output": "encode"}
"""Stages in the server's metrics, by part."""
_SETTLED = 8
"""Round trips in which a stream finds its window."""
_FEWEST = 5
"""Least number of events whose parts are measured."""


def plan(how: How) -> list[Point]:
    """The parts by each transport; then each distance, synchronous and not."""
    points = []
    for tracker in how.trackers:
        here: Values = {"tracker": tracker, "sample": how.usual(tracker).name}
        for transport in ("shm", "grpc", "http"):
            values = here | {"what": "parts", "transport": transport}
            points.append(Point(values, f"{tracker} parts"))
    for tracker in how.trackers[:1] if how.quick else how.trackers:
        here = {"tracker": tracker, "sample": how.usual(tracker).name, "what": "distance"}
        for rtt in (0, 50, 200) if how.quick else (0, 10, 20, 50, 100, 200):
            ways: tuple[Values, ...] = (
                {"way": "synchronous", "in_flight": 1},
                {"way": "8 in flight", "in_flight": 8},
                {"way": "stream"},
            )
            if not how.quick:
                ways += ({"way": "64 in flight", "in_flight": 64},)
            points += [Point(here | {"rtt_ms": rtt} | way, f"{tracker} distance") for way in ways]
    return points


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """The parts of one event's time, or the throughput at a distance."""
    sample = lab.how.find(values["tracker"], values["sample"])
    served = lab.served(sample)
    if values["what"] == "parts":
        yield _parts(lab, sample, served, str(values["transport"]))
    else:
        yield _distance(lab, sample, served, values)


def _parts(lab: Lab, sample: Sample, served: Served, transport: str) -> Row:
    client, timings = lab.client(*served.way(transport))
    events = lab.events(sample)
    expected = lab.expected(sample)
    timings.clear()
    outside, different, n = 0.0, 0, 0
    end = time.perf_counter() + lab.span.seconds
    while n < _FEWEST or time.perf_counter() < end:
        event = events[n % len(events)]
        start = time.perf_counter()
        result = client.reconstruct(served.model, event)
        outside += time.perf_counter() - start
        different += result != expected[event.event]
        n += 1
    mean_of = {part: fmean(getattr(one, part) for one in timings) for part in Timings._fields[1:]}
    shares = {part: served.share_of(lap) for part, lap in _LAPS.items()}
    split = {part: share * mean_of["compute"] for part, share in shares.items()}
    split["compute"] = mean_of["compute"] * (1 - sum(shares.values()))
    row: Row = {f"{part}_ms": 1e3 * (mean_of | split)[part] for part in PARTS}
    row |= {"sum_ms": sum(numbers([row], f"{part}_ms")[0] for part in PARTS)}
    return row | {"outside_ms": 1e3 * outside / n, "answered": n, "different": different}


def _distance(lab: Lab, sample: Sample, served: Served, values: Values) -> Row:
    proxy = lab.proxy(served)
    rtt = float(values["rtt_ms"] or 0) / 1e3
    timed = lab.client(f"grpc://127.0.0.1:{proxy.port}", "grpc")
    proxy.delay = rtt / 2
    in_flight: Any = values.get("in_flight")
    if in_flight == 1:
        call = partial(timed.client.reconstruct, served.model)
        load = by_threads(call, lab.events(sample), 1, lab.span, lab.expected(sample))
    else:
        lead = _SETTLED * rtt if in_flight is None and not lab.is_warming else None
        load = lab.stream(
            timed, served.model, sample, in_flight=in_flight, per_request=1, lead=lead
        )
    return row_of(load) | {"mean_in_flight": load.rate * fmean(load.latencies)}


def show(rows: list[Row]) -> Shown:
    parts, distance = (chosen(rows, what=what) for what in ("parts", "distance"))
    tables = [_part_table(parts)] if parts else []
    for (tracker,), some in groups(distance, "tracker").items():
        tables.append(_distance_table(str(tracker), some))
    gap = max(
        (
            abs(mean(numbers(some, "sum_ms")).value / mean(numbers(some, "outside_ms")).value - 1)
            for some in groups(parts, "tracker", "transport").values()
        ),
        default=math.nan,
    )
    text = (
        f"The parts add up to the time by a clock outside of the client within {gap:.1%}. The "
        "client's own part is encoding and decoding. A distance is made by a proxy on this machine "
        "that delays every byte by half of the round trip each way. Events in flight needed to "
        "hide a distance are the throughput without it times the latency with it (Little's law)."
    )
    return Shown(text, tables, partial(_draw, rows))


def _part_table(rows: Sequence[Row]) -> Table:
    body = []
    for (tracker, sample, transport), some in groups(
        rows, "tracker", "sample", "transport"
    ).items():
        values = [mean(numbers(some, f"{part}_ms")).text for part in PARTS]
        both = [mean(numbers(some, name)).text for name in ("sum_ms", "outside_ms")]
        body.append([f"{tracker} {sample}, {transport}", *values, *both])
    header = ("one event at a time", *(f"{part}, ms" for part in PARTS), "sum, ms", "clock, ms")
    return Table(header, body, "Where the time of a request goes.")


def _distance_table(tracker: str, rows: Sequence[Row]) -> Table:
    body = []
    near = groups(chosen(rows, rtt_ms=0), "way")
    for (rtt, way), some in groups(rows, "rtt_ms", "way").items():
        rate = numbers(some, "events_per_s")
        beside = numbers(near[(way,)], "events_per_s")
        best = max((mean(numbers(one, "events_per_s")) for one in near.values()), key=_value)
        one = chosen(rows, rtt_ms=rtt, way="synchronous")
        needed = best.value * mean(numbers(one, "p50_ms")).value / 1e3
        body.append(
            [
                f"{rtt} ms, {way}",
                mean(rate).text,
                ratio(rate, beside).text,
                mean(numbers(some, "p50_ms")).text,
                mean(numbers(some, "mean_in_flight")).text,
                f"{needed:.0f}",
            ]
        )
    header = (
        *("round trip", "events/s", "ratio to 0 ms", "p50, ms", "in flight, mean"),
        "needed to hide it",
    )
    return Table(header, body, f"{tracker}: a server at a distance")


def _value(spread: Any) -> float:
    return float(spread.value)


def _draw(rows: list[Row]) -> list[Drawn]:
    parts, distance = (chosen(rows, what=what) for what in ("parts", "distance"))
    figure, (left, right) = new_figure(1, 2)
    each = groups(parts, "tracker", "transport")
    names = [f"{tracker}, {transport}" for tracker, transport in each]
    places = list(range(len(names)))[::-1]
    start = [0.0] * len(names)
    wholes = [mean(numbers(some, "sum_ms")).value for some in each.values()]
    for number, part in enumerate(PARTS):
        values = [mean(numbers(some, f"{part}_ms")).value for some in each.values()]
        shares = [max(v, 0) / whole for v, whole in zip(values, wholes, strict=True)]
        left.barh(places, shares, left=start, color=PALETTE[number], height=0.62, label=part)
        start = [a + b for a, b in zip(start, shares, strict=True)]
    labels = [f"{name}\n{whole:.1f} ms" for name, whole in zip(names, wholes, strict=True)]
    left.set_yticks(places, labels, fontsize=8)
    left.grid(visible=False, axis="y")
    left.set(xlabel="share of the time of a request", xlim=(0, 1))
    left.legend(ncols=3, fontsize=7, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1))
    series = groups(distance, "tracker", "way").items()
    for number, ((tracker, way), some) in enumerate(series):
        points = groups(some, "rtt_ms")
        rtt = [float(key[0] or 0) for key in points]
        rates = [mean(numbers(one, "events_per_s")) for one in points.values()]
        curve(right, rtt, rates, style(f"{tracker}, {way}", number))
    right.set(xlabel="round trip to the server [ms]", ylabel="events/s", yscale="log")
    right.legend(fontsize=7, frameon=False)
    caption = (
        "Left: the parts of the time of a request, one at a time. Right: throughput of a client "
        "against the distance to the server."
    )
    return [Drawn("latency", figure, caption)]


STUDY = Study(
    "latency",
    "Where the time of a request goes, and what distance costs",
    "Where does the time of one request go: client, network, queue, reading the input, "
    "computation, writing the output (section 4.2.1 of the paper)? With a round trip of 0 to 200 "
    "ms, how many events must be in flight for the throughput of a server here (4.3)?",
    plan,
    measure,
    show,
)
