"""One device against several behind one client."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from trackserve.report.drawing import GREY, new_figure
from trackserve.report.page import Table
from trackserve.serving.limits import Limits
from trackserve.trackers.registry import find_tracker

from .direct_vs_served import row_of, spending
from .emulated import EmulatedServer, Emulation
from .figures import curve, style
from .lab import Lab
from .load import by_stream
from .samples import Sample
from .spread import mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

SERVICE = 0.05
"""Time that an emulated device takes for an event, s. It is long, so that the servers, which share
this process and its core, have time."""
_FAST = 0.5
"""Service time of the faster half of unequal devices, in that of the others."""
_LEAD = 20
"""Service times in which a stream finds the windows of all servers."""
EQUAL, UNEQUAL, CORES = "equal", "unequal", "cores"


def plan(how: How) -> list[Point]:
    """Emulated devices, equal and not, in turns; then servers on one core and more."""
    points = []
    tracker = how.trackers[0]
    here: Values = {"tracker": tracker, "sample": how.usual(tracker).name}
    for n in (1, 2, 4) if how.quick else (1, 2, 3, 4, 6, 8):
        points.append(Point(here | {"what": EQUAL, "devices": n}, "emulated"))
    for n in (2, 4) if how.quick else (2, 4, 8):
        points.append(Point(here | {"what": UNEQUAL, "devices": n}, "emulated"))
    available = len(os.sched_getaffinity(0))
    for tracker in how.trackers:
        here = {"tracker": tracker, "sample": how.usual(tracker).name, "what": CORES}
        for n in sorted({1, min(2, available)}):
            points.append(Point(here | {"devices": n}, f"{tracker} cores"))
    return points


class Emulated(NamedTuple):
    """Emulated servers, the service time of each in s, and one client's url of all."""

    servers: Sequence[EmulatedServer]
    seconds: Sequence[float]

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    @property
    def most(self) -> float:
        """Events per second of all devices at work."""
        return sum(1 / seconds for seconds in self.seconds)


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Throughput of one client of so many devices, or of a server on so many cores."""
    sample = lab.how.find(values["tracker"], values["sample"])
    n = int(values["devices"] or 1)
    yield (
        _cores(lab, sample, n)
        if values["what"] == CORES
        else _devices(lab, sample, str(values["what"]), n)
    )


def _devices(lab: Lab, sample: Sample, what: str, n: int) -> Row:
    servers = lab.keep(("emulated", what, n), partial(_emulate, lab, sample, what, n))
    client, timings = lab.client(servers.url, "grpc")
    before = [server.answered for server in servers.servers]
    load = by_stream(
        client,
        sample.tracker,
        lab.events(sample),
        lab.span,
        {},
        timings,
        per_request=1,
        lead=0.0 if lab.is_warming else _LEAD * SERVICE,
    )
    after = [server.answered for server in servers.servers]
    work = [(b - a) * seconds for a, b, seconds in zip(before, after, servers.seconds, strict=True)]
    uneven = max(work) / max(float(np.mean(work)), SERVICE) - 1
    return row_of(load) | {"most_per_s": servers.most, "uneven": uneven}


@contextmanager
def _emulate(lab: Lab, sample: Sample, what: str, n: int) -> Iterator[Emulated]:
    tracker = find_tracker(sample.tracker)
    result: Any = next(iter(lab.expected(sample).values()))
    seconds = [SERVICE * (_FAST if what == UNEQUAL and k % 2 else 1.0) for k in range(n)]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(EmulatedServer({sample.tracker: Emulation(tracker, result, one)}))
            for one in seconds
        ]
        yield Emulated(servers, seconds)


def _cores(lab: Lab, sample: Sample, n: int) -> Row:
    """A real server that may use the last ``n`` processors, with a worker for each."""
    on_cores = frozenset(sorted(os.sched_getaffinity(0))[-n:])
    served = lab.served(sample, limits=Limits(workers=n), on_cores=on_cores)
    timed = lab.client(*served.way("auto"))
    with spending(served) as spent:
        load = lab.stream(timed, served.model, sample)
    return row_of(load) | spent


def show(rows: list[Row]) -> Shown:
    emulated = [row for row in rows if row["what"] != CORES]
    real = chosen(rows, what=CORES)
    tables = []
    if emulated:
        tables.append(_emulated_table(emulated))
    for (tracker,), some in groups(real, "tracker").items():
        tables.append(_core_table(str(tracker), some))
    text = (
        f"EMULATED: the devices of the first table compute nothing. Each is a server that waits "
        f"{1e3 * SERVICE:.0f} ms for an event ({1e3 * SERVICE * _FAST:.0f} ms every second one "
        "of unequal devices) and then answers with a result that was made before; they show how "
        "one client shares its events among them, and nothing else. Unevenness is the most "
        "loaded device's work over the mean, less 1. The cores are real: a server may use one "
        "or two processors, with a worker for each; its client uses all."
    )
    return Shown(text, tables, partial(_draw, rows))


def _emulated_table(rows: Sequence[Row]) -> Table:
    one = numbers(chosen(rows, what=EQUAL, devices=1), "events_per_s")
    body = []
    for (what, n), some in groups(rows, "what", "devices").items():
        rate, most = (numbers(some, name) for name in ("events_per_s", "most_per_s"))
        body.append(
            [
                f"{n} {what}" if what == UNEQUAL else str(n),
                mean(rate).text,
                ratio(rate, one).text,
                ratio(rate, most).text,
                mean(numbers(some, "uneven")).text,
                mean(numbers(some, "p50_ms")).text,
            ]
        )
    header = (
        *("devices", "events/s", "ratio to one", "share of what they can do", "unevenness"),
        "p50, ms",
    )
    return Table(header, body, "Emulated devices behind one client.")


def _core_table(tracker: str, rows: Sequence[Row]) -> Table:
    one = numbers(chosen(rows, devices=1), "events_per_s")
    body = []
    for (n,), some in groups(rows, "devices").items():
        rate = numbers(some, "events_per_s")
        body.append(
            [
                str(n),
                mean(rate).text,
                ratio(rate, one).text,
                mean(numbers(some, "server_cores")).text,
                mean(numbers(some, "client_cores")).text,
            ]
        )
    header = ("cores", "events/s", "ratio to one", "server, cores", "client, cores")
    return Table(header, body, f"{tracker}: a server on one core and on two")


def _draw(rows: list[Row]) -> list[Drawn]:
    figure, (left, right) = new_figure(1, 2)
    for number, what in enumerate((EQUAL, UNEQUAL)):
        each = groups(chosen(rows, what=what), "devices")
        n = [float(key[0] or 0) for key in each]
        if not n:
            continue
        rates = [mean(numbers(some, "events_per_s")) for some in each.values()]
        curve(left, n, rates, style(f"{what}, emulated", number))
        most = [mean(numbers(some, "most_per_s")).value for some in each.values()]
        left.plot(n, most, ":", color=GREY, lw=1)
    left.set(xlabel="devices (emulated)", ylabel="events/s", title="dotted: what they can do")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8, frameon=False)
    for number, ((tracker,), some) in enumerate(
        groups(chosen(rows, what=CORES), "tracker").items()
    ):
        each = groups(some, "devices")
        one = numbers(next(iter(each.values())), "events_per_s")
        gains = [ratio(numbers(part, "events_per_s"), one) for part in each.values()]
        curve(right, [float(key[0] or 0) for key in each], gains, style(str(tracker), number))
    right.set(xlabel="cores of the server", ylabel="throughput, ratio to one core")
    right.set_ylim(bottom=0)
    right.legend(fontsize=8, frameon=False)
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    caption = (
        "Throughput against devices (Fig. 8 of the paper): left emulated servers behind one "
        "client, right a real server on one core and on two."
    )
    return [Drawn("devices", figure, caption)]


STUDY = Study(
    "devices",
    "One device against several",
    "How does throughput grow with the number of devices of one client (Fig. 8 of the paper)? "
    "Servers with emulated service times take the place of devices. A real server also runs on one "
    "core and on two.",
    plan,
    measure,
    show,
)
