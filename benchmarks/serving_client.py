"""A client and a server under load, at full length: the client's half.

usage: python -m benchmarks.serving_client CONDITIONS [EVENTS...] [--row NAME]...
       [--backend NAME] [--scale FRACTION]

CONDITIONS is a data directory; its events and those of EVENTS, mixed, are sent to a server
started for it. Prints the figures of each row and pass or FAIL; exits with 1 if a row fails.
`trackserve study direct-vs-served` compares throughput and latency with direct calls.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from threading import Semaphore
from typing import Any, NamedTuple

from tritonclient.grpc import InferenceServerClient, InferRequestedOutput

from trackserve import Client, PatatrackPipeline
from trackserve.client import Timings, keep_freed_memory
from trackserve.edm import RawEvent
from trackserve.errors import EventError
from trackserve.io import read_events
from trackserve.serving import local
from trackserve.serving.repository import BACKENDS, write_model
from trackserve.serving.server import Server
from trackserve.studies.machine import cpu_name
from trackserve.studies.throughput import alternate
from trackserve.trackers.patatrack.codec import CODEC

from .processes import resident, resident_of
from .raw_words import first_feds
from .triton_requests import inputs_of

MODEL = "patatrack"
CHILD = "--child"


class Setting(NamedTuple):
    """The server and the events that every row uses.

    Attributes:
        conditions: data directory of the server's conditions.
        server: a running server.
        pipeline: the same pipeline in this process.
        events: events of mixed sizes, numbered.
        direct: results of ``pipeline``, one for each event.
        dense: the largest events.
    """

    conditions: Path
    server: Server
    pipeline: PatatrackPipeline
    events: list[RawEvent]
    direct: list[Any]
    dense: list[RawEvent]


def check(row: str, passed: bool, figures: str) -> bool:
    print(f"{'pass' if passed else 'FAIL'}  {row}: {figures}", flush=True)
    return passed


def cycle(events: Sequence[RawEvent], count: int) -> Iterator[RawEvent]:
    return itertools.islice(itertools.cycle(events), count)


def urls(server: Server) -> dict[str, str]:
    return {"shm": server.grpc_url, "grpc": server.grpc_url, "http": server.http_url}


def same(answers: Iterable[Any], direct: Sequence[Any]) -> int:
    """Number of answers that equal the direct ones, bit for bit."""
    return sum(
        repr(a) == repr(b) if isinstance(a, EventError) else a == b
        for a, b in zip(answers, itertools.cycle(direct), strict=False)
    )


# rows


def identity(setting: Setting, scale: float) -> bool:
    """Events of mixed sizes, 1, 4, 16 and 64 in flight: equal bits, and the parts of the latency.

    The sum of the parts is compared with a clock outside of the client. The clock runs from the
    moment that the client takes an event to the moment that it hands out the result.
    """
    count = int(2000 * scale)
    passed = True
    for transport, in_flight in itertools.product(("shm", "grpc", "http"), (1, 4, 16, 64)):
        timings: list[Timings] = []
        taken: list[float] = []
        outside = 0.0
        good = 0

        def source(taken: list[float] = taken) -> Iterator[RawEvent]:
            for number, event in enumerate(cycle(setting.events, count)):
                taken.append(time.perf_counter())
                yield replace(event, event=number)

        url = urls(setting.server)[transport]
        with Client(url, transport=transport, on_timings=timings.append) as client:
            start = time.perf_counter()
            for result in client.stream(MODEL, source(), in_flight=in_flight, ordered=False):
                outside += time.perf_counter() - taken[result.event]
                direct = setting.direct[result.event % len(setting.direct)]
                good += result == replace(direct, event=result.event)
            seconds = time.perf_counter() - start
        parts = {p: fmean(getattr(t, p) for t in timings) for p in Timings._fields[2:]}
        lowest = min(min(t[2:]) for t in timings)
        inside = sum(parts.values())
        outside /= count
        split = " + ".join(f"{name} {1e3 * value:.2f}" for name, value in parts.items())
        passed &= check(
            f"identity, {transport}, {in_flight} in flight",
            good == count and abs(inside / outside - 1) < 0.1 and lowest >= 0,
            f"{good} of {count} bit-identical, {count / seconds:.0f} events/s; "
            f"{split} = {1e3 * inside:.2f} ms, by an outer clock {1e3 * outside:.2f} "
            f"({inside / outside - 1:+.1%})",
        )
    return passed


def processes(setting: Setting, scale: float) -> bool:
    """Two client processes of 10 threads each: no error, and the throughput of one process."""
    count, rounds = int(500 * scale), 3
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _, number in itertools.product(range(rounds), (1, 2)):
        children = [
            child("threads", setting, setting.server.grpc_url, str(count // number))
            for _ in range(number)
        ]
        lines = [c.stdout.readline() for c in children if c.stdout]  # ready
        start = time.perf_counter()
        for c in children:
            assert c.stdin
            c.stdin.write("go\n")
            c.stdin.flush()
        lines = [c.stdout.readline() for c in children if c.stdout]  # answered
        rates[number].append(count / (time.perf_counter() - start))
        lines = [c.stdout.readline().strip() for c in children if c.stdout]
        for c in children:
            c.wait()
        if lines != ["ok"] * number:
            return check("two client processes", False, f"{lines}")
    ratio = median(two / one for one, two in zip(rates[1], rates[2], strict=True))
    return check(
        "two client processes, 10 threads each",
        ratio >= 0.97,
        f"{median(rates[2]):.0f} events/s against {median(rates[1]):.0f} of one process "
        f"(ratio {ratio:.2f} over {rounds} rounds), no error, every answer bit-identical",
    )


def killed(setting: Setting, scale: float) -> bool:
    """A client is killed with 50 requests out; the server forgets its memory within 5 s."""
    with Client(setting.server.grpc_url) as other, ThreadPoolExecutor(1) as pool:
        good = pool.submit(
            lambda: same(other.stream(MODEL, cycle(setting.events, 300)), setting.direct)
        )
        victim = child("endless", setting, setting.server.grpc_url, "50")
        assert victim.stdout
        while victim.stdout.readline() != "100\n":
            pass
        before = len(regions(setting.server, victim.pid))
        victim.send_signal(signal.SIGKILL)
        start = time.perf_counter()
        victim.wait()
        while regions(setting.server, victim.pid) or files(victim.pid):
            if time.perf_counter() - start > 30:
                break
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        right = good.result()
    return check(
        "client killed with 50 requests out",
        seconds < 5 and right == 300 and not files(),
        f"{before} regions before, none after {seconds:.1f} s; "
        f"{right} of 300 answers of another client bit-identical; "
        f"{len(files())} files in /dev/shm",
    )


def memory(setting: Setting, scale: float) -> bool:
    """Resident memory of client and server over events of varying size.

    The median of the last fifth is compared with that of the first fifth after the warm-up.
    """
    count, warm_up = int(20_000 * scale), int(4000 * scale)
    passed = True
    for transport in ("shm", "grpc", "http"):
        process = child("memory", setting, urls(setting.server)[transport], transport, str(count))
        at_start = resident(group(setting.server))
        sizes: list[tuple[int, int, int]] = []
        assert process.stdout
        for line in process.stdout:
            pair = resident_of(process.pid), resident(group(setting.server))
            sizes.append((int(line), *pair))
        process.wait()
        fifth = len(sizes) // 5
        warm = [s for s in sizes if s[0] >= warm_up][:fifth]
        first, last = (
            [median(s[i] for s in part) / 2**20 for i in (1, 2)] for part in (warm, sizes[-fifth:])
        )
        grown = [end / begin - 1 for begin, end in zip(first, last, strict=True)]
        passed &= check(
            f"memory over {count} events, {transport}",
            process.returncode == 0 and max(grown) < 0.02,
            f"client {first[0]:.1f} -> {last[0]:.1f} MiB ({grown[0]:+.1%}), server {first[1]:.1f} "
            f"-> {last[1]:.1f} MiB ({grown[1]:+.1%}) from event {warm[0][0]} on; server at the "
            f"start {at_start / 2**20:.1f} MiB",
        )
    return passed


def stream(setting: Setting, scale: float) -> bool:
    """The client's own window, fixed windows, and Triton's own Python client, on the same events.

    Triton's client makes asynchronous calls, with the number of events in flight that is best.
    All use gRPC, and one also shared memory.
    """
    count, rounds = 400, max(1, int(5 * scale))
    url = setting.server.grpc_url
    events = list(cycle(setting.events, count))
    windows = (2, 4, 8, 16)
    with Client(url, transport="grpc") as client, Client(url) as shared:
        calls: dict[str, Callable[[], object]] = {
            "shm, auto": lambda: list(shared.stream(MODEL, events)),
            "auto": lambda: list(client.stream(MODEL, events)),
        }
        for n in windows:
            calls[f"{n}"] = lambda n=n: list(client.stream(MODEL, events, in_flight=n))  # type: ignore[misc]
            calls[f"by hand, {n}"] = lambda n=n: by_hand(url, events, n)  # type: ignore[misc]
        seconds = alternate(calls, rounds)
    rates = {name: count / median(values) for name, values in seconds.items()}
    best = max(rates[f"by hand, {n}"] for n in windows)
    return check(
        "stream against the best client by hand",
        min(rates["auto"], rates["shm, auto"]) >= 0.97 * best,
        ", ".join(f"{name}: {rate:.0f}" for name, rate in rates.items()) + " events/s",
    )


def by_hand(url: str, events: Sequence[RawEvent], in_flight: int) -> None:
    """Send events as a user of tritonclient would."""
    names = CODEC.output_names()
    room = Semaphore(in_flight)
    errors: list[Exception] = []

    def done(result: Any, error: Exception | None) -> None:
        if error:
            errors.append(error)
        else:
            [result.as_numpy(name) for name in names]
        room.release()

    with InferenceServerClient(url.removeprefix("grpc://")) as triton:
        for event in events:
            inputs = inputs_of(event)
            room.acquire()
            outputs = [InferRequestedOutput(name) for name in names]
            triton.async_infer(MODEL, inputs, done, outputs=outputs)
        for _ in range(in_flight):
            room.acquire()
    if errors:
        raise errors[0]


ROWS: dict[str, Callable[[Setting, float], bool]] = {
    "identity": identity,
    "stream": stream,
    "processes": processes,
    "killed": killed,
    "memory": memory,
}


# children


def child(work: str, setting: Setting, *arguments: str) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-m", "benchmarks.serving_client", CHILD),
        *(work, str(setting.conditions), *arguments),
    ]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def threads_child(conditions: str, url: str, count: str) -> None:
    events = list(read_events(conditions))
    direct = PatatrackPipeline.from_directory(conditions).run(events)
    with Client(url) as client, ThreadPoolExecutor(10) as pool:
        print("ready", flush=True)
        input()
        work = list(cycle(events, int(count)))
        served = list(pool.map(lambda event: client.reconstruct(MODEL, event), work))
        print("answered", flush=True)
    print("ok" if same(served, direct) == len(served) else "wrong answers")


def endless_child(conditions: str, url: str, in_flight: str) -> None:
    with Client(url) as client:
        events = itertools.cycle(read_events(conditions))
        stream = client.stream(MODEL, events, ("hits",), in_flight=int(in_flight))
        for number, _ in enumerate(stream):
            print(number, flush=True)


def memory_child(conditions: str, url: str, transport: str, count: str) -> None:
    keep_freed_memory()
    events = cut_to_many_sizes(list(read_events(conditions)))
    with Client(url, transport=transport) as client:
        stream = client.stream(MODEL, cycle(events, int(count)), ("hits",))
        for number, _ in enumerate(stream, 1):
            if number % (int(count) // 40) == 0:
                print(number, flush=True)


CHILDREN = {"threads": threads_child, "endless": endless_child, "memory": memory_child}


# help


def cut_to_many_sizes(events: Sequence[RawEvent]) -> list[RawEvent]:
    """The events, and ten parts of each, of a tenth to all of its FEDs; all are numbered."""
    draw = random.Random(2)
    cut = [
        first_feds(event, int(draw.uniform(0.1, 1.0) * event.data.view("<u4")[0]))
        for event in events
        for _ in range(10)
    ]
    return [replace(event, event=number) for number, event in enumerate([*events, *cut])]


def regions(server: Server, pid: int) -> list[str]:
    """Names of the regions that the server holds for the client ``pid``."""
    opened = local.find(int(server.grpc_url.rpartition(":")[2]))
    assert opened
    with InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as triton:
        status = triton.get_system_shared_memory_status(headers={opened.header: opened.value})
    return [name for name in status.regions if name.startswith(f"trackserve-client-{pid}-")]


def files(pid: int | str = "*") -> list[Path]:
    return list(Path("/dev/shm").glob(f"trackserve-client-{pid}-*"))


def group(server: Server) -> int:
    """Process group of Triton and its backends."""
    assert server.pid
    return server.pid


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directories", nargs="+", type=Path)
    parser.add_argument("--row", action="append", choices=ROWS)
    parser.add_argument("--backend", choices=BACKENDS, default="native")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full length")
    arguments = parser.parse_args()
    conditions = arguments.directories[0]
    samples = [list(read_events(directory)) for directory in arguments.directories]
    events = cut_to_many_sizes([event for sample in samples for event in sample])
    random.Random(3).shuffle(events)
    events = [replace(event, event=number) for number, event in enumerate(events)]
    dense = max(samples, key=lambda sample: sum(event.data.nbytes for event in sample))
    pipeline = PatatrackPipeline.from_directory(conditions)
    print(
        f"{cpu_name()}; {len(events)} events of {min(e.data.nbytes for e in events)} to "
        f"{max(e.data.nbytes for e in events)} bytes; dense: {len(dense)}"
    )
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        options = {"conditions": conditions}
        write_model(directory, "patatrack", options, backend=arguments.backend)
        with Server(directory, grpc_port=0, http_port=0, metrics_port=0) as server:
            setting = Setting(conditions, server, pipeline, events, pipeline.run(events), dense)
            results = [ROWS[row](setting, arguments.scale) for row in arguments.row or ROWS]
    sys.exit(not all(results))


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        CHILDREN[sys.argv[2]](*sys.argv[3:])
    else:
        main()
