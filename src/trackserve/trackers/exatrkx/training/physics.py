"""Track finding on judged edges, and the figures that training is steered by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array
from trackserve.physics.points.matching import match_components
from trackserve.physics.statistics import Fraction

from ..segmentation import connected_components, keep_best_edges
from .data import Sample
from .graphs import Graph


class Found(NamedTuple):
    """Attributes:
    efficiency: share of the wanted particles that are found, by double majority.
    fakes: share of the tracks that are of no particle, by single majority.
    fakes_error: its statistical error.
    """

    efficiency: float
    fakes: float
    fakes_error: float


class Counts(NamedTuple):
    """Of one event: wanted particles, and tracks that are of no particle."""

    found: Fraction
    fakes: Fraction


def find_tracks(
    sample: Sample, graph: Graph, score: Array, cut: float, min_points: Sequence[int]
) -> list[Counts]:
    """Tracks made of the edges whose score exceeds ``cut``, as the pipeline makes them.

    Returns:
        for each of ``min_points``, the least points of a track.
    """
    over = graph.take(score > cut)
    rank = np.arange(len(sample), dtype=np.int32)
    paths = keep_best_edges(rank, over.source, over.target, score[score > cut])
    labels = connected_components(len(sample), over.source[paths], over.target[paths])
    matches = match_components(labels, sample.particle)
    wanted = np.unique(sample.particle[sample.wanted])
    counts = []
    for least in min_points:
        track = matches.n_points >= least
        found = np.isin(wanted, matches.particle[track & matches.double])
        counts.append(Counts(Fraction.of(found), Fraction.of(matches.particle[track] < 0)))
    return counts


def measure(counts: Iterable[Counts]) -> Found:
    """Of all events together."""
    counts = list(counts)
    fakes = Fraction.pooled(one.fakes for one in counts)
    return Found(Fraction.pooled(one.found for one in counts).value, fakes.value, fakes.error)
