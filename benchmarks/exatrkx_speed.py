"""Ours against the published recipe (:mod:`.exatrkx_plain`) on the same events, in turns.

usage: python -m benchmarks.exatrkx_speed PATH... [--model NAME|DIR] [--events N] [--rounds N]
       [--threads N] [--widths published]

PATH are events as ``trackserve reconstruct exatrkx`` takes them. Ours runs N events at a time; the
plain recipe runs one event with N threads inside. A line for each PATH has edges per space point,
seconds per event of both, the number of candidates that differ, and the number of edges whose
score is near a cut. ``--widths published`` gives embedding, filter and graph network the published
sizes, with random weights and cuts that keep as many edges as the model does.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from statistics import fmean, median

import numpy as np
import torch

from trackserve import ExatrkxPipeline
from trackserve.edm import PointsEvent
from trackserve.errors import EventError, LimitExceeded
from trackserve.io import open_points
from trackserve.trackers.exatrkx.architecture import AttentionGnn, Embedding, Filter
from trackserve.trackers.exatrkx.model import Model, load_model
from trackserve.trackers.exatrkx.modules import make_modules, model_of
from trackserve.trackers.exatrkx.result import ExatrkxCounts, ExatrkxResult

from .exatrkx_plain import PlainPipeline, PlainResult

NEAR = 1e-5
"""Scores that differ by rounding lie this near to a cut."""


def measure(model: Model, events: list[PointsEvent], rounds: int, threads: int) -> str:
    """A line of the table: both are timed in turns."""
    ours, plain = ExatrkxPipeline(model, threads=threads), PlainPipeline(model)
    ours.warm_up()
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        start = time.perf_counter()
        mine = ours.run(events)
        middle = time.perf_counter()
        theirs = [plain.run(event) for event in events]
        seconds["ours"].append((middle - start) / len(events))
        seconds["plain"].append((time.perf_counter() - middle) / len(events))
    ratio = median(p / o for o, p in zip(seconds["ours"], seconds["plain"], strict=True))
    counts, differing, near = [], 0, 0
    for result, other in zip(mine, theirs, strict=True):
        if isinstance(result, EventError):
            raise result
        counts.append(result.counts)
        differing += count_differences(model, result, other)
        near += count_near(model, other)
    points = fmean(c.points for c in counts)
    return (
        f"{points:9.0f} {per_point(counts, 'radius_edges'):7.1f} "
        f"{per_point(counts, 'filter_edges'):7.1f} "
        f"{median(seconds['plain']):9.3f} {median(seconds['ours']):9.3f} {ratio:7.2f} "
        f"{1e6 * median(seconds['ours']) / points:9.2f} "
        f"{sum(c.candidates for c in counts):9d} {differing:7d} {near:6d}"
    )


def per_point(counts: list[ExatrkxCounts], name: str) -> float:
    return sum(getattr(c, name) for c in counts) / sum(c.points for c in counts)


def count_differences(model: Model, mine: ExatrkxResult, theirs: PlainResult) -> int:
    """Candidates that only one of the two has."""
    least = model.description.cuts.min_points
    order = np.argsort(theirs.labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(theirs.labels[order])) + 1)
    there = {frozenset(group.tolist()) for group in groups if len(group) >= least}
    here = {frozenset(mine.candidates.points[i].tolist()) for i in range(len(mine.candidates))}
    return len(here ^ there)


def count_near(model: Model, result: PlainResult) -> int:
    """Edges with a score within :data:`NEAR` of a cut."""
    cuts = model.description.cuts
    return int(
        (np.abs(result.filter_scores - cuts.filter) < NEAR).sum()
        + (np.abs(result.edge_scores - cuts.edge) < NEAR).sum()
    )


def unfinished(model: Model) -> Model:
    """The model without finishing, which the published recipe does not have."""
    d = model.description
    cuts = dataclasses.replace(d.cuts, finish=None)
    return Model(dataclasses.replace(d, cuts=cuts), model.weights, model.where)


def with_published_widths(model: Model, event: PointsEvent) -> Model:
    """Networks of the published sizes; radius and cuts keep as many edges of ``event`` as
    those of ``model``."""
    counts = ExatrkxPipeline(model).reconstruct(event).counts
    polar = ("r", "phi", "z")
    d = model.description
    cuts = dataclasses.replace(d.cuts, radius=0.05, filter=0.0, edge=0.0)
    d = dataclasses.replace(
        d,
        embedding=Embedding(polar, (512,) * 6, 8, "tanh"),
        filter=Filter(polar, (512,) * 5),
        gnn=AttentionGnn("attention", polar),
        cuts=cuts,
    )
    torch.manual_seed(0)
    return _with_cuts(model_of(d, make_modules(d)), event, counts)


def _with_cuts(model: Model, event: PointsEvent, wanted: ExatrkxCounts) -> Model:
    """The model with a radius and cuts that keep the wanted numbers of edges of ``event``."""

    def replace(**changes: float) -> Model:
        d = model.description
        cuts = dataclasses.replace(d.cuts, **changes)
        return Model(dataclasses.replace(d, cuts=cuts), model.weights)

    # the graph alone depends on the radius: no need for the other networks
    from trackserve.trackers.exatrkx.features import node_inputs, outward_order, scale_points
    from trackserve.trackers.exatrkx.networks import CpuNetworks
    from trackserve.trackers.exatrkx.radius import find_pairs

    d = model.description
    features = scale_points(event.points.position, d.features)
    features = features[outward_order(features, d.features)]
    nodes = node_inputs(d.embedding.inputs, features, d.features)
    coordinates = CpuNetworks(model).embed(nodes)
    low, high = 0.0, float(coordinates.std())
    for _ in range(20):
        radius = (low + high) / 2
        most = 2 * wanted.radius_edges
        try:
            n = len(find_pairs(coordinates, radius, most, 0).source)
        except LimitExceeded:
            n = most
        low, high = (low, radius) if n > wanted.radius_edges else (radius, high)
    for name, stage, kept in (
        ("filter", "filter_edges", wanted.filter_edges),
        ("edge", "track_edges", wanted.track_edges),
    ):
        model = replace(radius=radius)
        found = ExatrkxPipeline(model).reconstruct(event, [stage])
        scores = np.sort(getattr(found, stage).score)
        model = replace(**{name: float(scores[-min(kept + 1, len(scores))])})
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description="Ours against the published recipe.")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--model", default="default", metavar="NAME|DIR")
    parser.add_argument("--events", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--widths", choices=["published"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        "points    edges/point     plain, s   ours, s   ratio  us/point candidates differ   near\n"
        "          radius  filter                                          in all"
    )
    for path in options.paths:
        opened = open_points(path)
        events = [opened[i] for i in range(min(options.events, len(opened)))]
        model = unfinished(load_model(options.model))
        if options.widths:
            model = with_published_widths(model, events[0])
        print(path)
        print(measure(model, events, options.rounds, options.threads), flush=True)


if __name__ == "__main__":
    main()
