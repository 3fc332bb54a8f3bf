"""Energy of an event, and the cores that one device replaces."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial

from trackserve.report.drawing import BLUE, GREY, RED, new_figure
from trackserve.report.page import Table
from trackserve.serving.backend.runtime import cores

from .direct_vs_served import row_of, spending
from .figures import bars
from .lab import Lab
from .load import by_threads
from .meter import Meter
from .spread import NOTHING, Spread, mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

CEILINGS = (
    ("Patatrack in CMSSW, T4, 70 W", "1 289 events/s", "0.054"),
    ("LST (CMS), L4, 72 W", "6.5 ms of kernels", "0.5"),
    ("traccc, RTX A5000, 230 W", "110 events/s", "2.1"),
    ("HEPTv2, A100, 400 W", "15.1 ms", "6"),
)
"""Others: board power over published rates, which is a bound from above on J per event. No figure
that was measured is published."""
PAPER_GAIN = "4 to 8"
PAPER_CORES = 64
"""The paper's claims: energy saved by sharing devices, and cores that one GPU was compared with."""
WAYS = ("idle server", "direct, one core", "direct, all cores", "served")


def plan(how: How) -> list[Point]:
    """Each way, in turns."""
    return [
        Point({"tracker": tracker, "sample": how.usual(tracker).name, "way": way}, tracker)
        for tracker in how.trackers
        for way in WAYS
    ]


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Energy and throughput of one way."""
    sample = lab.how.find(values["tracker"], values["sample"])
    served = lab.served(sample)
    events, expected = lab.events(sample), lab.expected(sample)
    way = values["way"]
    timed = lab.client(*served.way("auto"))
    call = lab.pipeline(sample).reconstruct
    row: Row = {}
    start = time.perf_counter()
    with Meter() as meter, spending(served) as spent:
        if way == WAYS[0]:
            time.sleep(lab.span.seconds)
        elif way == WAYS[3]:
            row = row_of(lab.stream(timed, served.model, sample))
        else:
            threads = 1 if way == WAYS[1] else cores()
            row = row_of(by_threads(call, events, threads, lab.span, expected))
    seconds = time.perf_counter() - start
    busy = sum(float(spent[name] or 0) for name in ("client_cores", "server_cores"))
    usage = meter.usage
    if usage.gpu is not None:
        source, joules = "NVML", usage.gpu + (usage.cpu or 0.0)
    elif usage.cpu is not None:
        source, joules = "RAPL", usage.cpu
    else:
        source = f"processor time x {lab.how.watts:g} W"
        joules = busy * seconds * lab.how.watts
    watts = joules / seconds
    row |= {"source": source, "watts": watts, "busy_cores": busy, "idle_share": 1 - busy / cores()}
    if usage.busy is not None:
        row["gpu_busy"] = usage.busy
    if rate := row.get("events_per_s"):
        row["J_per_event"] = watts / float(rate)
    yield row | spent


def show(rows: list[Row]) -> Shown:
    tables = [
        _table(f"{tracker} {sample}", some)
        for (tracker, sample), some in groups(rows, "tracker", "sample").items()
    ]
    header = ("elsewhere", "published", "J per event, at most")
    caption = "Board power over published throughput: bounds, none measured."
    tables.append(Table(header, CEILINGS, caption))
    sources = ", ".join(dict.fromkeys(str(row["source"]) for row in rows))
    text = (
        f"Energy by: {sources}. Where no meter can be read it is the time that processors were at "
        "work times a stated power of a core (`--watts`): an estimate, which knows neither idle "
        "power nor memory. The energy of a served event has the client's share. The idle share is "
        f"that of all cores. The paper expects that sharing devices saves {PAPER_GAIN} times the "
        f"energy of devices that mostly wait, and compares one GPU with {PAPER_CORES} cores; "
        "cores replaced are the served throughput over that of one core."
    )
    return Shown(text, tables, partial(_draw, rows))


def _table(where: str, rows: Sequence[Row]) -> Table:
    one = numbers(chosen(rows, way=WAYS[1]), "events_per_s")
    body = []
    for (way,), some in groups(rows, "way").items():
        rate = numbers(some, "events_per_s")
        replaced: Spread = ratio(rate, one) if len(rate) == len(one) and rate else NOTHING
        body.append(
            [
                str(way),
                mean(rate).text,
                mean(numbers(some, "J_per_event")).text,
                mean(numbers(some, "watts")).text,
                mean(numbers(some, "idle_share")).text,
                replaced.text,
            ]
        )
    header = ("way", "events/s", "J per event", "W", "idle share", "cores replaced")
    return Table(header, body, where)


def _draw(rows: list[Row]) -> list[Drawn]:
    figure, axes = new_figure(1, 2)
    for panel, column, label in (
        (axes[0], "J_per_event", "J per event"),
        (axes[1], "idle_share", "share of the cores' time that is idle"),
    ):
        values, colours = {}, []
        for (tracker, way), some in groups(rows, "tracker", "way").items():
            found = numbers(some, column)
            if found:
                values[f"{tracker}, {way}"] = mean(found)
                colours.append(RED if way == WAYS[3] else BLUE if way != WAYS[0] else GREY)
        bars(panel, values, colours, label)
        panel.tick_params(axis="y", labelsize=8)
    axes[1].set_xlim(0, 1)
    caption = f"Energy by {rows[0]['source']}: left of an event, right what stays unused."
    return [Drawn("energy", figure, caption)]


STUDY = Study(
    "energy",
    "Energy of an event",
    "How much energy does an event take, direct and served, and how much of the machine is idle?",
    plan,
    measure,
    show,
)
