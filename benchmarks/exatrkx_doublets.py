"""What the doublet cuts of a model do: where particles are lost, and the time of each stage.

usage: python -m benchmarks.exatrkx_doublets DIR... [--model MODEL] [--timed N] [--rounds N]

The model runs without its cuts on pairs and with them, in turns, on one thread. Times are the
processor's, of an event: medians over rounds.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from trackserve import ExatrkxPipeline
from trackserve.edm import PointsEvent
from trackserve.io import open_points
from trackserve.physics.points.metrics import match_points_events, summarize_points
from trackserve.physics.statistics import Fraction, with_error
from trackserve.studies.machine import cpu_name
from trackserve.studies.throughput import stage_times
from trackserve.trackers.exatrkx.model import load_model
from trackserve.trackers.exatrkx.result import GRAPH_STAGES
from trackserve.trackers.exatrkx.stages import STAGES
from trackserve.trackers.exatrkx.training.doublets import with_doublets


def physics(pipeline: ExatrkxPipeline, events: list[PointsEvent]) -> dict[str, str]:
    """The cells of the rows about physics."""
    results = [pipeline.reconstruct(event, GRAPH_STAGES) for event in events]
    summary = summarize_points(match_points_events(events, results))

    def text(share: Fraction) -> str:
        return with_error(share.value, share.error)

    return {
        **{f"edges per point: {k}": f"{g.edges_per_point:.2f}" for k, g in summary.graphs.items()},
        **{f"left after {stage}": text(share) for stage, share in summary.left.items()},
        "efficiency, double majority, |eta| < 3": text(summary.efficiency_eta_3.double),
        "fakes, single majority": text(summary.fake_rate.single),
        "duplicates": text(summary.duplicate_rate),
    }


def times(
    pipelines: dict[str, ExatrkxPipeline], events: list[PointsEvent], rounds: int
) -> dict[str, dict[str, float]]:
    """Milliseconds of each stage, by pipeline."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in pipelines}
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            found[name].append(stage_times(pipeline, events, 1, clock=time.thread_time))
    return {
        name: {stage: 1e3 * median(each[stage] for each in some) for stage in STAGES}
        for name, some in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A model without its doublet cuts, and with them.")
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--model", default="default")
    parser.add_argument("--timed", type=int, default=2, help="events that are timed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = load_model(options.model)
    pipelines = {
        "without": ExatrkxPipeline(with_doublets(model, None)),
        "with": ExatrkxPipeline(model),
    }
    print(cpu_name())
    for path in options.directories:
        events = list(open_points(path))
        timed = events[: options.timed]
        cells = {name: physics(pipeline, events) for name, pipeline in pipelines.items()}
        spent = times(pipelines, timed, options.rounds)
        print(f"\n| {path.name} | {' | '.join(pipelines)} |\n|---|---|---|")
        print(f"| events | {len(events)} | {len(events)} |")
        for row in cells["with"]:
            print(f"| {row} | {' | '.join(some[row] for some in cells.values())} |")
        for stage in STAGES:
            print(
                f"| {stage}, ms | {' | '.join(f'{some[stage]:.1f}' for some in spent.values())} |"
            )
        total = (f"{sum(some.values()):.1f}" for some in spent.values())
        print(f"| all stages, {len(timed)} events, ms | {' | '.join(total)} |", flush=True)


if __name__ == "__main__":
    main()
