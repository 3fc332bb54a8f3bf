"""Encoding, sending and decoding beside the kernels."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from trackserve.report.drawing import GREY, PALETTE, new_figure
from trackserve.report.page import Table
from trackserve.trackers.registry import find_tracker

from .lab import Lab
from .samples import Sample
from .spread import Spread, mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

STEPS = ("encode event", "decode event", "kernels", "encode result", "decode result")
KERNELS = "kernels"
PEER = 55 / 6.5
"""Time of the output conversion of LST (CMS) over that of its kernels, on an L4, as published."""


def plan(how: How) -> list[Point]:
    """The steps on each sample; sending by each transport."""
    points = []
    for tracker in how.trackers:
        for sample in how.of(tracker)[:2] if how.quick else how.of(tracker):
            here: Values = {"tracker": tracker, "sample": sample.name}
            setting = f"{tracker} {sample.name}"
            points.append(Point(here | {"what": "steps"}, setting))
            points += [
                Point(here | {"what": "send", "transport": transport}, setting)
                for transport in ("shm", "grpc")
            ]
    return points


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Milliseconds per event of each step in this process, or of the way to a server."""
    sample = lab.how.find(values["tracker"], values["sample"])
    if values["what"] == "steps":
        return _steps(lab, sample)
    served = lab.served(sample)
    client, timings = lab.client(*served.way(str(values["transport"])))
    timings.clear()
    for event in _some(lab, sample):
        client.reconstruct(served.model, event)
    name = f"network, {values['transport']}"
    return [{"step": name, "ms": 1e3 * fmean(one.network for one in timings)}]


def _some(lab: Lab, sample: Sample) -> Iterable[Any]:
    """Events for the time of a measurement, one at least."""
    events = lab.events(sample)
    end = time.perf_counter() + lab.span.seconds
    n = 0
    while not n or time.perf_counter() < end:
        yield events[n % len(events)]
        n += 1


def _steps(lab: Lab, sample: Sample) -> Iterable[Row]:
    codec, pipeline = find_tracker(sample.tracker).codec, lab.pipeline(sample)
    names = codec.output_names()
    spent: dict[str, list[float]] = {step: [] for step in STEPS}
    processor: dict[str, list[float]] = {step: [] for step in STEPS}

    def timed(step: str, call: Any) -> Any:
        start, thread = time.perf_counter(), time.thread_time()
        result = call()
        processor[step].append(time.thread_time() - thread)
        spent[step].append(time.perf_counter() - start)
        return result

    for event in _some(lab, sample):
        tensors = timed("encode event", partial(codec.encode_event, event))
        decoded = timed("decode event", partial(codec.decode_event, tensors))
        result = timed(KERNELS, partial(pipeline.reconstruct, decoded))
        outputs = timed("encode result", partial(codec.encode_result, result, names))
        timed("decode result", partial(codec.decode_result, outputs, event.event, ()))
    for step in STEPS:
        ms, processor_ms = 1e3 * fmean(spent[step]), 1e3 * fmean(processor[step])
        yield {"step": step, "ms": ms, "processor_ms": processor_ms}


def show(rows: list[Row]) -> Shown:
    places = groups(rows, "tracker", "sample")
    steps = list(dict.fromkeys(str(row["step"]) for row in rows))
    header = ("event", *(f"{step}, ms" for step in steps), "all packing / kernels")
    body = []
    for (tracker, sample), some in places.items():
        values = [mean(numbers(chosen(some, step=step), "ms")).text for step in steps]
        body.append([f"{tracker} {sample}", *values, packing(some).text])
    text = (
        "The steps run one after the other on one thread of this process; the network is what a "
        "round trip takes beyond the server's queue and work, with Triton's own part. The last "
        "column has encoding and decoding of event and result over the kernels. A published "
        f"tracker on a GPU (LST of CMS) takes {PEER:.1f} times its kernels to convert its output "
        "alone."
    )
    return Shown(text, [Table(header, body, "Time of an event.")], partial(_draw, rows))


def packing(rows: Sequence[Row]) -> Spread:
    """Time of encoding and decoding over that of the kernels."""
    each = [numbers(chosen(rows, step=step), "ms") for step in STEPS if step != KERNELS]
    together = [sum(parts) for parts in zip(*each, strict=True)]
    return ratio(together, numbers(chosen(rows, step=KERNELS), "ms"))


def _draw(rows: list[Row]) -> list[Drawn]:
    places = groups(rows, "tracker", "sample")
    steps = [s for s in dict.fromkeys(str(row["step"]) for row in rows) if s != KERNELS]
    figure, axes = new_figure(1, 1)
    high = 0.8 / len(steps)
    for number, step in enumerate(steps):
        shares = [
            100 * mean(numbers(chosen(some, step=step), "ms")).value
            / mean(numbers(chosen(some, step=KERNELS), "ms")).value
            for some in places.values()
        ]  # fmt: skip
        at = [-place + 0.4 - (number + 0.5) * high for place in range(len(places))]
        axes.barh(at, shares, height=high, color=PALETTE[number], label=step)
    axes.set_yticks([-n for n in range(len(places))], [f"{a} {b}" for a, b in places])
    axes.axvline(100, color=GREY, lw=1, ls=":", label="as long as the kernels")
    axes.set(xscale="log", xlabel="time, % of the kernels")
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    caption = "Time of encoding, decoding and the network as a share of the kernels' time."
    return [Drawn("packing", figure, caption)]


STUDY = Study(
    "packing",
    "Packing and unpacking",
    "How long do encoding, sending and decoding of events and results take beside the kernels?",
    plan,
    measure,
    show,
)
