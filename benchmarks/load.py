"""One client process of a load; it sends events again and again.

usage: python -m benchmarks.load URL MODEL EVENTS N [--transport T] [--in-flight N]
       [--per-request N]

EVENTS is as for :mod:`.gpu_served`; the first N are sent. The process prints "ready". Then it reads
lines from its input, each with a number of seconds. For each line it prints, as JSON, the number of
events that were answered in those seconds, and the mean times of the parts of a request. A lead of
some tenths of a second before them does not count.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from trackserve import Client
from trackserve.client import Timings, keep_freed_memory
from trackserve.io import read_events

from .points import read_points

LEAD = 0.75
"""Seconds before the clients are counted."""


def events_of(model: str, path: str, n: int) -> list[Any]:
    if model == "exatrkx":
        return list(read_points(path, n))
    return list(itertools.islice(read_events(Path(path)), n))


def drive(
    client: Client,
    model: str,
    events: Sequence[Any],
    in_flight: int,
    per_request: int,
    seconds: float,
) -> int:
    """Number of events that were answered in ``seconds`` after the lead."""
    start = time.perf_counter() + LEAD

    def source() -> Iterator[Any]:
        for event in itertools.cycle(events):
            if time.perf_counter() > start + seconds:
                return
            yield event

    answered = 0
    for answer in client.stream(
        model, source(), in_flight=in_flight, per_request=per_request, ordered=False
    ):
        if isinstance(answer, Exception):
            raise answer
        answered += start <= time.perf_counter() < start + seconds
    return answered


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("events")
    parser.add_argument("n", type=int)
    parser.add_argument("--transport", default="auto")
    parser.add_argument("--in-flight", type=int, default=8, help="requests")
    parser.add_argument("--per-request", type=int, default=1, help="events")
    options = parser.parse_args()
    events = events_of(options.model, options.events, options.n)
    timings: list[Timings] = []
    with Client(
        options.url, timeout=120, transport=options.transport, on_timings=timings.append
    ) as client:
        print("ready", flush=True)
        for line in sys.stdin:
            timings.clear()
            n = drive(
                client,
                options.model,
                events,
                options.in_flight,
                options.per_request,
                float(line),
            )
            means = {part: fmean(getattr(t, part) for t in timings) for part in Timings._fields[1:]}
            print(json.dumps({"answered": n, **means}), flush=True)


if __name__ == "__main__":
    main()
