"""Instances of a model: throughput and utilisation, and one that batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from trackserve.report.drawing import new_figure
from trackserve.report.page import Table
from trackserve.serving.backend.runtime import cores
from trackserve.serving.limits import Limits
from trackserve.serving.repository import usable_backends

from .direct_vs_served import row_of, spending
from .figures import curve, style
from .lab import Lab
from .load import by_threads
from .meter import Meter
from .spread import Spread, mean, quotient, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

ONE = "one event each"
BATCH = "one that batches"
OWN = "one, default"
KINDS = {
    ONE: Limits(workers=1, batch_events=1),
    BATCH: Limits(workers=1, batch_events=8),
    OWN: None,
}
"""Limits of an instance, by the kind of server; the last has a worker for each core."""


def plan(how: How) -> list[Point]:
    """Each number of instances with each backend, at several concurrencies."""
    points = []
    for tracker in how.trackers[:1] if how.quick else how.trackers:
        here: Values = {"tracker": tracker, "sample": how.usual(tracker).name}
        for backend in [how.backend] if how.quick else usable_backends():
            counts = (1, 2) if how.quick else range(1, 8)
            servers = [(ONE, n) for n in counts] + [(BATCH, 1), (OWN, 1)]
            for kind, n in servers:
                values = here | {"backend": backend, "kind": kind, "instances": n}
                setting = f"{tracker} {backend} {kind} {n}"
                points.append(Point(values | {"way": "direct"}, setting))
                for more in (1, 4) if how.quick else (0, 1, 2, 4, 7, 10):
                    in_flight: Values = {"way": "served", "in_flight": n + more}
                    points.append(Point(values | in_flight, setting))
    return points


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Throughput of a server, or of one direct thread beside it."""
    sample = lab.how.find(values["tracker"], values["sample"])
    events, expected = lab.events(sample), lab.expected(sample)
    if values["way"] == "direct":
        pipeline = lab.pipeline(sample)
        yield row_of(by_threads(pipeline.reconstruct, events, 1, lab.span, expected))
        return
    served = lab.served(
        sample,
        backend=str(values["backend"]),
        instances=int(values["instances"] or 1),
        limits=KINDS[str(values["kind"])],
    )
    timed, in_flight = lab.client(*served.way("auto")), int(values["in_flight"] or 1)
    with Meter() as meter, spending(served) as spent:
        load = lab.stream(timed, served.model, sample, in_flight=in_flight, per_request=1)
    busy = meter.usage.busy
    if busy is None:
        busy = float(spent["server_cores"] or 0) / cores()
    yield row_of(load) | spent | {"utilisation": busy}


def show(rows: list[Row]) -> Shown:
    tables = [
        _table(f"{tracker} {sample}", some)
        for (tracker, sample), some in groups(rows, "tracker", "sample").items()
    ]
    text = (
        "For each server the concurrency of the largest throughput, from the number of instances "
        "to ten more. Utilisation is the share of the time in which a GPU ran a kernel (NVML), or "
        "without a GPU the processor time of the server's processes over that of all cores; the "
        "client takes its part of the same cores. The ratio is to one direct thread, measured in "
        "turns. An instance is a process of the Python backend, or a group of workers of the "
        f'native one; "{OWN}" is what `trackserve serve` starts: one instance with a worker for '
        "each core.\n\n" + " ".join(filter(None, map(_verdict, _places(rows).values())))
    )
    return Shown(text, tables, partial(_draw, rows))


def _places(rows: Sequence[Row]) -> dict[tuple[object, ...], list[Row]]:
    return dict(groups(rows, "tracker", "backend").items())


def best(rows: Sequence[Row]) -> list[Row]:
    """The rows of the concurrency that has the largest mean throughput."""
    each = groups(chosen(rows, way="served"), "in_flight").values()
    return max(each, key=lambda some: mean(numbers(some, "events_per_s")).value)


def _to_direct(rows: Sequence[Row]) -> Spread:
    """Largest throughput of a server over that of a direct thread, measured in turns."""
    direct = numbers(chosen(rows, way="direct"), "events_per_s")
    return ratio(numbers(best(rows), "events_per_s"), direct)


def _verdict(rows: Sequence[Row]) -> str:
    """Whether many instances or one that batches wins, and by how much."""
    each = groups(chosen(rows, kind=ONE), "instances")
    gains = {n: _to_direct(some) for (n,), some in each.items()}
    most = max(gains, key=lambda n: gains[n].value)
    batch = _to_direct(chosen(rows, kind=BATCH))
    single = gains[next(iter(gains))]
    return (
        f"{rows[0]['tracker']}, {rows[0]['backend']} backend: {most} instances that run one event "
        f"each reach {quotient(gains[most], batch).text} times the throughput of one that batches, "
        f"which reaches {quotient(batch, single).text} times that of one that does not."
    )


def _table(where: str, rows: Sequence[Row]) -> Table:
    body = []
    for (backend, kind, n), some in groups(rows, "backend", "kind", "instances").items():
        top = best(some)
        body.append(
            [
                f"{backend}, {n} {kind}" if kind == ONE else f"{backend}, {kind}",
                mean(numbers(top, "events_per_s")).text,
                _to_direct(some).text,
                mean(numbers(top, "utilisation")).text,
                str(top[0]["in_flight"]),
                mean(numbers(top, "p50_ms")).text,
            ]
        )
    header = ("server", "events/s", "ratio to direct", "utilisation", "in flight", "p50, ms")
    return Table(header, body, f"{where}: largest throughput")


def _draw(rows: list[Row]) -> list[Drawn]:
    drawn = []
    for (tracker,), some in groups(rows, "tracker").items():
        figure, (left, right) = new_figure(1, 2)
        for number, ((backend,), part) in enumerate(groups(some, "backend").items()):
            each = {
                float(n or 0): best(these)
                for (n,), these in groups(chosen(part, kind=ONE), "instances").items()
            }
            for axes, column in ((left, "events_per_s"), (right, "utilisation")):
                spreads: list[Spread] = [mean(numbers(top, column)) for top in each.values()]
                curve(axes, list(each), spreads, style(f"{backend}, {ONE}", number))
            for kind, line in ((BATCH, ":"), (OWN, "--")):
                top = mean(numbers(best(chosen(part, kind=kind)), "events_per_s"))
                colour = style("", number).colour
                left.axhline(top.value, color=colour, ls=line, lw=1, label=f"{backend}, {kind}")
        left.set(xlabel="instances", ylabel="events/s")
        left.set_ylim(bottom=0)
        right.set(xlabel="instances", ylabel="utilisation", ylim=(0, 1.05))
        for axes in (left, right):
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(
            *left.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=3,
            fontsize=8,
            frameon=False,
        )
        caption = (
            f"{tracker}: largest throughput, and the utilisation there, against the number of "
            "instances (Fig. 7 of the paper)."
        )
        drawn.append(Drawn(f"instances-{tracker}", figure, caption))
    return drawn


STUDY = Study(
    "instances",
    "Instances of a model",
    "How many instances of a model keep a device busy (section 4.2 and Fig. 7 of the paper)? One "
    "to seven instances that each run one event at a time, beside one instance that takes the "
    "waiting events as a batch.",
    plan,
    measure,
    show,
)
