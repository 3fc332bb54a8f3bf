"""Direct and served: throughput, latency and bits."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from trackserve.report.drawing import BLUE, GREY, RED, new_figure
from trackserve.report.page import Table
from trackserve.serving.backend.runtime import cores
from trackserve.serving.repository import usable_backends

from .figures import bars
from .lab import Lab, Served, output_bytes, size_of
from .load import Load, by_threads
from .spread import NOTHING, added, difference, mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

PAPER_THREADS = 4
"""Threads of the paper's CPU-only job."""
CLIENT_THREADS = 10
"""Threads of a client, each of which waits for one event."""


def plan(how: How) -> list[Point]:
    """Each way, in turns, on each sample and with each backend."""
    points = []
    transports = ("auto",) if how.quick else ("shm", "grpc", "http")
    for tracker in how.trackers:
        for sample in [how.usual(tracker)] if how.quick else how.of(tracker)[:4]:
            for backend in [how.backend] if how.quick else usable_backends():
                here: Values = {"tracker": tracker, "sample": sample.name, "backend": backend}
                ways: list[Values] = [
                    {"way": "direct", "threads": n, "beside": 1 if n == 1 else cores()}
                    for n in dict.fromkeys((1, cores(), PAPER_THREADS))
                ]
                ways += [
                    {"way": "client", "threads": 1, "transport": "auto", "beside": 1},
                    {"way": "client", "threads": CLIENT_THREADS, "transport": "auto"},
                ]
                ways += [{"way": "stream", "transport": transport} for transport in transports]
                ways = [{"beside": cores()} | way for way in ways]
                setting = f"{tracker} {sample.name} {backend}"
                points += [Point(here | way, setting) for way in ways]
    return points


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """Throughput and latency of one way."""
    sample = lab.how.find(values["tracker"], values["sample"])
    served = lab.served(sample, backend=str(values["backend"]))
    expected = lab.expected(sample)
    events = lab.events(sample)
    with spending(served) as spent:
        if values["way"] == "direct":
            load = by_threads(
                lab.pipeline(sample).reconstruct,
                events,
                int(values["threads"] or 1),
                lab.span,
                expected,
            )
        else:
            timed = lab.client(*served.way(str(values["transport"])))
            if values["way"] == "client":
                call = partial(timed.client.reconstruct, served.model)
                threads = int(values["threads"] or 1)
                load = by_threads(call, events, threads, lab.span, expected)
            else:
                load = lab.stream(timed, served.model, sample)
    rate = load.rate * output_bytes(sample, expected) / 1e6
    row = {"size": size_of(sample, expected), **row_of(load), "output_MB_per_s": rate, **spent}
    busy = float(row["client_cores"] or 0) + float(row["server_cores"] or 0)
    yield row | {"processor_ms": 1e3 * busy / load.rate}


@contextmanager
def spending(served: Served | None) -> Iterator[Row]:
    """Processors that the client's process and the server keep busy in the block."""
    row: Row = {}
    start, client = time.perf_counter(), time.process_time()
    server = served.seconds if served else 0.0
    yield row
    server = served.seconds - server if served else 0.0
    client, seconds = time.process_time() - client, time.perf_counter() - start
    row |= {"client_cores": client / seconds, "server_cores": server / seconds}


def row_of(load: Load) -> Row:
    """The columns of a load."""
    return {
        "events_per_s": load.rate,
        "ms": 1e3 * load.usual,
        **{f"p{p}_ms": 1e3 * load.percentile(p) for p in (50, 95, 99)},
        "answered": load.answered,
        "different": load.different,
    }


def show(rows: list[Row]) -> Shown:
    tables = [_table(where, some) for where, some in _places(rows).items()]
    wrong, answered = (sum(numbers(rows, name)) for name in ("different", "answered"))
    text = (
        f"{wrong:.0f} of more than {answered:.0f} answers differ from the direct ones in any bit. "
        f"The ratio is the quotient of the two throughputs beside it, with the error of rounds in "
        f"turns: to direct threads, as many as there are cores for ways with several events in "
        f"flight, else one. {PAPER_THREADS} direct threads are the paper's CPU-only job."
    )
    return Shown(text, tables, partial(_draw, rows))


def _places(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found = groups(rows, "tracker", "sample", "backend")
    return {" ".join(map(str, key)): some for key, some in found.items()}


def _ways(rows: Sequence[Row]) -> dict[str, list[Row]]:
    def name(row: Row) -> str:
        n = row.get("threads")
        threads = "" if n is None else f", {n} thread{'s' * (n != 1)}"
        transport = "" if row.get("transport") in (None, "auto") else f", {row['transport']}"
        return f"{row['way']}{threads}{transport}"

    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found


def _table(where: str, rows: Sequence[Row]) -> Table:
    direct = chosen(rows, way="direct")
    body = []
    for name, some in _ways(rows).items():
        beside = chosen(direct, threads=some[0]["beside"])
        rate = numbers(some, "events_per_s")
        latency = numbers(some, "p50_ms")
        extra = NOTHING
        if some[0]["way"] == "client" and some[0].get("threads") == 1:
            extra = difference(numbers(some, "ms"), numbers(beside, "ms"))
        spent = numbers(some, "processor_ms")
        more = difference(spent, numbers(beside, "processor_ms"))
        body.append(
            [
                name,
                mean(rate).text,
                ratio(rate, numbers(beside, "events_per_s")).text,
                mean(latency).text,
                mean(numbers(some, "p95_ms")).text,
                added(extra, "ms"),
                mean(numbers(some, "output_MB_per_s")).text,
                mean(numbers(some, "client_cores")).text,
                mean(numbers(some, "server_cores")).text,
                mean(spent).text,
                more.text if some[0]["way"] != "direct" else "-",
            ]
        )
    header = (
        *("way", "events/s", "ratio to direct", "p50, ms", "p95, ms", "added to an event"),
        *("results, MB/s", "client, cores", "server, cores"),
        *("processor, ms", "more than direct, ms"),
    )
    size = mean(numbers(rows, "size")).value
    return Table(header, body, f"{where}; mean size of an event {size:.0f}")


def _draw(rows: list[Row]) -> list[Drawn]:
    drawn = []
    colours = {"direct": GREY, "client": BLUE, "stream": RED}
    for (tracker,), some in groups(rows, "tracker").items():
        places = list(_places(some).items())
        figure, axes = new_figure(1, 2)
        where, last = places[-1]
        ways = _ways(last)
        colour = [colours[str(each[0]["way"])] for each in ways.values()]
        for panel, column, label in (
            (axes[0], "events_per_s", "events/s"),
            (axes[1], "p50_ms", "median latency of an event, ms"),
        ):
            means = {name: mean(numbers(each, column)) for name, each in ways.items()}
            bars(panel, means, colour, label)
        axes[1].set_yticklabels([])
        figure.suptitle(where, fontsize=10)
        caption = f"{where}: throughput and latency of each way, in turns."
        drawn.append(Drawn(f"direct-vs-served-{tracker}", figure, caption))
    return drawn


STUDY = Study(
    "direct-vs-served",
    "Served against direct",
    "What does serving cost (section 3.1 of the paper)? Events are reconstructed in three ways: by "
    "threads of this process; by clients with one event in each of one or ten threads; and by a "
    "stream that finds its own number of events in flight. All ways run in turns. Client and "
    "server share this machine. Each answer is compared with the direct one, bit for bit.",
    plan,
    measure,
    show,
)
