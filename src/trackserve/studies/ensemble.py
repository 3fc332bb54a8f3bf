"""One custom backend beside an ensemble of the same stages as models of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trackserve.report.drawing import BLUE, GREY, RED, new_figure
from trackserve.report.page import Table
from trackserve.serving.backend.runtime import cores
from trackserve.serving.repository import usable_backends, write_model
from trackserve.serving.server import Server
from trackserve.wire.events import POINTS

from .direct_vs_served import row_of, spending
from .figures import bars
from .lab import Lab, Served
from .load import by_threads
from .samples import Sample
from .spread import added, difference, mean, ratio
from .stages import MODEL, STAGES, make_stages, write_ensemble
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

TRACKER = "exatrkx"
"""The tracker whose stages pass few, large tensors: the one that the paper served as an ensemble
first."""
ENSEMBLE = "ensemble"


def plan(how: How) -> list[Point]:
    """Each way, with one request in flight and with twice as many as there are cores."""
    if TRACKER not in how.trackers:
        return []
    points = []
    ways = [f"custom backend, {backend}" for backend in usable_backends()]
    samples = [how.usual(TRACKER)] if how.quick else how.of(TRACKER)[:3]
    for sample in samples:
        for in_flight in (1, 2 * cores()):
            for way in ("direct", *ways, ENSEMBLE):
                values: Values = {"tracker": TRACKER, "sample": sample.name, "way": way}
                points.append(Point(values | {"in_flight": in_flight}, sample.name))
    return points


class _Labels(NamedTuple):
    """The answer that all ways give: the labels of the points of an event, as bytes."""

    event: int
    labels: bytes


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Throughput and latency of a way, which gives the labels alone."""
    sample = lab.how.find(values["tracker"], values["sample"])
    threads = int(values["in_flight"] or 1)
    events = lab.events(sample)
    expected = {
        number: _Labels(number, result.labels.component.astype(np.int64).tobytes())
        for number, result in lab.expected(sample).items()
    }
    way = str(values["way"])
    if way == "direct":
        pipeline = lab.pipeline(sample)

        def call(event: Any) -> _Labels:
            labels = pipeline.reconstruct(event).labels.component
            return _Labels(event.event, labels.astype(np.int64).tobytes())

        with spending(None) as spent:
            load = by_threads(call, events, min(threads, cores()), lab.span, expected)
        between = 0.0
    else:
        if way == ENSEMBLE:
            served = lab.keep(("ensemble", sample), partial(_serve, lab, sample))
        else:
            served = lab.served(sample, backend=way.rpartition(" ")[2])
        ask = lab.keep(("asking", served.url), partial(_asking, served))
        with spending(served) as spent:
            load = by_threads(ask, events, threads, lab.span, expected)
        between = lab.keep(("between", sample), partial(_between, lab, sample))
    row = row_of(load) | spent
    yield row | ({"MB_between": between / 1e6} if way == ENSEMBLE else {})


@contextmanager
def _serve(lab: Lab, sample: Sample) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="trackserve-") as repository:
        # a model of ours brings the folder of backends
        write_model(repository, TRACKER, lab.options(sample))
        write_ensemble(Path(repository), "default", cores())
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0) as server:
            yield Served(server, MODEL)


@contextmanager
def _asking(served: Served) -> Iterator[Any]:
    """A function that asks a model for the labels of an event, by Triton's own client."""
    from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput

    name = POINTS.name if served.model == TRACKER else STAGES[0].inputs[0]
    with InferenceServerClient(served.url.removeprefix("grpc://")) as triton:

        def ask(event: Any) -> _Labels:
            points = np.ascontiguousarray(event.points.position)
            tensor = InferInput(name, list(points.shape), POINTS.triton_type)
            tensor.set_data_from_numpy(points)
            outputs = [InferRequestedOutput("LABELS")]
            answer = triton.infer(served.model, [tensor], outputs=outputs)
            return _Labels(event.event, answer.as_numpy("LABELS").tobytes())

        yield ask


@contextmanager
def _between(lab: Lab, sample: Sample) -> Iterator[float]:
    """Mean bytes of the tensors that the stages of an ensemble pass on, for an event."""
    stages = make_stages("default")
    total = 0
    events = lab.events(sample)[:2]
    for event in events:
        tensors = {"POINTS": np.ascontiguousarray(event.points.position)}
        for stage in STAGES:
            found = stages[stage.name](tensors)
            total += sum(array.nbytes for array in found.values())
            tensors |= found
    yield total / len(events)


def show(rows: list[Row]) -> Shown:
    tables = []
    for (sample, n), some in groups(rows, "sample", "in_flight").items():
        tables.append(_table(f"{TRACKER} {sample}, {n} in flight", some))
    wrong, answered = (sum(numbers(rows, name)) for name in ("different", "answered"))
    between = mean(numbers(chosen(rows, way=ENSEMBLE), "MB_between")).value
    text = (
        f"All ways take points and return labels by gRPC; {wrong:.0f} of more than "
        f"{answered:.0f} differ from the direct ones. The ensemble has a model for each of "
        f"{len(STAGES)} stages, in the Python backend, which pass {between:.1f} MB on for an "
        "event. The paper left its ensemble for a custom backend for such copies and the waits "
        "between models. Times of direct threads are without any client."
        if rows
        else f"There are no events of {TRACKER}, whose stages the ensemble has."
    )
    return Shown(text, tables, partial(_draw, rows))


def _table(where: str, rows: Sequence[Row]) -> Table:
    each = groups(rows, "way")
    first = each[("direct",)]
    body = []
    for (way,), some in each.items():
        rate, latency = numbers(some, "events_per_s"), numbers(some, "p50_ms")
        alone = some[0]["in_flight"] == 1 and way != "direct"
        cost = difference(numbers(some, "ms"), numbers(first, "ms"))
        body.append(
            [
                str(way),
                mean(rate).text,
                ratio(rate, numbers(first, "events_per_s")).text,
                mean(latency).text,
                added(cost, "ms") if alone else "-",
                mean(numbers(some, "server_cores")).text,
            ]
        )
    header = ("way", "events/s", "ratio to direct", "p50, ms", "added to an event", "server, cores")
    return Table(header, body, where)


def _draw(rows: list[Row]) -> list[Drawn]:
    if not rows:
        return []
    figure, axes = new_figure(1, 2)
    sample = rows[0]["sample"]
    some = chosen(rows, sample=sample)
    counts = sorted({int(row["in_flight"] or 0) for row in some})
    for panel, n, column, label in (
        (axes[0], counts[0], "p50_ms", "median latency [ms], 1 in flight"),
        (axes[1], counts[-1], "events_per_s", f"events/s, {counts[-1]} in flight"),
    ):
        each = groups(chosen(some, in_flight=n), "way")
        values = {str(way): mean(numbers(part, column)) for (way,), part in each.items()}
        colours = [RED if way == ENSEMBLE else GREY if way == "direct" else BLUE for way in values]
        bars(panel, values, colours, label)
    axes[1].set_yticklabels([])
    caption = f"{TRACKER} {sample}: a custom backend beside an ensemble of the same stages."
    return [Drawn("ensemble", figure, caption)]


STUDY = Study(
    "ensemble",
    "A custom backend beside an ensemble",
    "What does a custom backend save (section 2.3.1 of the paper)? The stages of the learned "
    "tracker run as one model, and as several models that a Triton ensemble joins.",
    plan,
    measure,
    show,
)
