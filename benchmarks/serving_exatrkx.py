"""Memory of the learned tracker over many events, direct and served.

usage: python -m benchmarks.serving_exatrkx EVENTS [--model MODEL] [--memory COUNT]

EVENTS is a directory of space points, as ``trackserve simulate points`` writes it, or TrackML
events. Events of 40 sizes are sent, from a tenth to all of an event's points.
Each row prints its figures and pass or FAIL; the program exits with 1 if a row fails.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from trackserve import Client
from trackserve.client import keep_freed_memory
from trackserve.edm import PointsEvent
from trackserve.io import open_points
from trackserve.serving.repository import write_model
from trackserve.serving.server import Server
from trackserve.studies.machine import cpu_name
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
    arguments = parser.parse_args()
    events = list(open_points(arguments.events))
    points = [len(event.points) for event in events]
    print(f"{cpu_name()}; {len(events)} events of {min(points)} to {max(points)} points")
    with tempfile.TemporaryDirectory(prefix="trackserve-") as directory:
        write_model(directory, "exatrkx", {"model": arguments.model})
        with Server(directory, grpc_port=0, http_port=0, metrics_port=0) as server:
            passed = memory(server, arguments.model, events, arguments.memory)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
