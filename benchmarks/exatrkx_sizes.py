"""Physics and time of models of several sizes on the same events, in turns: table and plot.

usage: python -m benchmarks.exatrkx_sizes MODEL... --events POINT=PATH [--events ...] [--rounds N]
       [--output PNG]

Each model runs at its working point POINT on the events at PATH, on one thread. Efficiency is by
double majority, |eta| < 3.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from statistics import median
from typing import NamedTuple

from trackserve import ExatrkxPipeline
from trackserve.edm import PointsEvent
from trackserve.io import open_points
from trackserve.physics.points.metrics import match_points_events, summarize_points
from trackserve.physics.statistics import Fraction
from trackserve.report.drawing import (
    MARKER_SIZE,
    new_figure,
    styled,
    to_png,
)
from trackserve.studies.machine import cpu_name
from trackserve.studies.throughput import alternate
from trackserve.trackers.exatrkx.model import load_model


class Measured(NamedTuple):
    """One model on the events of one PATH; seconds are those of an event."""

    seconds: float
    efficiency: Fraction
    fakes: Fraction


def measure(models: list[str], point: str, path: str, rounds: int) -> list[Measured]:
    events = list(open_points(path))
    pipelines = {name: ExatrkxPipeline.from_model(f"{name}@{point}") for name in models}
    seconds = alternate(
        {name: functools.partial(p.run, events) for name, p in pipelines.items()},
        rounds,
    )
    return [
        judge(pipeline, events, median(seconds[name]) / len(events))
        for name, pipeline in pipelines.items()
    ]


def judge(pipeline: ExatrkxPipeline, events: list[PointsEvent], seconds: float) -> Measured:
    summary = summarize_points(match_points_events(events, pipeline.run(events)))
    return Measured(seconds, summary.efficiency_eta_3.double, summary.fake_rate.single)


def draw(found: dict[str, list[Measured]], models: list[str]) -> bytes:
    figure, (left, right) = new_figure(1, 2)
    for style, measured in styled(found):
        milliseconds = [1e3 * m.seconds for m in measured]
        for axes, name in ((left, "efficiency"), (right, "fakes")):
            shares = [getattr(m, name) for m in measured]
            values = [share.value for share in shares]
            axes.errorbar(
                milliseconds,
                values,
                [share.error for share in shares],
                fmt=f"{style.marker}-",
                color=style.colour,
                label=style.label,
                lw=1,
                ms=MARKER_SIZE,
            )
    for model, m in zip(models, measured, strict=True):  # the last events': all have one order
        place = 1e3 * m.seconds, m.efficiency.value
        left.annotate(Path(model).name, place, (-6, 0), textcoords="offset points", ha="right")
    for axes, name in ((left, "efficiency, double majority, |eta| < 3"), (right, "fake rate")):
        axes.set(xlabel="ms per event, one thread", ylabel=name, xscale="log")
    right.legend(frameon=False)
    return to_png(figure)


def _text(share: Fraction) -> str:
    return f"{share.value:.4f} +- {share.error:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Models of several sizes, side by side.")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--events", action="append", required=True, metavar="POINT=PATH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    print(cpu_name())
    found = {}
    for pair in options.events:
        point, _, path = pair.partition("=")
        found[point] = measure(options.models, point, path, options.rounds)
        for model, m in zip(options.models, found[point], strict=True):
            weights = load_model(model).weights.values()
            physics = f"efficiency {_text(m.efficiency)}  fakes {_text(m.fakes)}"
            size = f"{sum(w.size for w in weights):8d} weights {1e3 * m.seconds:8.1f} ms"
            print(f"{point:8} {Path(model).name:12} {size}  {physics}", flush=True)
    if options.output is not None:
        options.output.write_bytes(draw(found, options.models))


if __name__ == "__main__":
    main()
