"""CPU time of each stage of the learned tracker; other work on the machine changes it little.

usage: python -m benchmarks.exatrkx_stages PATH... [--model MODEL] [--events N] [--rounds N]

Events run one by one on one thread; of all rounds the one that took least counts. `trackserve
bench exatrkx` gives the same stages in wall time.
"""

from __future__ import annotations

import argparse
import time

from trackserve import ExatrkxPipeline
from trackserve.edm import PointsEvent
from trackserve.io import open_points
from trackserve.studies.machine import cpu_name
from trackserve.studies.throughput import stage_times


def measure(pipeline: ExatrkxPipeline, events: list[PointsEvent]) -> dict[str, float]:
    """Mean seconds per event of each stage in one round."""
    return stage_times(pipeline, events, 1, clock=time.thread_time)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of each stage.")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--model", default="default")
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(cpu_name())
    pipeline = ExatrkxPipeline.from_model(options.model)
    pipeline.warm_up()
    for path in options.paths:
        events = list(open_points(path)[: options.events])
        rounds = [measure(pipeline, events) for _ in range(options.rounds)]
        best = min(rounds, key=lambda seconds: sum(seconds.values()))
        points = sum(len(event.points) for event in events) / len(events)
        print(f"{path}: {len(events)} events, {points:.0f} points each")
        for stage, seconds in {**best, "all": sum(best.values())}.items():
            print(f"  {stage:10} {1e3 * seconds:9.1f} ms  {1e6 * seconds / points:6.2f} us/point")


if __name__ == "__main__":
    main()
