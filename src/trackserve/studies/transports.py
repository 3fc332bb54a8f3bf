"""Transports, payloads and compression."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa

from trackserve.report.drawing import BLUE, GREY, RED, new_figure
from trackserve.report.page import Table
from trackserve.trackers.registry import find_tracker

from .direct_vs_served import row_of, spending
from .figures import bars
from .lab import Lab, input_bytes, output_bytes, size_of
from .load import by_threads
from .samples import Sample
from .spread import mean, ratio
from .study import Drawn, How, Point, Shown, Study, Values
from .table import Row, chosen, groups, numbers

CODECS = ("lz4", "snappy", "zstd", "gzip")
"""Lossless codecs, of Arrow."""
BUNDLE = 4
"""Events in a request of the way "bundles"."""
_IN_FLIGHT = 8
"""Events in flight when throughput is measured."""
PAPER = (
    ("patatrack", "80 kB", "2 MB"),
    ("exatrkx", "3.4 MB", "1.4 MB"),
)
"""Payloads of the paper, of an event, in and out."""
_WAYS: tuple[Values, ...] = (
    {"transport": "shm", "per_request": 1},
    {"transport": "grpc", "per_request": 1},
    {"transport": "http", "per_request": 1},
    {"transport": "shm", "per_request": BUNDLE},
    {"transport": "grpc", "per_request": BUNDLE},
)


def plan(how: How) -> list[Point]:
    """Each transport on the usual sample; payloads and codecs on all samples.

    A quick study has HTTP and bundles of the first tracker alone, payloads of two samples,
    and no gzip, which is slow.
    """
    points = []
    for number, tracker in enumerate(how.trackers):
        usual = how.usual(tracker)
        first = number == 0
        here: Values = {"tracker": tracker, "sample": usual.name}
        ways = _WAYS if first or not how.quick else _WAYS[:2]
        points += [Point(here | {"what": "way"} | way, f"{tracker} ways") for way in ways]
        for sample in how.of(tracker)[:2] if how.quick else how.of(tracker):
            here = {"tracker": tracker, "sample": sample.name}
            points.append(Point(here | {"what": "payload"}, f"{tracker} payloads"))
        here = {"tracker": tracker, "sample": usual.name, "what": "codec"}
        for codec in CODECS[:3] if how.quick else CODECS:
            for direction in ("in", "out"):
                values = here | {"codec": codec, "direction": direction}
                points.append(Point(values, f"{tracker} codecs"))
    return points


def measure(lab: Lab, values: Values) -> Iterable[Row]:
    """A transport's latency and throughput, a payload, or the speed of a codec."""
    sample = lab.how.find(values["tracker"], values["sample"])
    if values["what"] == "way":
        yield _way(lab, sample, values)
    elif values["what"] == "payload":
        expected = lab.expected(sample)
        yield {
            "size": size_of(sample, expected),
            "input_bytes": input_bytes(sample, lab.events(sample)),
            "output_bytes": output_bytes(sample, expected),
        }
    else:
        yield _codec(lab, sample, str(values["codec"]), str(values["direction"]))


def _way(lab: Lab, sample: Sample, values: Values) -> Row:
    served = lab.served(sample)
    timed = lab.client(*served.way(str(values["transport"])))
    events, expected = lab.events(sample), lab.expected(sample)
    row: Row = {}
    per_request = int(values["per_request"] or 1)
    if per_request == 1:
        call = partial(timed.client.reconstruct, served.model)
        one = by_threads(call, events, 1, lab.span, expected)
        row |= {f"one_{name}": value for name, value in row_of(one).items()}
    with spending(served) as spent:
        in_flight = max(1, _IN_FLIGHT // per_request)
        load = lab.stream(timed, served.model, sample, in_flight=in_flight, per_request=per_request)
    return row | row_of(load) | spent


def _codec(lab: Lab, sample: Sample, codec: str, direction: str) -> Row:
    tracker = find_tracker(sample.tracker).codec
    if direction == "in":
        tensors = [tracker.encode_event(event) for event in lab.events(sample)]
    else:
        names = tracker.output_names()
        results = lab.expected(sample).values()
        tensors = [tracker.encode_result(result, names) for result in results]
    blocks = [b"".join(array.tobytes() for array in each.values()) for each in tensors]
    n = sum(map(len, blocks))
    start = time.perf_counter()
    packed = [pa.compress(block, codec) for block in blocks]
    middle = time.perf_counter()
    for block, small in zip(blocks, packed, strict=True):
        pa.decompress(small, len(block), codec)
    end = time.perf_counter()
    left = sum(small.size for small in packed) / n
    spent = end - start
    return {
        "bytes_left": left,
        "compress_MB_per_s": n / (middle - start) / 1e6,
        "decompress_MB_per_s": n / (end - middle) / 1e6,
        "pays_below_MB_per_s": max(0.0, (1 - left) * n / spent / 1e6),
    }


def show(rows: list[Row]) -> Shown:
    ways, payloads, codecs = (chosen(rows, what=what) for what in ("way", "payload", "codec"))
    tables = [
        _way_table(f"{tracker} {sample}", some)
        for (tracker, sample), some in groups(ways, "tracker", "sample").items()
    ]
    tables += [_payload_table(payloads), _codec_table(codecs)]
    text = (
        "The paper's figures for the learned tracker do not fit one event: 3.4 MB are 283 000 "
        "points at 12 bytes, 1.4 MB are 350 000 labels at 4 bytes. Its labels have 4 bytes, those "
        "of our published tensor 8, and our own clients ask for candidates with the points of "
        "each. The paper's 2 MB of pixel tracks may be buffers of fixed size, as the public C++ "
        "program has them; our results have what was found.\n\n"
        "A codec pays where the bandwidth is below the last column: there the bytes that it saves "
        "would take longer than it does, both ways."
    )
    return Shown(text, tables, partial(_draw, rows))


def _name(row: Row) -> str:
    n = row["per_request"]
    return str(row["transport"]) + (f", {n} a request" if n != 1 else "")


def _way_table(where: str, rows: Sequence[Row]) -> Table:
    each = groups(rows, "transport", "per_request")
    first = numbers(next(iter(each.values())), "events_per_s")
    body = []
    for some in each.values():
        rate = numbers(some, "events_per_s")
        body.append(
            [
                _name(some[0]),
                mean(numbers(some, "one_p50_ms")).text,
                mean(rate).text,
                ratio(rate, first).text,
                mean(numbers(some, "client_cores")).text,
                mean(numbers(some, "server_cores")).text,
            ]
        )
    header = (
        *("transport", "one event, p50, ms", "events/s", "ratio to the first"),
        *("client, cores", "server, cores"),
    )
    return Table(header, body, f"{where}: throughput with {_IN_FLIGHT} events in flight")


def _payload_table(rows: Sequence[Row]) -> Table:
    body = []
    for (tracker, sample), some in groups(rows, "tracker", "sample").items():
        size, into, out = (
            mean(numbers(some, name)).value for name in ("size", "input_bytes", "output_bytes")
        )
        unit = find_tracker(str(tracker)).size
        body.append(
            [
                f"{tracker} {sample}",
                f"{size:.0f} {unit}",
                f"{into / 1e3:.0f} kB",
                f"{out / 1e3:.0f} kB",
                f"{into / size:.1f}" if size else "-",
                f"{out / size:.1f}" if size else "-",
            ]
        )
    body += [[f"{tracker}, paper", "", into, out, "", ""] for tracker, into, out in PAPER]
    header = ("event", "size", "in", "out", "in, bytes per unit", "out, bytes per unit")
    return Table(header, body, "Payload of an event, mean.")


def _codec_table(rows: Sequence[Row]) -> Table:
    body = []
    for (tracker, sample, direction, codec), some in groups(
        rows, "tracker", "sample", "direction", "codec"
    ).items():
        names = ("bytes_left", "compress_MB_per_s", "decompress_MB_per_s", "pays_below_MB_per_s")
        values = [mean(numbers(some, name)).text for name in names]
        body.append([f"{tracker} {sample}, {direction}", str(codec), *values])
    header = (
        *("what", "codec", "bytes left, share", "compresses, MB/s", "decompresses, MB/s"),
        "pays below, MB/s",
    )
    return Table(header, body, "Lossless compression.", left=2)


def _draw(rows: list[Row]) -> list[Drawn]:
    figure, (left, right) = new_figure(1, 2)
    ways = chosen(rows, what="way")
    colours = (BLUE, RED, GREY)
    values, colour = {}, []
    for number, ((tracker,), some) in enumerate(groups(ways, "tracker").items()):
        each = list(groups(some, "transport", "per_request").values())
        first = numbers(each[0], "events_per_s")
        for part in each:
            name = f"{tracker}, {_name(part[0])}"
            values[name] = ratio(numbers(part, "events_per_s"), first)
            colour.append(colours[number % 3])
    bars(left, values, colour, "throughput, ratio to shared memory")
    left.tick_params(axis="y", labelsize=8)
    series = groups(chosen(rows, what="codec"), "tracker", "direction").items()
    for number, ((tracker, direction), some) in enumerate(series):
        for (codec,), part in groups(some, "codec").items():
            x = mean(numbers(part, "pays_below_MB_per_s")).value
            y = mean(numbers(part, "bytes_left")).value
            label = f"{tracker}, {direction}" if codec == CODECS[0] else None
            right.plot(max(x, 0.1), y, "os^D"[number], color=colours[number % 3], label=label)
            right.annotate(str(codec), (max(x, 0.1), y), (4, 3), textcoords="offset points", size=7)
    right.set(xscale="log", ylim=(0, 1.05))
    right.set(xlabel="pays below this bandwidth [MB/s]", ylabel="share of bytes left")
    right.axvline(125, color=GREY, lw=0.8, ls=":")
    right.annotate("1 Gbit/s", (125, 0.02), (3, 0), textcoords="offset points", size=7)
    right.legend(fontsize=7, frameon=False)
    caption = "Left: throughput by transport. Right: what lossless codecs leave, and when they pay."
    return [Drawn("transports", figure, caption)]


STUDY = Study(
    "transports",
    "Transports, payloads, compression",
    "Which transport is best: gRPC, HTTP or shared memory, with one event in a request or "
    "several? How large is an event on its way? Would lossless compression save time?",
    plan,
    measure,
    show,
)
