"""The learned tracker beside ACTS' combinatorial Kalman filter: physics and time, as one table.

usage: python -m benchmarks.beside_ckf DIR... [--model NAME|DIR[@POINT]]... [--plot FILE.png]
       [--events N] [--rounds N]

DIR has events of ``trackserve simulate points``. Both run in ACTS' Sequencer on the same events, in
turns, on one thread, and a track needs the same least number of measurements. Candidates are judged
before ACTS' Kalman fit and after it; the combinatorial filter fits what it finds. Times are the
processor's, of an event, from measurements on: medians over rounds of means over events. With
several models the plot shows which of them is the best for a given time. Needs
``pip install 'trackserve[acts]'``.
"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np

from trackserve.edm import FittedTracks, PointsEvent
from trackserve.integration.acts import TrackFinder, chain
from trackserve.integration.acts.steps import Stopwatch, run_steps
from trackserve.io import MeasurementsFile, open_points
from trackserve.physics.points.fits import (
    HIGH_PT,
    Fitted,
    FoundTracks,
    judge_fits,
    judge_tracks,
    pool_tracks,
    summarize_fits,
)
from trackserve.physics.statistics import Fraction, with_error
from trackserve.report.drawing import PALETTE, new_figure, to_png
from trackserve.studies.acts import FINDING, TRACKER
from trackserve.studies.machine import cpu_name
from trackserve.trackers.registry import find_tracker

LEAST = chain.MIN_MEASUREMENTS
CKF = "CKF"
FITTED = ", fitted"
"""What the name of a way ends with if ACTS' fit is part of it."""
BEFORE_FIT = ("selection", "space points", FINDING)
"""Steps after which there are candidates."""


class Way(NamedTuple):
    """One way to tracks.

    Attributes:
        found: its tracks beside the truth.
        seconds: processor time of an event.
    """

    found: Fitted | FoundTracks
    seconds: float


class Run(NamedTuple):
    """One pass over the events.

    Attributes:
        tracks: those of each event, by its place.
        processor: seconds of an event by step, means over the events.
    """

    tracks: dict[int, FittedTracks]
    processor: dict[str, float]


def run(measured: list[Any], make: Any) -> Run:
    watch = Stopwatch()
    steps: Mapping[str, Any] = make()
    tracks = run_steps(measured, watch.around(steps))
    events = list(watch.processor.values())
    return Run(tracks, {step: fmean(each[step] for each in events) for step in steps})


def measure(path: Path, models: Sequence[str], n_events: int | None, rounds: int) -> dict[str, Way]:
    """Each way to tracks, by its name, on the events of a directory."""
    events: list[PointsEvent] = list(open_points(path)[:n_events])
    file = MeasurementsFile(path)
    measured = [file.of(event.event) for event in events]
    place = chain.make_geometry(), chain.make_field()
    ways: dict[str, Callable[[], Mapping[str, Any]]] = {
        model: functools.partial(_steps, place, model) for model in models
    }
    ways[CKF] = functools.partial(chain.ckf_steps, *place)
    for make in ways.values():
        run(measured[:1], make)
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, make in ways.items():
            runs[name].append(run(measured, make))
        print(f"{path.name}: {number + 1} of {rounds} rounds", flush=True)

    def fitted(name: str) -> Fitted:
        tracks = runs[name][0].tracks
        return summarize_fits(
            [judge_fits(event, None, tracks[n], LEAST) for n, event in enumerate(events)]
        )

    def seconds(name: str, *steps: str) -> float:
        each = [one.processor for one in runs[name]]
        return median(sum(spent[step] for step in steps or spent) for spent in each)

    found: dict[str, Way] = {}
    for model in models:
        pipeline = find_tracker(TRACKER).build({"model": model})
        candidates = [pipeline.run([event])[0].candidates for event in events]  # type: ignore[union-attr]
        before = [judge_tracks(e, c.points, LEAST) for e, c in zip(events, candidates, strict=True)]
        found[model] = Way(pool_tracks(before), seconds(model, *BEFORE_FIT))
        found[model + FITTED] = Way(fitted(model), seconds(model))
    return found | {CKF: Way(fitted(CKF), seconds(CKF))}


def _steps(place: tuple[Any, Any], model: str) -> Mapping[str, Any]:
    return chain.candidate_steps(*place, {FINDING: TrackFinder(TRACKER, {"model": model})})


def rows(ways: dict[str, Way]) -> dict[str, list[str]]:
    """The cells of each row of the table."""

    def text(share: Fraction) -> str:
        return with_error(share.value, share.error) if share.total else "-"

    found = [way.found for way in ways.values()]
    high = f"the same above {HIGH_PT:g} GeV ({found[0].high_efficiency.total} particles)"
    pulls = [
        ", ".join(f"{pull.value:.2f}" for pull in one.widths.pull.values())
        if isinstance(one, Fitted)
        else "-"
        for one in found
    ]
    resolution = [
        f"{100 * one.widths.relative_pt.value:.2f} %" if isinstance(one, Fitted) else "-"
        for one in found
    ]
    return {
        "efficiency": [text(one.efficiency) for one in found],
        high: [text(one.high_efficiency) for one in found],
        "fakes": [text(one.fake_rate) for one in found],
        "duplicates": [text(one.duplicate_rate) for one in found],
        "resolution of pT": resolution,
        "pulls of d0, z0, φ, θ, q/p": pulls,
        "processor time of an event, s": [f"{way.seconds:.2f}" for way in ways.values()],
    }


def draw(found: Mapping[str, Mapping[str, Way]], file: Path) -> None:
    """Draw the efficiency of each way against its time, a panel for each directory."""
    figure, panels = new_figure(1, len(found))
    for axes, (sample, ways) in zip(np.atleast_1d(panels), found.items(), strict=True):
        names = [name for name in ways if not name.endswith(FITTED)]
        for name, way in ways.items():
            share = way.found.efficiency
            low, high = share.interval
            error = [[max(share.value - low, 0.0)], [max(high - share.value, 0.0)]]
            colour = PALETTE[names.index(name.removesuffix(FITTED)) % len(PALETTE)]
            is_fitted = name.endswith(FITTED) or name == CKF
            axes.errorbar(
                way.seconds,
                share.value,
                error,
                color=colour,
                marker="s" if is_fitted else "o",
                markerfacecolor=colour if is_fitted else "white",
                linestyle="none",
                label=name,
            )
        axes.set_xlim(left=0)
        axes.set_title(sample)
        axes.set_xlabel("processor time of an event, s")
        axes.set_ylabel("efficiency")
    series = np.atleast_1d(panels)[-1].get_legend_handles_labels()
    figure.legend(*series, fontsize="small", loc="outside right upper")
    file.write_bytes(to_png(figure))


def main() -> None:
    parser = argparse.ArgumentParser(description="The learned tracker beside ACTS' CKF.")
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--model", action="append", metavar="NAME|DIR[@POINT]")
    parser.add_argument("--events", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", type=Path, metavar="FILE.png")
    options = parser.parse_args()
    print(f"{cpu_name()}, load average {os.getloadavg()[0]:.1f}")
    print(f"pT > 1 GeV, |eta| < 3, at least {LEAST} measurements; double majority")
    found: dict[str, dict[str, Way]] = {}
    models = options.model or ["default"]
    for path in options.directories:
        ways = found[path.name] = measure(path, models, options.events, options.rounds)
        print(f"\n| {path.name} | {' | '.join(ways)} |")
        print(f"|---|{'---|' * len(ways)}")
        for name, cells in rows(ways).items():
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
