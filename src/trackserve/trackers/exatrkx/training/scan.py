"""The scan for the best cuts: combinations of cuts, tried on the validation events."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ..architecture import Cuts
from ..modules import InteractionNetwork, TorchModules
from .data import Sample
from .graphs import (
    Graph,
    filter_graph,
    judge_edges,
    sigmoid,
)
from .physics import Finishing, find_tracks, measure

RADIUS_FACTORS = (0.8, 0.9, 1.0)
FILTER_FACTORS = (1.0, 2.0, 4.0)
"""Factors of the radius, and of the filter cut, with which the graph network was trained."""
EDGE_CUTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
MIN_POINTS = (3, 4, 5, 6, 7)
"""Cuts on candidates that are not finished."""
FINISHED_EDGE_CUTS = (0.002, 0.005, 0.01, 0.02, 0.05)
"""Cuts on finished candidates: finishing rejects most of what a low cut lets in."""
SURE_EDGE = 0.15
"""The score of a sure edge is larger."""
_WORTH = 0.01
"""Gain of efficiency that is worth 100 more edges per point; edges after the filter count four
times."""


@dataclass(frozen=True)
class WorkingPoint:
    """Cuts, and what they give on the validation events.

    Attributes:
        cuts: the cuts.
        efficiency, fakes, fakes_error: as in :class:`.physics.Found`.
        radius_edges: edges per point within the radius; the time of an event grows with them.
        filter_edges: edges per point after the filter; the time grows with them, too.
    """

    cuts: Cuts
    efficiency: float
    fakes: float
    fakes_error: float
    radius_edges: float
    filter_edges: float


def scan(
    modules: TorchModules,
    samples: Iterable[Sample],
    radius_graph: Callable[[Sample, float], Graph],
    radius: float,
    filter_cut: float,
    finishing: Finishing | None,
    on_step: Callable[[int, int, dict[str, float]], None],
) -> list[WorkingPoint]:
    """Return the figures of every combination of cuts.

    Args:
        modules: trained networks.
        samples: validation events.
        radius_graph: makes the graph of a sample within a radius.
        radius, filter_cut: the cuts with which the graph network was trained.
        finishing: how candidates are finished; None: they are not.
        on_step: called with the number of steps done, of all steps, and no figures.
    """
    assert isinstance(modules.gnn, InteractionNetwork)
    samples = list(samples)
    n_points = sum(len(sample) for sample in samples)
    edge_cuts = EDGE_CUTS if finishing is None else FINISHED_EDGE_CUTS
    least_points: Sequence[int] = MIN_POINTS
    rules = None
    if finishing is not None:
        rules = dataclasses.replace(finishing.rules, sure_edge=SURE_EDGE)
        finishing = finishing._replace(rules=rules)
        least_points = (finishing.surfaces.least, finishing.surfaces.least + 1)
    points = []
    steps = list(itertools.product(RADIUS_FACTORS, FILTER_FACTORS))
    for done, (radius_factor, filter_factor) in enumerate(steps):
        tried_radius, tried_filter = radius_factor * radius, min(filter_factor * filter_cut, 0.9)
        judged = []
        radius_edges = 0
        for sample in samples:
            graph = radius_graph(sample, tried_radius)
            radius_edges += len(graph)
            graph = filter_graph(modules.filter, sample, graph, tried_filter)
            judged.append((sample, graph, sigmoid(judge_edges(modules.gnn, sample, graph))))
        filter_edges = sum(len(graph) for _, graph, _ in judged)
        for edge_cut in edge_cuts:
            events = [find_tracks(*one, edge_cut, least_points, finishing) for one in judged]
            for min_points, shares in zip(least_points, zip(*events, strict=True), strict=True):
                cuts = Cuts(tried_radius, tried_filter, edge_cut, min_points, "paths", rules)
                points.append(
                    WorkingPoint(
                        cuts, *measure(shares), radius_edges / n_points, filter_edges / n_points
                    )
                )
        on_step(done + 1, len(steps), {})
    return points


def choose(points: Iterable[WorkingPoint], max_fakes: float) -> WorkingPoint:
    """Return the best working point: high efficiency, few edges, and few enough fakes.

    The fakes plus their error must not exceed ``max_fakes``: the best of thousands of
    combinations on a few events was also lucky. If all have more fakes, the one with the fewest
    fakes is best; one without any track is the worst.
    """

    def quality(point: WorkingPoint) -> tuple[bool, float]:
        if math.isnan(point.fakes):
            return False, -math.inf
        good = point.fakes + point.fakes_error <= max_fakes
        cost = (point.radius_edges + 4 * point.filter_edges) / 100
        return good, point.efficiency - _WORTH * cost if good else -point.fakes

    return max(points, key=quality)


def together(scans: Iterable[Sequence[WorkingPoint]]) -> list[WorkingPoint]:
    """Return figures of each cut for all directories: mean efficiency and edges, worst fakes.

    Args:
        scans: a scan for each directory, with the same cuts in the same order.
    """
    return [_together(points) for points in zip(*scans, strict=True)]


def _together(points: Sequence[WorkingPoint]) -> WorkingPoint:
    worst = max(points, key=lambda point: point.fakes + point.fakes_error)
    return WorkingPoint(
        worst.cuts,
        fmean(point.efficiency for point in points),
        worst.fakes,
        worst.fakes_error,
        fmean(point.radius_edges for point in points),
        fmean(point.filter_edges for point in points),
    )


def write_scan(points: Iterable[WorkingPoint], path: Path) -> None:
    """Write a CSV file with one line per working point."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["radius", "filter", "edge", "min_points"]
        writer.writerow([*names, "efficiency", "fakes", "radius_edges", "filter_edges"])
        for point in points:
            cuts = [f"{getattr(point.cuts, name):.6g}" for name in names]
            rest = [point.efficiency, point.fakes, point.radius_edges, point.filter_edges]
            writer.writerow([*cuts, *(f"{value:.6g}" for value in rest)])
