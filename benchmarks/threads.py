"""How well do two threads scale, beside a loop that only computes?

usage: python -m benchmarks.threads TRACKER=EVENTS... [--threads COUNT] [--rounds COUNT]

A pipeline with one thread and with several, and the loop with one and with several, take turns.
The loop holds no lock and needs no memory: what it does not gain, the machine does not have.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable

import numba

from trackserve.studies.machine import cpu_name
from trackserve.studies.samples import given
from trackserve.studies.spread import mean
from trackserve.trackers.registry import find_tracker

SECONDS = 0.5
"""How long each is measured."""


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def compute(n: int) -> float:
    """Multiply ``n`` times."""
    value = 1.0
    for _ in range(n):
        value = value * 1.0000001 + 1e-9
    return value


def rate(call: Callable[[], object], threads: int) -> float:
    """Calls per second of several threads."""
    counts = [0] * threads
    end = time.perf_counter() + SECONDS

    def work(number: int) -> None:
        while time.perf_counter() < end:
            call()
            counts[number] += 1

    begin = time.perf_counter()
    each = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()
    return sum(counts) / (time.perf_counter() - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("events", nargs="+", metavar="TRACKER=EVENTS")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{cpu_name()}; {arguments.threads} threads over one", flush=True)
    for sample in given(arguments.events):
        tracker = find_tracker(sample.tracker)
        opened = tracker.open_events(sample.path)
        pipeline = tracker.build({}, device="cpu", threads=1, events=opened)
        events = itertools.cycle(list(opened))

        def track() -> None:
            pipeline.reconstruct(next(events))  # noqa: B023

        cost = 1 / rate(track, 1)
        n = int(1e6 * cost * rate(lambda: compute(1_000_000), 1))
        gains: dict[str, list[float]] = {sample.name: [], "loop": []}
        for _ in range(arguments.rounds):
            for name, call in ((sample.name, track), ("loop", lambda: compute(n))):  # noqa: B023
                alone = rate(call, 1)
                gains[name].append(rate(call, arguments.threads) / alone)
        ratios = [own / loop for own, loop in zip(*gains.values(), strict=True)]
        text = ", ".join(f"{name} {mean(values).text}" for name, values in gains.items())
        print(f"{sample.tracker}: {text}, ratio {mean(ratios).text}", flush=True)


if __name__ == "__main__":
    main()
