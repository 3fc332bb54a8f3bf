"""Which cuts? All combinations of some, tried on the validation events."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from ..architecture import Cuts
from ..networks import InteractionNetwork, Networks
from .data import Sample
from .graphs import (
    Graph,
    filter_graph,
    judge_edges,
    sigmoid,
)
from .physics import find_tracks, measure

RADIUS_FACTORS = (0.8, 0.9, 1.0)
FILTER_FACTORS = (1.0, 2.0, 4.0)
"""Of the radius and the filter cut with which the graph network was trained."""
EDGE_CUTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
MIN_POINTS = (3, 4, 5, 6, 7)
_WORTH = 0.01
"""Efficiency for which one would take 100 edges per point more, those of the filter four times."""


@dataclass(frozen=True)
class WorkingPoint:
    """Attributes:
    cuts: what was tried.
    efficiency, fakes, fakes_error: over all validation events.
    radius_edges, filter_edges: per point; the time of an event follows them.
    """

    cuts: Cuts
    efficiency: float
    fakes: float
    fakes_error: float
    radius_edges: float
    filter_edges: float


def scan(
    networks: Networks,
    samples: Iterable[Sample],
    radius_graph: Callable[[Sample, float], Graph],
    radius: float,
    filter_cut: float,
    progress: Callable[[int, int, dict[str, float]], None],
) -> list[WorkingPoint]:
    """Figures of every combination of cuts.

    Args:
        samples: validation events.
        radius_graph: makes the graph of a sample with a radius.
        radius, filter_cut: with which the graph network was trained.
    """
    assert isinstance(networks.gnn, InteractionNetwork)
    samples = list(samples)
    n_points = sum(len(sample) for sample in samples)
    points = []
    steps = list(itertools.product(RADIUS_FACTORS, FILTER_FACTORS))
    for done, (radius_factor, filter_factor) in enumerate(steps):
        tried_radius, tried_filter = radius_factor * radius, min(filter_factor * filter_cut, 0.9)
        judged = []
        radius_edges = 0
        for sample in samples:
            graph = radius_graph(sample, tried_radius)
            radius_edges += len(graph)
            graph = filter_graph(networks.filter, sample, graph, tried_filter)
            judged.append((sample, graph, sigmoid(judge_edges(networks.gnn, sample, graph))))
        filter_edges = sum(len(graph) for _, graph, _ in judged)
        for edge_cut in EDGE_CUTS:
            events = [find_tracks(*one, edge_cut, MIN_POINTS) for one in judged]
            for min_points, counts in zip(MIN_POINTS, zip(*events, strict=True), strict=True):
                cuts = Cuts(tried_radius, tried_filter, edge_cut, min_points, "paths")
                points.append(
                    WorkingPoint(
                        cuts, *measure(counts), radius_edges / n_points, filter_edges / n_points
                    )
                )
        progress(done + 1, len(steps), {})
    return points


def choose(points: Iterable[WorkingPoint], max_fakes: float) -> WorkingPoint:
    """The most efficient one with few enough fakes, less what its edges cost.

    Few enough even with one error more: of thousands of combinations on a few events the best
    one has been lucky. If all have more fakes, the one with the fewest of them.
    """

    def quality(point: WorkingPoint) -> tuple[bool, float]:
        good = point.fakes + point.fakes_error <= max_fakes
        cost = (point.radius_edges + 4 * point.filter_edges) / 100
        return good, point.efficiency - _WORTH * cost if good else -point.fakes

    return max(points, key=quality)


def together(scans: Iterable[Sequence[WorkingPoint]]) -> list[WorkingPoint]:
    """The same cuts for all directories: means of efficiency and edges, fakes of the worst.

    Args:
        scans: of the directories, with the same cuts in the same order.
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
    """One line per working point, as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["radius", "filter", "edge", "min_points"]
        writer.writerow([*names, "efficiency", "fakes", "radius_edges", "filter_edges"])
        for point in points:
            cuts = [f"{getattr(point.cuts, name):.6g}" for name in names]
            rest = [point.efficiency, point.fakes, point.radius_edges, point.filter_edges]
            writer.writerow([*cuts, *(f"{value:.6g}" for value in rest)])
