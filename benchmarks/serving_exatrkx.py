"""The learned tracker, served against direct: bit identity, throughput, latency and memory.

usage: python -m benchmarks.serving_exatrkx EVENTS [--model MODEL] [--memory COUNT] [--rounds N]

EVENTS is a directory of space points, as ``trackserve simulate points`` writes it, or TrackML
events. For the memory events of 40 sizes are sent, from a tenth to all of an event's points.
Each row prints its figures and pass or FAIL; the program exits with 1 if a row fails.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from trackserve import Client
from trackserve.client import keep_freed_memory
from trackserve.edm import PointsEvent
from trackserve.io import open_points
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.studies.machine import cpu_name
from trackserve.studies.throughput import alternate
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline

from .processes import backend_of, resident, resident_of

MODEL = "exatrkx"
MIB = 1 << 20


def check(row: str, passed: bool, figures: str) -> bool:
    print(f"{'pass' if passed else 'FAIL'}  {row}: {figures}", flush=True)
    return passed


def cut_to_many_sizes(events: Sequence[PointsEvent]) -> list[PointsEvent]:
    return [
        replace(event, points=event.points.take(slice(0, len(event.points) * (n % 40 + 4) // 43)))
        for n, event in enumerate(itertools.islice(itertools.cycle(events), 40))
    ]


def speed(server: Server, model: str, events: list[PointsEvent], rounds: int) -> bool:
    """Served against direct: every answer the same bits, 0.95 of the throughput of all cores."""
    threads = len(os.sched_getaffinity(0))
    direct = ExatrkxPipeline.from_model(model, threads=threads)
    one = ExatrkxPipeline.from_model(model)
    passed = True
    for transport in ("shm", "grpc"):
        with Client(server.grpc_url, transport=transport) as client:
            same = list(client.stream(MODEL, events)) == direct.run(events)
            seconds = alternate(
                {
                    "direct": lambda: direct.run(events),
                    "served": lambda client=client: list(client.stream(MODEL, events)),
                },
                rounds,
            )
            added = []
            for event in events:
                start = time.perf_counter()
                one.reconstruct(event)
                middle = time.perf_counter()
                client.reconstruct(MODEL, event)
                added.append(time.perf_counter() - middle - (middle - start))
        pairs = zip(seconds["direct"], seconds["served"], strict=True)
        ratio = median(mine / theirs for mine, theirs in pairs)
        passed &= check(
            f"served by {transport} against direct",
            same and ratio >= 0.95,
            f"{len(events) / median(seconds['served']):.1f} events/s, "
            f"{len(events) / median(seconds['direct']):.1f} of {threads} direct threads "
            f"(ratio {ratio:.3f}); added latency {1e3 * median(added):.1f} ms; "
            f"bit-identical: {same}",
        )
    return passed


def memory(server: Server, model: str, events: list[PointsEvent], count: int) -> bool:
    """Resident memory over events of varying size grows by less than 2 % after a quarter."""
    pipeline = ExatrkxPipeline.from_model(model)
    mixed = cut_to_many_sizes(events)
    assert server.pid
    group, backend = server.pid, backend_of(server.pid)

    def source() -> Iterator[PointsEvent]:
        return itertools.islice(itertools.cycle(mixed), count)

    sizes: dict[str, list[int]] = {"direct": [], "server": [], "backend": [], "client": []}
    for number, event in enumerate(source()):
        pipeline.reconstruct(event)
        if number % 40 == 39:
            sizes["direct"].append(resident_of(os.getpid()))
    with Client(server.grpc_url) as client:
        for number, _ in enumerate(client.stream(MODEL, source())):
            if number % 40 == 39:
                sizes["server"].append(resident(group))
                sizes["backend"].append(resident_of(backend))
                sizes["client"].append(resident_of(os.getpid()))
    quarter = len(sizes["direct"]) // 4
    growth = {name: used[-1] / used[quarter] - 1 for name, used in sizes.items()}
    return check(
        f"memory over {count} events of {len(mixed[0].points)} to "
        f"{max(len(event.points) for event in mixed)} points",
        max(growth["direct"], growth["server"]) < 0.02,
        "; ".join(
            f"{name} {used[quarter] / MIB:.0f} -> {used[-1] / MIB:.0f} MiB ({growth[name]:+.1%})"
            for name, used in sizes.items()
        ),
    )


def main() -> int:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--memory", type=int, default=2000, metavar="COUNT")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    events = list(open_points(arguments.events))
    points = [len(event.points) for event in events]
    print(f"{cpu_name()}; {len(events)} events of {min(points)} to {max(points)} points")
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        write_model(directory, "exatrkx", {"model": arguments.model})
        with Server(directory, grpc_port=0, http_port=0, metrics_port=0) as server:
            passed = speed(server, arguments.model, events, arguments.rounds)
            if arguments.memory:
                passed &= memory(server, arguments.model, events, arguments.memory)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
