"""A client and a server under load, at full length: the server's half.

usage: python -m benchmarks.serving_server DIR [--row NAME]... [--scale FRACTION]

DIR is a data directory; its events and parts of them are sent to a server started for it.
Prints the figures of each row and pass or FAIL; exits with 1 if a row fails. The malformed
requests are those of the tests (:mod:`.malformed`) and need hypothesis.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from trackserve import Client, PatatrackPipeline
from trackserve.edm import RawEvent
from trackserve.errors import decode
from trackserve.io import read_events
from trackserve.serving import prometheus
from trackserve.serving.http import Http
from trackserve.serving.limits import Limits
from trackserve.serving.repository import BACKENDS, write_model
from trackserve.serving.server import Server
from trackserve.studies.machine import cpu_name
from trackserve.trackers.patatrack.codec import CODEC
from trackserve.wire.address import parse_url

from .processes import backend_of, resident
from .raw_words import first_feds
from .triton_requests import inputs_of

MODEL = "patatrack"
chosen = {"backend": "native"}
"""The backend of all servers; the command line sets it."""
QUEUE = 64
MIB = 1 << 20
OUTPUTS = [triton_grpc.InferRequestedOutput(n) for n in (*CODEC.output_names(), "tracks_state")]


def check(row: str, passed: bool, figures: str) -> bool:
    print(f"{'pass' if passed else 'FAIL'}  {row}: {figures}", flush=True)
    return passed


@contextmanager
def serve(directory: Path, **limits: Any) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as repository:
        options, bounds = {"conditions": directory}, Limits(**limits)
        write_model(repository, "patatrack", options, limits=bounds, backend=chosen["backend"])
        with Server(repository, grpc_port=0, http_port=0, metrics_port=0, notice=print) as server:
            yield server


def group(server: Server) -> int:
    assert server.pid
    return server.pid


def samples(server: Server) -> list[prometheus.Sample]:  # type: ignore[name-defined]
    return prometheus.parse(Http(server.host, server.ports.metrics).get("/metrics")[1])


def mixed_sizes(events: list[RawEvent]) -> list[RawEvent]:
    """The events, and for each one with only its first FEDs."""
    cut = [first_feds(event, 10 * (number + 1)) for number, event in enumerate(events)]
    return [event for pair in zip(events, cut, strict=True) for event in pair]


def rate(client: Client, events: list[RawEvent], count: int) -> float:
    """Events per second with eight in flight."""
    start = time.perf_counter()
    source = (events[number % len(events)] for number in range(count))
    answered = sum(1 for _ in client.stream(MODEL, source, in_flight=8))
    return answered / (time.perf_counter() - start)


# rows


def overload(directory: Path, scale: float) -> bool:
    """4x overload for 60 s: queue bounded, "busy" answers, memory flat, full speed after."""
    events = list(read_events(directory))
    states = [
        r.tracks.state.tobytes() for r in PatatrackPipeline.from_directory(directory).run(events)
    ]
    inputs = [inputs_of(event) for event in events]
    outcomes: Counter[str] = Counter()
    lock = threading.Lock()

    def callback(number: int) -> Callable[..., None]:
        def done(result: Any, error: Any) -> None:
            outcome = "ok"
            if error is not None:
                typed = decode(error.message() or "")
                outcome = type(typed).__name__ if typed else str(error)
            elif result.as_numpy("tracks_state").tobytes() != states[number]:
                outcome = "wrong"
            with lock:
                outcomes[outcome] += 1

        return done

    with (
        serve(directory, queue=QUEUE) as server,
        Client(server.grpc_url, transport="grpc") as client,
    ):
        rate(client, events, int(200 * scale) + 50)
        before = rate(client, events, int(600 * scale) + 100)
        triton = triton_grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://"))
        memory: list[int] = []
        held: list[float] = []
        start = last = time.perf_counter()
        seconds, sent = 60 * scale, 0
        while (now := time.perf_counter()) < start + seconds:
            while sent < 4 * before * (now - start):
                number = sent % len(inputs)
                triton.async_infer(MODEL, inputs[number], callback(number), outputs=OUTPUTS)
                sent += 1
            if now - last > seconds / 30:
                last = now
                memory.append(resident(group(server)))
                held.append(prometheus.total(samples(server), "trackserve_held"))
            time.sleep(0.002)
        while outcomes.total() < sent and time.perf_counter() < start + seconds + 30:
            time.sleep(0.05)
        during = outcomes["ok"] / seconds
        after = max(rate(client, events, int(300 * scale) + 100) for _ in range(3))
        triton.close()
    third = len(memory) // 3
    growth = max(memory[2 * third :]) / max(memory[third : 2 * third]) - 1
    return check(
        "overload",
        set(outcomes) == {"ok", "ServerBusy"}
        and outcomes.total() == sent
        and max(held) <= QUEUE
        and growth < 0.02
        and after > 0.9 * before,
        f"{sent} requests in {seconds:.0f} s at 4 x {before:.0f}/s: {dict(outcomes)}; "
        f"{during:.0f}/s answered meanwhile; at most {max(held):.0f} held (bound {QUEUE}); memory "
        f"{max(memory) / MIB:.0f} MiB, last third against second {growth:+.1%}; "
        f"after: {after:.0f}/s ({after / before:.2f})",
    )


def malformed(directory: Path, scale: float) -> bool:
    """10 000 malformed requests mixed with good ones, by gRPC and HTTP."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from .malformed import REFUSALS, requests, send

    events = list(read_events(directory))
    expected = PatatrackPipeline.from_directory(directory).run(events)
    count = int(10_000 * scale)
    outcomes: Counter[str] = Counter()
    memory: list[int] = []
    good = 0
    with (
        serve(directory) as server,
        triton_grpc.InferenceServerClient(server.grpc_url.removeprefix("grpc://")) as triton,
        triton_http.InferenceServerClient(server.http_url.removeprefix("http://")) as http,
        Client(server.grpc_url, transport="grpc") as by_grpc,
        Client(server.http_url) as by_http,
    ):
        address = parse_url(server.http_url)
        before = server.pid

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(requests(events[-1]), st.booleans())
        def one(request: Any, grpc: bool) -> None:
            nonlocal good
            error = send(request, triton if grpc else None, http, address)
            if error is None:
                outcomes["answered"] += 1
            elif typed := decode(error):
                outcomes[type(typed).__name__] += 1
            else:
                outcomes["refused by Triton" if error.startswith(REFUSALS) else error] += 1
            number = outcomes.total()
            if number % 10 == 0:
                client = by_grpc if number % 20 else by_http
                which = number % len(events)
                good += client.reconstruct(MODEL, events[which]) == expected[which]
            if number % max(1, count // 30) == 0:
                memory.append(resident(group(server)))

        one()
        same_process = server.pid == before and server.failure is None
    third = len(memory) // 3
    growth = median(memory[2 * third :]) / median(memory[third : 2 * third]) - 1
    known = {"answered", "EventError", "InputError", "MalformedEvent", "refused by Triton"}
    return check(
        "malformed",
        set(outcomes) <= known
        and good == outcomes.total() // 10
        and same_process
        and growth < 0.02,
        f"{outcomes.total()} requests: {dict(outcomes)}; {good} of {outcomes.total() // 10} good "
        f"ones right; same process: {same_process}; memory {memory[0] / MIB:.0f} MiB at first, "
        f"median of the last third {median(memory[2 * third :]) / MIB:.0f}, against the second "
        f"third {growth:+.1%}; {max(memory) / MIB:.0f} at most, with a large message in hand",
    )


def memory(directory: Path, scale: float) -> bool:
    """20 000 events of varying size: the server grows less than 2 % after 2 000."""
    events = mixed_sizes(list(read_events(directory)))
    count = int(20_000 * scale)
    passed = True
    for transport in ("grpc", "shm"):
        with serve(directory) as server, Client(server.grpc_url, transport=transport) as client:
            source = (events[number % len(events)] for number in range(count))
            used: list[int] = []
            start = time.perf_counter()
            stream = client.stream(MODEL, source, ("hits",), in_flight=16)
            for number, _ in enumerate(stream):
                if number % (count // 100) == count // 100 - 1:
                    used.append(resident(group(server)))
            seconds = time.perf_counter() - start
        warm, middle, end = (median(used[first : first + 10]) for first in (10, 50, 90))
        growth = end / warm - 1
        passed &= check(
            f"memory, {transport}",
            growth < 0.02,
            f"{count} events, {count / seconds:.0f}/s; server {warm / MIB:.1f} MiB after a "
            f"tenth, {middle / MIB:.1f} at half, {end / MIB:.1f} at the end ({growth:+.2%})",
        )
    return passed


def recovery(directory: Path, scale: float) -> bool:
    """A backend or Triton that is killed is back by itself, with the same answers."""
    event = next(read_events(directory))
    expected = PatatrackPipeline.from_directory(directory).reconstruct(event)
    passed = True
    for name, victim in (("backend", backend_of), ("Triton", lambda pid: pid)):
        with serve(directory) as server, Client(server.grpc_url) as client:
            client.reconstruct(MODEL, event)
            start = time.perf_counter()
            os.kill(victim(group(server)), signal.SIGKILL)
            right = client.reconstruct(MODEL, event, timeout=60) == expected
            passed &= check(
                f"recovery, {name} killed",
                right,
                f"one call of the client got its answer after {time.perf_counter() - start:.1f} s",
            )
    return passed


def start(directory: Path, scale: float) -> bool:
    """Warm starts: from the call to a server that has run its model and is ready."""
    seconds = []
    for _ in range(1 + max(3, round(7 * scale))):
        begin = time.perf_counter()
        with serve(directory):
            seconds.append(time.perf_counter() - begin)
    first, *warm = seconds
    figures = f"{median(warm):.2f} s, {min(warm):.2f} to {max(warm):.2f}; the first {first:.2f}"
    return check("start", median(warm) <= 1.5, f"{figures}; goal 1.5")


ROWS = {
    "overload": overload,
    "malformed": malformed,
    "memory": memory,
    "recovery": recovery,
    "start": start,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="What serving must show: the server's half.")
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--backend", choices=BACKENDS, default=chosen["backend"])
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the full length")
    arguments = parser.parse_args()
    chosen["backend"] = arguments.backend
    print(f"{cpu_name()}; backend {arguments.backend}", flush=True)
    passed = [ROWS[row](arguments.directory, arguments.scale) for row in arguments.row or ROWS]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
