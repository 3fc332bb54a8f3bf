"""Cost per event against its size, and throughput against threads and processes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from trackserve.report.drawing import new_figure
from trackserve.report.page import Table
from trackserve.serving.backend.runtime import cores
from trackserve.trackers.base import only
from trackserve.trackers.laps import Laps
from trackserve.trackers.registry import find_tracker

from .figures import curve, style
from .lab import Lab
from .load import by_threads
from .samples import Sample
from .spread import NOTHING, Spread, mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers
from .workers import workers

ALL = "all"
"""Name of all stages together."""
_MOST_PARALLEL = 16


def plan(how: How) -> list[Point]:
    """Every sample on one thread; the usual one on threads and on processes."""
    points = []
    for tracker in how.trackers:
        for sample in how.of(tracker):
            here: Values = {"tracker": tracker, "sample": sample.name, "what": "stages"}
            points.append(Point(here, f"{tracker} stages"))
        usual: Values = {"tracker": tracker, "sample": how.usual(tracker).name}
        for what in ("threads", "processes"):
            for n in _parallel(how.quick):
                points.append(Point(usual | {"what": what, "n": n}, f"{tracker} parallel"))
    return points


def _parallel(quick: bool) -> list[int]:
    most = min(cores(), _MOST_PARALLEL)
    steps = [2**k for k in range(most.bit_length())] if quick else [*range(1, most + 1), 2 * most]
    return sorted({n for n in steps if quick is False or n <= most})


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Time of each stage, or throughput of so many threads or processes."""
    sample = lab.how.find(values["tracker"], values["sample"])
    if values["what"] == "stages":
        yield from _stages(lab, sample)
        return
    n = int(values["n"] or 1)
    if values["what"] == "threads":
        call = lab.pipeline(sample).reconstruct
        load = by_threads(call, lab.events(sample), n, lab.span, {})
        yield {"events_per_s": load.rate}
    else:
        some = lab.keep(("workers", sample, n), partial(workers, lab.how, sample, n))
        yield {"events_per_s": some.rate(lab.span)}


def _stages(lab: Lab, sample: Sample) -> Iterable[Row]:
    """Mean seconds per event of each stage: a pass over the events, or several if it is short."""
    pipeline, events = lab.pipeline(sample), lab.events(sample)
    wall, processor = Laps(), Laps(time.thread_time)
    n, size = 0, 0.0
    unit = find_tracker(sample.tracker).size
    end = time.perf_counter() + lab.span.seconds
    while not n or time.perf_counter() < end:
        for event in events[:1] if lab.is_warming else events:
            for laps in (wall, processor):
                laps.start()
                result = only(pipeline.run([event], lap=laps))
            size += getattr(result.counts, unit) if unit else 0
            n += 1
    stages = [*wall.seconds, ALL]
    for clock in (wall, processor):
        clock.seconds[ALL] = sum(clock.seconds.values())
    for stage in stages:
        yield {
            "stage": stage,
            "size": size / n,
            "ms": 1e3 * wall.seconds[stage] / n,
            "processor_ms": 1e3 * processor.seconds[stage] / n,
            "ns_per_unit": 1e9 * wall.seconds[stage] / size if size else None,
            "answered": n,
        }


def exponent(rows: Sequence[Row]) -> Spread:
    """The exponent p of processor time ~ size^p over the samples, from rows of one stage."""
    slopes = []
    for some in groups(rows, "round").values():
        size, ms = (np.array(numbers(some, name)) for name in ("size", "processor_ms"))
        good = (size > 0) & (ms > 0)
        if good.sum() > 1 and np.ptp(size[good]) > 0:
            slopes.append(float(np.polyfit(np.log(size[good]), np.log(ms[good]), 1)[0]))
    return mean(slopes) if slopes else NOTHING


def show(rows: list[Row]) -> Shown:
    tables = []
    for (tracker,), some in groups(chosen(rows, what="stages"), "tracker").items():
        tables.append(_stage_table(str(tracker), some))
    parallel = [row for row in rows if row["what"] != "stages"]
    for key, some in groups(parallel, "tracker", "sample").items():
        tables.append(_parallel_table(" ".join(map(str, key)), some))
    text = (
        "Time of each stage, one event at a time on one thread, and the exponent p of processor "
        "time ~ size^p, fitted over all samples in each round."
    )
    return Shown(text, tables, partial(_draw, rows))


def _stage_table(tracker: str, rows: Sequence[Row]) -> Table:
    samples = groups(rows, "sample")
    unsorted = {name: mean(numbers(some, "size")).value for (name,), some in samples.items()}
    sizes = dict(sorted(unsorted.items(), key=lambda entry: entry[1]))
    header = [
        "stage",
        *(f"{name} ({size:.0f}), ms" for name, size in sizes.items()),
        *(f"{name}, ns per unit" for name in list(sizes)[-1:]),
        "exponent",
    ]
    body = []
    for (stage,), some in groups(rows, "stage").items():
        each = [chosen(some, sample=name) for name in sizes]
        body.append(
            [
                str(stage),
                *(mean(numbers(part, "ms")).text for part in each),
                mean(numbers(each[-1], "ns_per_unit")).text,
                exponent(some).text,
            ]
        )
    unit = find_tracker(tracker).size
    return Table(header, body, f"{tracker}: time per event; in brackets its mean size, {unit}")


def _parallel_table(where: str, rows: Sequence[Row]) -> Table:
    body = []
    for (what,), some in groups(rows, "what").items():
        one = numbers(chosen(some, n=1), "events_per_s")
        for (n,), part in groups(some, "n").items():
            rate = numbers(part, "events_per_s")
            gain = ratio(rate, one) if len(one) == len(rate) else NOTHING
            body.append([f"{n} {what}", mean(rate).text, gain.text])
    return Table(("", "events/s", "ratio to one"), body, where)


def _draw(rows: list[Row]) -> list[Drawn]:
    drawn = []
    for (tracker,), some in groups(rows, "tracker").items():
        figure, (left, right) = new_figure(1, 2, 4.2)
        stages = chosen(some, what="stages")
        last = groups(stages, "stage")
        heavy = sorted(last, key=lambda key: -max(numbers(last[key], "ms")))[:7]
        for number, key in enumerate(heavy):
            samples = list(groups(last[key], "sample").values())
            samples.sort(key=lambda part: mean(numbers(part, "size")).value)
            size = [mean(numbers(part, "size")).value for part in samples]
            times = [mean(numbers(part, "ms")) for part in samples]
            p = exponent(last[key])
            label = f"{key[0]}, p = {p.value:.2f}" if math.isfinite(p.value) else str(key[0])
            curve(left, size, times, style(label, number))
        unit = find_tracker(str(tracker)).size
        left.set(xscale="log", yscale="log", xlabel=f"{unit} of an event", ylabel="ms per event")
        left.set_xticks(size, [f"{one / 1000:.0f} 000" for one in size])
        left.set_xticks([], minor=True)
        left.legend(fontsize=7, frameon=False)
        parallel = [row for row in some if row["what"] != "stages"]
        for number, ((what,), part) in enumerate(groups(parallel, "what").items()):
            each = groups(part, "n")
            n = [float(key[0] or 0) for key in each]
            rates = [mean(numbers(one, "events_per_s")) for one in each.values()]
            curve(right, n, rates, style(str(what), number))
        right.set(xlabel="threads or processes", ylabel="events/s")
        right.set_ylim(bottom=0)
        right.xaxis.get_major_locator().set_params(integer=True)
        right.legend(frameon=False)
        caption = (
            f"{tracker}: time of the longest stages against the size of an event, and throughput "
            f"of {parallel[0]['sample'] if parallel else ''} against threads and processes."
        )
        drawn.append(Drawn(f"scaling-{tracker}", figure, caption))
    return drawn


STUDY = Study(
    "scaling",
    "Cost against size, threads and processes",
    "How does the cost of an event grow with its size? How does throughput grow with threads and "
    "with processes? The samples run in turns on one thread. Then the usual sample runs on one to "
    "many threads of one process, and on as many processes of one thread.",
    plan,
    measure,
    show,
)
