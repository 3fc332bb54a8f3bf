"""Two models at once: what do they take from each other?

usage: python -m benchmarks.serving_two_models PIXEL POINTS [--rounds COUNT] [--seconds SECONDS]
       [--backend NAME]

PIXEL is a directory of raw pixel data for Patatrack, POINTS one of space points for Exa.TrkX. One
server has both models, each with one worker, and all processors; a stream for each runs at the
same time. Beside it each model runs alone: a server with one worker, and its stream, on one
processor. The same is measured without a server: what it loses, the machine takes. All take turns.
Prints the rate together over the rate alone.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from trackserve import Client
from trackserve.client import keep_freed_memory
from trackserve.serving.limits import Limits
from trackserve.serving.repository import BACKENDS, write_model
from trackserve.serving.server import Server
from trackserve.studies.lab import pinned
from trackserve.studies.machine import cpu_name
from trackserve.studies.spread import mean
from trackserve.trackers.registry import find_tracker

LEAD = 0.4
"""Part of the time in which a stream finds its window, and which does not count."""


@contextmanager
def serve(models: dict[str, dict[str, Any]], backend: str, core: int | None) -> Iterator[Server]:
    """A server with models of one worker each, on one processor or on all."""
    with tempfile.TemporaryDirectory() as repository:
        for tracker, options in models.items():
            write_model(repository, tracker, options, limits=Limits(workers=1), backend=backend)
        server = Server(repository, grpc_port=0, http_port=0, metrics_port=0, notice=print)
        with pinned(frozenset() if core is None else frozenset({core})):
            server.start()
        try:
            yield server
        finally:
            server.stop()


Answers = Callable[[Iterator[Any]], Iterator[Any]]
"""The answers to events, one after the other."""


def rate(answers: Answers, events: Sequence[Any], seconds: float) -> float:
    """Answers per second."""
    begin = time.perf_counter() + LEAD * seconds
    end = begin + seconds
    source = itertools.takewhile(lambda _: time.perf_counter() < end, itertools.cycle(events))
    arrived = [now for _ in answers(source) if (now := time.perf_counter()) > begin]
    return (len(arrived) - 1) / (arrived[-1] - arrived[0])


def together(ways: dict[str, Answers], events: dict[str, Any], seconds: float) -> dict[str, float]:
    """Rate of each model while all run."""
    with ThreadPoolExecutor(len(ways)) as pool:
        each = pool.map(lambda name: rate(ways[name], events[name], seconds), ways)
        return dict(zip(ways, each, strict=True))


def alone(ways: dict[str, Answers], events: dict[str, Any], seconds: float) -> dict[str, float]:
    """Rate of each model, one after the other, on one processor."""
    with pinned(frozenset({0})):
        return {name: rate(way, events[name], seconds) for name, way in ways.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pixel", type=Path, metavar="PIXEL")
    parser.add_argument("points", type=Path, metavar="POINTS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--backend", choices=BACKENDS, default="native")
    arguments = parser.parse_args()
    keep_freed_memory()
    places = {"patatrack": arguments.pixel, "exatrkx": arguments.points}
    options = {"patatrack": {"conditions": arguments.pixel}, "exatrkx": {}}
    events = {name: list(find_tracker(name).open_events(path)) for name, path in places.items()}
    print(f"{cpu_name()}; backend {arguments.backend}", flush=True)
    with ExitStack() as stack:
        direct, among, single = {}, {}, {}
        both = stack.enter_context(serve(options, arguments.backend, None))
        for name, given in options.items():
            found = find_tracker(name).open_events(places[name])
            pipeline = find_tracker(name).build({}, device="cpu", threads=1, events=found)
            pipeline.warm_up()
            direct[name] = partial(map, pipeline.reconstruct)
            client = stack.enter_context(Client(both.grpc_url))
            among[name] = partial(client.stream, name)
            server = stack.enter_context(serve({name: given}, arguments.backend, 0))
            client = stack.enter_context(Client(server.grpc_url))
            single[name] = partial(client.stream, name)
        rates: dict[str, list[dict[str, float]]] = {}
        for _ in range(arguments.rounds):
            for way, (several, one) in {
                "direct": (direct, direct),
                "served": (among, single),
            }.items():
                found = together(several, events, arguments.seconds)
                beside = alone(one, events, arguments.seconds)
                shares = {name: found[name] / beside[name] for name in options}
                rates.setdefault(way, []).append(shares | {"mean of both": fmean(shares.values())})
    for way, rows in rates.items():
        each = (f"{name} {mean([row[name] for row in rows]).text}" for name in rows[0])
        print(f"{way}, together over alone: {', '.join(each)}", flush=True)


if __name__ == "__main__":
    main()
