"""Throughput and latency against the number of requests in flight."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from trackserve.errors import ServerError, TrackserveError
from trackserve.report.drawing import new_figure
from trackserve.report.page import Table
from trackserve.trackers.registry import find_tracker

from . import perf_analyzer
from .figures import curve, style
from .lab import Lab, Served
from .load import Load, by_threads
from .perf_analyzer import Analyzer
from .samples import Sample
from .spread import Spread, mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

OWN = "own"
PLAIN = "own, all outputs"
NVIDIA = "perf_analyzer"
"""Generators of load: our client, which asks for the results alone; and two that ask for every
output, as perf_analyzer does: ours, with Triton's own Python client, and NVIDIA's."""
SERVER = ("queue", "input", "compute", "output")
_WINDOW = 0.5
"""Length of a window of perf_analyzer, in that of a measurement of ours; it has three."""
_WINDOW_EVENTS = 5
"""Least length of a window, in times of an event: a window without an answer is an error."""
_US = {
    "client_send_ms": "Client Send",
    "network_ms": "Network+Server Send/Recv",
    "queue_ms": "Server Queue",
    "input_ms": "Server Compute Input",
    "compute_ms": "Server Compute Infer",
    "output_ms": "Server Compute Output",
    "client_recv_ms": "Client Recv",
    "p50_ms": "p50 latency",
    "p90_ms": "p90 latency",
    "p95_ms": "p95 latency",
    "p99_ms": "p99 latency",
}
"""Columns of perf_analyzer's CSV, which are in us, by ours."""


def plan(how: How) -> list[Point]:
    """Each generator at each concurrency; the plain one with one in flight, to compare."""
    points = []
    for tracker in how.trackers:
        first = how.trackers[0] == tracker
        samples = [how.usual(tracker)] if how.quick else how.of(tracker)[:3]
        for sample in samples:
            for n in _instances(how.quick, first):
                here: Values = {"tracker": tracker, "sample": sample.name, "instances": n}
                setting = f"{tracker} {sample.name} {n}"
                levels = (1, 4, 8) if how.quick else (1, 2, 3, 4, 6, 8, 12, 16, 32)
                for level in levels:
                    own: Values = {"generator": OWN, "in_flight": level}
                    points.append(Point(here | own, setting))
                for level in (1, 4) if how.quick else (1, 2, 4, 8, 16, 32):
                    theirs: Values = {"generator": NVIDIA, "in_flight": level}
                    points.append(Point(here | theirs, setting))
                points.append(Point(here | {"generator": PLAIN, "in_flight": 1}, setting))
    return points


def _instances(quick: bool, first: bool) -> Sequence[int]:
    if quick:
        return (1, 2) if first else (1,)
    return (1, 2, 4)


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Throughput, latency and the server's times of one generator at one concurrency."""
    sample = lab.how.find(values["tracker"], values["sample"])
    served = lab.served(sample, instances=int(values["instances"] or 1))
    in_flight = int(values["in_flight"] or 1)
    if values["generator"] == NVIDIA:
        yield from _nvidia(lab, sample, served, in_flight)
        return
    before = served.times()
    if values["generator"] == OWN:
        timed = lab.client(*served.way("grpc"))
        load = lab.stream(timed, served.model, sample, in_flight=in_flight, per_request=1)
    else:
        load = _plain(lab, sample, served)
    server = served.times().since(before)
    n = max(server.requests, 1)
    yield _row(load) | {
        f"{part}_ms": 1e3 * spent / n for part, spent in zip(SERVER, server[1:], strict=True)
    }


def _row(load: Load) -> Row:
    return {
        "events_per_s": load.rate,
        **{f"p{p}_ms": 1e3 * load.percentile(p) for p in (50, 90, 95, 99)},
        "answered": load.answered,
        "different": load.different,
    }


def _plain(lab: Lab, sample: Sample, served: Served) -> Load:
    """One request in flight, by Triton's own client, for every output."""
    from tritonclient.grpc import InferenceServerClient, InferInput

    @contextmanager
    def connect() -> Iterator[Any]:
        with InferenceServerClient(served.url.removeprefix("grpc://")) as triton:
            yield triton

    triton = lab.keep(("plain", served.url), connect)
    codec = find_tracker(sample.tracker).codec
    requests = []
    for event in lab.events(sample):
        arrays = codec.encode_event(event)
        inputs = []
        for spec in (spec for spec in codec.inputs if spec.name in arrays):
            tensor = InferInput(spec.name, list(arrays[spec.name].shape), spec.triton_type)
            inputs.append(tensor.set_data_from_numpy(arrays[spec.name]))
        requests.append(inputs)

    def call(inputs: Any) -> Any:
        triton.infer(served.model, inputs)
        return _ANSWER

    return by_threads(call, requests, 1, lab.span, {})


class _Answer:
    """An answer that is not looked at."""

    event = -1


_ANSWER = _Answer()


def _nvidia(lab: Lab, sample: Sample, served: Served, in_flight: int) -> Iterable[Row]:
    try:
        analyzer = lab.keep("analyzer", _analyzer)
        if isinstance(analyzer, TrackserveError):
            raise analyzer
        if lab.is_warming:
            return
        data = lab.keep(("input", sample), partial(_input, lab, sample))
        target = served.url.removeprefix("grpc://")
        seconds = max(_WINDOW * lab.span.seconds, _WINDOW_EVENTS * lab.cost(sample))
        found, line = perf_analyzer.run_analyzer(
            analyzer, target, served.model, data, in_flight, seconds
        )
    except TrackserveError as error:
        where = f"{sample.tracker} {sample.name}, {in_flight} in flight"
        lab.note(f"{where}, our own generator alone: {error}")
        return
    lab.commands[line] = None
    row: Row = {"events_per_s": found.get("Inferences/Second")}
    yield row | {ours: found[theirs] / 1e3 for ours, theirs in _US.items() if theirs in found}


@contextmanager
def _analyzer() -> Iterator[Analyzer | ServerError]:
    try:
        yield perf_analyzer.find_analyzer()
    except ServerError as error:
        yield error


@contextmanager
def _input(lab: Lab, sample: Sample) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / f"{sample.name}.json"
        perf_analyzer.write_input(file, find_tracker(sample.tracker).codec, lab.events(sample))
        yield file


def show(rows: list[Row]) -> Shown:
    tables = [
        _table(f"{tracker} {sample}, instances: {n}", some)
        for (tracker, sample, n), some in groups(rows, "tracker", "sample", "instances").items()
    ]
    if checks := _checks(rows):
        header = ("one in flight", NVIDIA, PLAIN, "ratio")
        caption = "Times of the server, ms: the two generators must agree within 5 %."
        tables.append(Table(header, checks, caption))
    text = (
        "perf_analyzer asks for every output of the model; our client asks for one tensor with "
        "the results alone, which is less work for all. So they are compared by a generator of "
        "ours that asks for every output too, by the times of the server. With one request in "
        "flight no client waits for itself."
    )
    return Shown(text, tables, partial(_draw, rows))


def _server_ms(rows: Sequence[Row]) -> list[float]:
    parts = [numbers(rows, f"{part}_ms") for part in SERVER]
    return [sum(values) for values in zip(*parts, strict=True)]


def _checks(rows: Sequence[Row]) -> list[list[str]]:
    body = []
    one = chosen(rows, in_flight=1)
    for key, some in groups(one, "tracker", "sample", "instances").items():
        theirs, ours = (_server_ms(chosen(some, generator=g)) for g in (NVIDIA, PLAIN))
        if theirs and len(theirs) == len(ours):
            name = "{} {}, instances: {}".format(*key)
            body.append([name, mean(theirs).text, mean(ours).text, ratio(theirs, ours).text])
    return body


def _table(where: str, rows: Sequence[Row]) -> Table:
    body = []
    for (generator, n), some in groups(rows, "generator", "in_flight").items():
        columns = ("events_per_s", "p50_ms", "p95_ms", "p99_ms", *(f"{p}_ms" for p in SERVER))
        body.append([f"{generator}, {n}", *(mean(numbers(some, c)).text for c in columns)])
    header = (
        *("generator, in flight", "events/s", "p50, ms", "p95, ms", "p99, ms"),
        *(f"{part}, ms" for part in SERVER),
    )
    return Table(header, body, where)


def _draw(rows: list[Row]) -> list[Drawn]:
    drawn = []
    for (tracker, sample), some in groups(rows, "tracker", "sample").items():
        figure, (left, right) = new_figure(1, 2)
        series = itertools.count()
        for (n, generator), part in groups(some, "instances", "generator").items():
            if generator == PLAIN:
                continue
            number = next(series)
            every = " (all outputs)" if generator == NVIDIA else ""
            look = style(f"{generator}{every}, {n} instance{'s' * (n != 1)}", number)
            levels = groups(part, "in_flight")
            x = [float(key[0] or 0) for key in levels]
            for axes, column in ((left, "events_per_s"), (right, "p50_ms")):
                y: list[Spread] = [mean(numbers(one, column)) for one in levels.values()]
                curve(axes, x, y, look)
            tail = [mean(numbers(one, "p95_ms")).value for one in levels.values()]
            right.plot(x, tail, ":", color=look.colour, lw=1)
        for axes in (left, right):
            axes.set(xlabel="requests in flight")
            axes.set_ylim(bottom=0)
        left.set(ylabel="events/s")
        right.set(ylabel="median latency [ms]; dotted: 95 %")
        left.legend(fontsize=7, frameon=False, loc="lower right")
        figure.suptitle(f"{tracker} {sample}", fontsize=10)
        caption = (
            f"{tracker} {sample}: throughput and latency against requests in flight (Fig. 6 of the "
            "paper)."
        )
        drawn.append(Drawn(f"concurrency-{tracker}-{sample}", figure, caption))
    return drawn


STUDY = Study(
    "concurrency",
    "Requests in flight",
    "How do throughput and latency grow with the number of requests in flight, for one instance "
    "of a model and more? NVIDIA's perf_analyzer and our own generator measure with the same real "
    "events, in turns (section 4.2 and Fig. 6 of the paper).",
    plan,
    measure,
    show,
)
