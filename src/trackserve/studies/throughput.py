"""Speed: events per second, time per stage, latency and memory.

Machines are noisy, so things that are compared take turns, round by round, and the
median over the rounds counts.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from trackserve.errors import EventError
from trackserve.trackers.laps import Laps

if TYPE_CHECKING:
    from trackserve.client import Client
    from trackserve.trackers.base import Pipeline

Call = Callable[[], Any]


@dataclass(frozen=True)
class Latency:
    """Seconds per event, one event at a time."""

    median: float
    p95: float

    @staticmethod
    def of(seconds: Sequence[float]) -> Latency:
        return Latency(median(seconds), float(np.percentile(seconds, 95)))


def alternate(
    calls: dict[str, Call], rounds: int, progress: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Seconds that each call takes, in ``rounds`` rounds in which the calls take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
        progress()
    return seconds


def stage_times(
    pipeline: Pipeline[Any, Any],
    events: Sequence[Any],
    rounds: int,
    progress: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds per event of each stage, one event at a time.

    Args:
        pipeline: reconstructs the events.
        events: the events.
        rounds: number of rounds.
        progress: called after each round.
        clock: seconds; :func:`time.thread_time` gives those of the processor.
    """
    per_round: dict[str, list[float]] = {}
    for _ in range(rounds):
        laps = Laps(clock)
        for event in events:
            laps.start()
            pipeline.run([event], lap=laps)
        for stage, seconds in laps.seconds.items():
            per_round.setdefault(stage, []).append(seconds / len(events))
        progress()
    return {stage: median(seconds) for stage, seconds in per_round.items()}


def latencies(
    calls: dict[str, Callable[[Any], Any]],
    events: Sequence[Any],
    rounds: int,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Latency]:
    """Latency of several ways to reconstruct an event, which take turns event by event."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for event in events:
            for name, call in calls.items():
                start = time.perf_counter()
                call(event)
                if number > 0:
                    seconds[name].append(time.perf_counter() - start)
        progress()
    return {name: Latency.of(values) for name, values in seconds.items()}


def run_served(
    client: Client,
    model: str,
    events: Iterable[Any],
    in_flight: int | None = None,
    identity: str | None = None,
) -> None:
    """Reconstruct all events on a server.

    Args:
        client: client of the server.
        model, events, in_flight, identity: as of :meth:`trackserve.client.Client.stream`.

    Raises:
        EventError: an event failed.
    """
    for result in client.stream(model, events, in_flight=in_flight, identity=identity):
        if isinstance(result, EventError):
            raise result


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
