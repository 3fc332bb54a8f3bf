"""Both trackers on a CUDA device beside the CPU: the same tracks within stated tolerances.

usage: python -m benchmarks.gpu_check DIR... [--points EVENTS] [--models MODEL...] [--device cpu]
       [--small]

Each DIR is a pixel data directory; EVENTS is a directory of space points, a file of
:mod:`.points`, or "random". A line for each check says pass or FAIL, with its figures; the
program exits with 1 if one fails. With ``--small`` the smallest event of each is checked alone, on
the device only: for a tool that makes each memory access slow. With ``--device cpu`` the CPU is
compared with itself.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from trackserve import ExatrkxPipeline, PatatrackPipeline
from trackserve.edm import Edges, PointsEvent, RawEvent
from trackserve.edm.columns import Array
from trackserve.errors import EventError
from trackserve.io import read_conditions, read_events
from trackserve.trackers.exatrkx.model import load_model
from trackserve.trackers.exatrkx.result import GRAPH_STAGES, ExatrkxResult
from trackserve.trackers.patatrack.config import CONFIGS
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.registry import find_tracker

from .gpu import describe_device
from .points import RANDOM, describe, events_for, read_points
from .raw_words import split, stream

NTUPLETS = 0.9999
"""Least share of the CPU's ntuplets that the device finds too."""
PARAMETERS = 1e-4
"""Largest difference of a fitted parameter, over the larger of its value and its error."""
SCORES = 1e-5
"""Edges may differ whose score is this close to a cut."""
LIMIT = 1e-3
"""Largest share of candidates that differ, because of edges whose score is close to a cut."""

failed: list[str] = []


def check(name: str, passed: bool, figures: str) -> None:
    if not passed:
        failed.append(name)
    print(f"{'pass' if passed else 'FAIL'}  {name}: {figures}", flush=True)


def damaged(event: RawEvent, seed: int) -> RawEvent:
    """``event`` with a twentieth of its words changed at random; a third of all events are cut."""
    random = np.random.default_rng(seed)
    feds = split(event)
    for _, words in feds:
        for at in range(2, len(words) - 2):
            if random.random() < 0.05:
                words[at] = int(random.integers(1 << 32))
    data = stream(feds).data
    if seed % 3 == 2:
        data = data[: 4 * int(random.integers(1, len(data) // 4))]
    return replace(event, data=data)


def compare_ntuplets(found: PatatrackResult, expected: PatatrackResult) -> Counter[str]:
    """Numbers of ntuplets: all, those missing, those with a parameter too far off."""
    assert found.ntuplets is not None
    assert expected.ntuplets is not None
    ours = {tuple(row): t for t, row in enumerate(found.ntuplets.hits.tolist())}
    theirs = [tuple(row) for row in expected.ntuplets.hits.tolist()]
    common = [(ours[row], t) for t, row in enumerate(theirs) if row in ours]
    mine, cpu = np.array(common, np.int64).reshape(-1, 2).T
    a, b = found.ntuplets.state[mine], expected.ntuplets.state[cpu]
    error = np.sqrt(expected.ntuplets.covariance[cpu][:, [0, 5, 9, 12, 14]])
    far = np.abs(a - b) > PARAMETERS * np.maximum(np.abs(b), error)
    return Counter(
        ntuplets=len(theirs),
        missing=len(theirs) - len(common),
        far=int(far.any(axis=1).sum()),
        nan=int((np.isnan(a) != np.isnan(b)).any(axis=1).sum()),
        equal=int(found == expected),
        tracks=abs(len(found.tracks) - len(expected.tracks)),
        vertices=abs(len(found.vertices) - len(expected.vertices)),
    )


def check_patatrack(device: str, directory: str, small: bool) -> None:
    """Whole and damaged events of a directory, in every configuration."""
    conditions = read_conditions(directory)
    whole = list(read_events(directory))
    smallest = min(whole, key=lambda event: len(event.data))
    kinds = {"whole": whole, "damaged": [damaged(event, k) for k, event in enumerate(whole)]}
    if small:
        kinds = {"whole": [smallest], "damaged": [damaged(smallest, 0)]}
    keep = list(PatatrackResult.intermediates())
    for config in CONFIGS.values():
        there = PatatrackPipeline(conditions, config, device=device)
        here = PatatrackPipeline(conditions, config)
        for kind, events in kinds.items():
            name = f"Patatrack {directory.rstrip('/').rpartition('/')[2]} {config.name} {kind}"
            start = time.perf_counter()
            found = there.run(events, keep)
            took = f"{time.perf_counter() - start:.1f} s"
            if small:
                check(name, True, took)
                continue
            expected = here.run(events, keep)
            alike = [str(a) == str(b) for a, b in zip(found, expected, strict=True)
                     if isinstance(a, EventError) or isinstance(b, EventError)]  # fmt: skip
            sums: Counter[str] = Counter()
            for a, b in zip(found, expected, strict=True):
                if isinstance(a, PatatrackResult) and isinstance(b, PatatrackResult):
                    sums += compare_ntuplets(a, b)
            n = max(1, sums["ntuplets"])
            good = sums["missing"] <= (1 - NTUPLETS) * n and not sums["far"] + sums["nan"]
            check(
                name,
                good and all(alike),
                f"{len(events)} events, {sums['equal']} equal in all bits, {len(alike)} errors, "
                f"{len(alike) - sum(alike)} others; {n} ntuplets, {sums['missing']} missing, "
                f"{sums['far']} with a parameter more than {PARAMETERS:g} off; tracks differ by "
                f"{sums['tracks']}, vertices by {sums['vertices']}; {took}",
            )
            again = there.run(events, keep)
            alone = [there.run([event], keep)[0] for event in events]
            same = sum(str(a) == str(b) if isinstance(a, EventError) else a == b
                       for others in (again, alone)
                       for a, b in zip(found, others, strict=True))  # fmt: skip
            check(f"{name}, again and alone", same == 2 * len(events),
                  f"{same} of {2 * len(events)} with the same bits")  # fmt: skip


def scores_of_others(ours: Edges, theirs: Edges) -> Array:
    """Scores of the edges that only one side has, float32[n]."""
    both = [edges.source.astype(np.int64) << 32 | edges.target for edges in (ours, theirs)]
    if np.array_equal(*both):
        return np.empty(0, np.float32)
    _, first, n = np.unique(np.concatenate(both), return_index=True, return_counts=True)
    scores: Array = np.concatenate([ours.score, theirs.score])[first[n == 1]]
    return scores


def check_exatrkx(device: str, name: str, events: Sequence[PointsEvent], small: bool) -> None:
    """Edges of each stage and candidates of a model."""
    model = load_model(name)
    events = events_for(model, events)
    there, here = ExatrkxPipeline(model, device=device), ExatrkxPipeline(model, threads=len(events))
    start = time.perf_counter()
    found = there.run(events, GRAPH_STAGES)
    took = f"{time.perf_counter() - start:.1f} s"
    if small:
        check(f"Exa.TrkX {name}", True, took)
        return
    expected = here.run(events, GRAPH_STAGES)
    cuts = model.description.cuts
    by_stage = {"filter_edges": cuts.filter, "track_edges": cuts.edge}
    sums: Counter[str] = Counter()
    for mine, theirs in zip(found, expected, strict=True):
        assert isinstance(mine, ExatrkxResult), mine
        assert isinstance(theirs, ExatrkxResult), theirs
        for stage in GRAPH_STAGES:
            ours, cpus = getattr(mine, stage), getattr(theirs, stage)
            is_near = np.abs(scores_of_others(ours, cpus) - by_stage.get(stage, math.nan)) <= SCORES
            sums[stage] += len(cpus)
            sums["near"] += int(is_near.sum())
            sums["far"] += int((~is_near).sum())
        a, b = (
            {tuple(one.candidates.points[i].tolist()) for i in range(len(one.candidates))}
            for one in (mine, theirs)
        )
        sums["candidates"] += len(b)
        sums["others"] += len(a ^ b)
    edges = ", ".join(f"{sums[stage]} {stage.replace('_', ' ')}" for stage in GRAPH_STAGES)
    check(
        f"Exa.TrkX {name}",
        not sums["far"] and sums["others"] <= LIMIT * sums["candidates"],
        f"{len(events)} events, {edges}; {sums['near']} differ within {SCORES:g} of a cut, "
        f"{sums['far']} beyond; {sums['candidates']} candidates, {sums['others']} differ; {took}",
    )
    again = there.run(events, GRAPH_STAGES)
    alone = [there.reconstruct(event, GRAPH_STAGES) for event in events]
    same = sum(a == b for others in (again, alone) for a, b in zip(found, others, strict=True))
    check(f"Exa.TrkX {name}, again and alone", same == 2 * len(events),
          f"{same} of {2 * len(events)} with the same bits")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Both trackers on a CUDA device beside the CPU.")
    parser.add_argument("directories", metavar="DIR", nargs="+")
    parser.add_argument("--points", default=RANDOM, metavar="EVENTS")
    parser.add_argument("--models", nargs="+", default=find_tracker("exatrkx").variants())
    parser.add_argument("--most", type=int, default=2, help="events of space points")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()

    print(f"{describe_device(options.device)}, PyTorch {torch.__version__}")
    for directory in options.directories:
        check_patatrack(options.device, directory, options.small)
    points: Any = read_points(options.points, options.most)
    if options.small:
        points = [few_points(min(points, key=lambda event: len(event.points)))]
    print(describe(options.points, points))
    for name in options.models:
        check_exatrkx(options.device, name, points, options.small)
    print(f"{len(failed)} checks failed")
    return 1 if failed else 0


def few_points(event: PointsEvent) -> PointsEvent:
    """The points of an event in a sixteenth of the angle around the beam."""
    x, y = event.points.position[:, 0], event.points.position[:, 1]
    rows = np.flatnonzero(np.abs(np.arctan2(y, x)) < math.pi / 16)
    return replace(event, points=type(event.points)(event.points.position[rows]))


if __name__ == "__main__":
    sys.exit(main())
