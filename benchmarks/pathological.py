"""Latency of good events while a hundredth of all events is pathological, on a server that runs.

usage: python -m benchmarks.pathological URL MODEL PATH [--events N] [--arrivals N] [--rounds N]
       [--load SHARE] [--share SHARE] [--beyond error|partial]
       python -m benchmarks.pathological --needs MODEL PATH [--events N] [--option NAME=VALUE]

MODEL is patatrack or exatrkx, PATH a directory of its events: the first N are sent, again and
again, at random times that do not depend on the answers (open loop), at half of the rate that the
server reaches with them. Good events alone and the mixture take turns. A pathological event is one
of :func:`pathological_events`. The limits of all requests are twice what the largest good event
needs; they are printed, with the latencies of good events, their ratio, and the share of the good
events with a complete result.

With ``--needs`` nothing is sent: it prints the most that each limit counts in the events at PATH,
with options of the tracker.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from trackserve import Client
from trackserve.client import AsyncClient, keep_freed_memory
from trackserve.edm import EventLimits, PointsEvent, RawEvent, SpacePoints
from trackserve.edm.columns import Array
from trackserve.edm.limits import MOST
from trackserve.errors import EventError, LimitExceeded
from trackserve.studies.machine import cpu_name
from trackserve.trackers.base import Pipeline
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
from trackserve.trackers.patatrack.limits import PatatrackLimits
from trackserve.trackers.registry import find_tracker

WORDS = 300_000
MODULE_DIGIS = 20_000
CLOUD = 300_000
_TIMEOUT = 120.0
_WARM_UP = 4
"""Seconds of a stream that measures the rate of the server."""


class Run(NamedTuple):
    """Good and pathological events of one round.

    Attributes:
        latencies: seconds from the time at which a good event was due to its answer.
        complete: number of good events with a complete result.
        others: what the pathological events came to, and how often.
    """

    latencies: list[float]
    complete: int
    others: Counter[str]


def cloud(n: int = CLOUD, seed: int = 1) -> PointsEvent:
    """An event of random points all over the detector."""
    random = np.random.default_rng(seed)
    r, z = np.sqrt(random.uniform(30**2, 1000**2, n)), random.uniform(-2500, 2500, n)
    phi = random.uniform(-np.pi, np.pi, n)
    position = np.stack([r * np.cos(phi), r * np.sin(phi), z], 1)
    return PointsEvent(SpacePoints(position.astype(np.float32)))


def pixel_noise(directory: Path, n: int, modules: int, seed: int = 1) -> RawEvent:
    """An event of ``n`` random pixels on the first modules of each layer that are read out.

    Args:
        directory: directory with the conditions.
        n: number of pixels, each of them once.
        modules: number of modules over which they are spread.
        seed: seed of the random numbers.
    """
    from trackserve.detectors.phase1.layout import COLS, N_MODULES, ROWS
    from trackserve.io import read_conditions
    from trackserve.simulation.pixel.readout import make_raw, make_readout_tables
    from trackserve.simulation.pixel.response import PixelDigis

    tables = make_readout_tables(read_conditions(directory))
    random = np.random.default_rng(seed)
    whole = np.flatnonzero((tables.channel >= 0).all(axis=(1, 2)))
    chosen = np.sort(random.permutation(whole[whole < N_MODULES])[:modules])
    pixels = [
        np.sort(random.choice(ROWS * COLS, share, replace=False))
        for share in np.diff(np.linspace(0, n, len(chosen) + 1).astype(int))
    ]
    place = np.concatenate(pixels)
    digis = PixelDigis(
        np.repeat(chosen, [len(some) for some in pixels]).astype(np.uint16),
        (place % ROWS).astype(np.uint16),
        (place // ROWS).astype(np.uint16),
        np.full(len(place), 200, np.uint8),
    )
    return RawEvent(make_raw(digis, tables, 0))


def pathological_events(model: str, path: Path) -> dict[str, Any]:
    """Events that no detector should give, by what is wrong with them."""
    if model == "exatrkx":
        return {f"a cloud of {CLOUD} points": cloud()}
    return {
        f"a module of {MODULE_DIGIS} digis": pixel_noise(path, MODULE_DIGIS, 1),
        f"{WORDS} words": pixel_noise(path, WORDS, 1500),
    }


def needs(model: str, path: Path, events: Sequence[Any], options: dict[str, str]) -> dict[str, int]:
    """The most that each limit counts in the events.

    A result has most of the numbers. The others are found by halving the limit.
    """
    tracker = find_tracker(model)
    pipeline = tracker.build(options, events=tracker.open_events(path))
    kind = tracker.limits
    no_limits = kind.make(dict.fromkeys(kind.names(), MOST))
    most = dict.fromkeys(kind.names(), 0)
    for event in events:
        (result,) = pipeline.run([event], limits=no_limits)
        if isinstance(result, EventError):
            raise result
        known = vars(result.counts)
        for name in most:
            if name in known:
                most[name] = max(most[name], known[name])
            elif _needs_more(pipeline, event, kind, name, most[name]):
                most[name] = _need(pipeline, event, kind, name, most[name])
    return most


def _need(
    pipeline: Pipeline[Any, Any], event: Any, kind: type[EventLimits], name: str, low: int
) -> int:
    """The smallest limit of an event that needs more than ``low``."""
    high = max(1, 2 * low)
    while _needs_more(pipeline, event, kind, name, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _needs_more(pipeline, event, kind, name, middle):
            low = middle
        else:
            high = middle
    return high


def _needs_more(
    pipeline: Pipeline[Any, Any], event: Any, kind: type[EventLimits], name: str, limit: int
) -> bool:
    (outcome,) = pipeline.run([event], limits=kind.make({name: limit}))
    if isinstance(outcome, LimitExceeded):
        if outcome.limit != name:
            raise outcome
        return True
    if isinstance(outcome, EventError):
        raise outcome
    return False


def rate_of(url: str, model: str, events: Sequence[Any], limits: EventLimits) -> float:
    """Events per second that a stream of good events reaches."""
    with Client(url, timeout=_TIMEOUT) as client:
        for _ in client.stream(model, events, limits=limits):
            pass
        start = time.perf_counter()
        source = itertools.takewhile(
            lambda _: time.perf_counter() < start + _WARM_UP, itertools.cycle(events)
        )
        n = sum(1 for _ in client.stream(model, source, limits=limits, ordered=False))
        return n / (time.perf_counter() - start)


async def drive(
    url: str,
    model: str,
    queue: Sequence[tuple[str, Any]],
    due: Array,
    limits: EventLimits,
) -> Run:
    """Send each event when it is due, whatever has been answered.

    Args:
        queue: what is wrong with each event, "" for good ones, and the event.
        due: float[events], seconds from the begin.
    """
    latencies: list[float] = []
    others: Counter[str] = Counter()
    complete = 0
    async with AsyncClient(url, timeout=_TIMEOUT) as client:
        await client.reconstruct(model, queue[0][1])
        start = time.perf_counter()

        async def send(wrong: str, event: Any, at: float) -> None:
            nonlocal complete
            try:
                result = await client.reconstruct(model, event, limits=limits)
                outcome = f"stopped by {result.stopped_by}" if result.stopped_by else "complete"
            except EventError as error:
                outcome = f"{type(error).__name__} {error.fields.get('limit', '')}".strip()
            if wrong:
                others[f"{wrong}: {outcome}"] += 1
                return
            latencies.append(time.perf_counter() - start - at)
            complete += outcome == "complete"

        tasks = []
        for (wrong, event), at in zip(queue, due.tolist(), strict=True):
            await asyncio.sleep(max(0.0, start + at - time.perf_counter()))
            tasks.append(asyncio.create_task(send(wrong, event, at)))
        await asyncio.gather(*tasks)
    return Run(latencies, complete, others)


def measure(options: argparse.Namespace, events: Sequence[Any], limits: EventLimits) -> None:
    """Take turns with good events alone and with the mixture; print what was found."""
    model, path = options.model, Path(options.path)
    bad = list(pathological_events(model, path).items())
    rate = options.load * rate_of(options.url, model, events, limits)
    print(f"arrivals: {rate:.2f} events/s, {options.load:g} of what the server reaches")
    percentiles: dict[str, list[Array]] = {"good events alone": [], "with pathological ones": []}
    others: Counter[str] = Counter()
    complete = sent = 0
    for number in range(options.rounds):
        random = np.random.default_rng(number)
        due = np.cumsum(random.exponential(1 / rate, options.arrivals))
        good = list(itertools.islice(itertools.cycle(events), options.arrivals))
        # the first is good: it makes the connection
        which = 1 + random.permutation(options.arrivals - 1)[: round(options.share * len(due))]
        mixture = [("", event) for event in good]
        for k, row in enumerate(which.tolist()):
            mixture[row] = bad[k % len(bad)]
        alone = [("", event) for event in good]
        for (name, found), queue in zip(percentiles.items(), (alone, mixture), strict=True):
            run = asyncio.run(drive(options.url, model, queue, due, limits))
            found.append(1e3 * np.percentile(run.latencies, (50, 99)))
            complete, sent = complete + run.complete, sent + len(run.latencies)
            others += run.others
            print(f"round {number + 1}, {name}: p50 {found[-1][0]:.1f}, p99 {found[-1][1]:.1f} ms")
    alone_99, mixture_99 = (np.array(found)[:, 1] for found in percentiles.values())
    for name, n in sorted(others.items()):
        print(f"{n} x {name}")
    print(f"good events with a complete result: {complete} of {sent}")
    ratios = mixture_99 / alone_99
    print(
        f"p99 of good events, with over without: {median(ratios):.2f}, of rounds {ratios.round(2)}"
    )


def main() -> None:
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--needs", action="store_true")
    parser.add_argument("place", nargs="+", metavar="[URL] MODEL PATH")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--arrivals", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--load", type=float, default=0.5)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--beyond", default="error", choices=("error", "partial"))
    options = parser.parse_args()
    *url, options.model, options.path = options.place
    options.url = url[0] if url else ""
    tracker = find_tracker(options.model)
    source = tracker.open_events(Path(options.path))
    events = [source[k] for k in range(min(options.events, len(source)))]
    print(f"{options.model}, {len(events)} events of {options.path}, {cpu_name()}")
    given = dict(text.split("=", 1) for text in options.option)
    needed = needs(options.model, Path(options.path), events, given)
    print("needs:", ", ".join(f"{name} {most}" for name, most in needed.items()))
    if options.needs:
        return
    limits: EventLimits
    if options.model == "exatrkx":  # not of points: it is the edges that are to stop a cloud
        twice = {name: 2 * most for name, most in needed.items() if name != "points"}
        limits = ExatrkxLimits(beyond=options.beyond, **twice)
    else:
        twice = {name: 2 * most for name, most in needed.items()}
        limits = PatatrackLimits(beyond=options.beyond, **twice)
    print("limits:", ", ".join(f"{name} {most}" for name, most in limits.counts().items()))
    measure(options, events, limits)


if __name__ == "__main__":
    main()
