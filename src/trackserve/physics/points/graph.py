"""Quality of a graph of space points, and the particles that can still be found in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trackserve.edm import Edges, PointsEvent
from trackserve.edm.columns import Array

from ..statistics import Fraction
from .truth import (
    STANDARD,
    TruePaths,
    Wanted,
    next_points,
    true_paths,
    truth_of,
)

MIN_POINTS = 3
"""A track has at least this many points; a shorter candidate does not count."""


@dataclass(frozen=True)
class GraphQuality:
    """A graph beside the truth; an edge counts the same in both directions.

    Attributes:
        edges: number of edges.
        points: number of the event's space points.
        efficiency: share of the pairs of consecutive points of reconstructable particles
            that are edges.
        purity: share of edges that join consecutive points of a particle of any kind.
        same_particle: share of edges that join two points of one particle.
        recoverable: share of reconstructable particles that a perfect later stage could still
            find. Such a particle's own points, joined by the edges between them, have a
            component of at least :data:`MIN_POINTS` points and of more than half of them.
    """

    edges: int
    points: int
    efficiency: Fraction
    purity: Fraction
    same_particle: Fraction
    recoverable: Fraction

    @property
    def edges_per_point(self) -> float:
        """NaN without points."""
        return self.edges / self.points if self.points else float("nan")

    @classmethod
    def pooled(cls, parts: Iterable[GraphQuality]) -> GraphQuality:
        """The quality of all graphs together."""
        parts = list(parts)
        return cls(
            sum(part.edges for part in parts),
            sum(part.points for part in parts),
            Fraction.pooled(part.efficiency for part in parts),
            Fraction.pooled(part.purity for part in parts),
            Fraction.pooled(part.same_particle for part in parts),
            Fraction.pooled(part.recoverable for part in parts),
        )


def graph_quality(event: PointsEvent, edges: Edges) -> GraphQuality:
    """Compare one graph of an event with its truth.

    Raises:
        InputError: the event has no truth.
    """
    paths = true_paths(truth_of(event))
    quality, _ = judge_graph(event, edges, paths, next_points(event))
    return quality


def judge_graph(
    event: PointsEvent,
    edges: Edges,
    paths: TruePaths,
    following: Array,
    wanted: Wanted = STANDARD,
) -> tuple[GraphQuality, Array]:
    """The quality of a graph, and which particles are recoverable in it.

    Args:
        event: with truth.
        edges: of the graph.
        paths: what the event's particles leave.
        following: int64[points], see :func:`.next_points`.
        wanted: which particles are reconstructable.

    Returns:
        The quality, and bool[particles], which holds for particles that are not
        reconstructable too.

    Raises:
        InputError: the event has no truth.
    """
    particle = truth_of(event).points.particle
    source, target = edges.source, edges.target
    same = (particle[source] == particle[target]) & (particle[source] >= 0)
    source, target = source[same], target[same]
    onward, backward = following[source] == target, following[target] == source
    found = np.zeros(len(particle), bool)
    found[source[onward]] = True
    found[target[backward]] = True

    good = paths.reconstructable(wanted)
    first = (following >= 0) & np.append(good, False)[particle]
    recoverable = _largest_parts(particle, source, target, len(paths))
    recoverable = (recoverable >= MIN_POINTS) & (2 * recoverable > paths.n_points)
    quality = GraphQuality(
        edges=len(edges),
        points=len(particle),
        efficiency=Fraction.of(found[first]),
        purity=Fraction(int((onward | backward).sum()), len(edges)),
        same_particle=Fraction(len(source), len(edges)),
        recoverable=Fraction.of(recoverable[good]),
    )
    return quality, recoverable


def _largest_parts(particle: Array, source: Array, target: Array, n_particles: int) -> Array:
    """Number of points of the largest component of each particle, int64[particles].

    Every edge joins points of one particle.
    """
    from trackserve.device.components import connected_components

    labels = connected_components(len(particle), source, target)
    size = np.bincount(labels, minlength=len(particle))
    order = np.argsort(size[labels])
    inside = order[particle[order] >= 0]
    largest = np.zeros(n_particles, np.int64)
    largest[particle[inside]] = size[labels[inside]]
    return largest
