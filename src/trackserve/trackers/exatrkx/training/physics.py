"""Track finding on judged edges, and the figures that steer a training."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from trackserve.edm import Edges
from trackserve.edm.columns import Array
from trackserve.physics.points.matching import MajorityMatches, match_candidates, match_components
from trackserve.physics.statistics import Fraction

from ..architecture import Cuts, Features, Finish
from ..finish import finish
from ..segmentation import segment, sure_edges
from ..surfaces import Surfaces
from .data import SCALES, Sample
from .graphs import Graph


class Finishing(NamedTuple):
    """How pieces of tracks become whole tracks.

    Attributes:
        rules: settings.
        surfaces: surfaces of the detector.
    """

    rules: Finish
    surfaces: Surfaces


class Found(NamedTuple):
    """The figures of the tracks of some events.

    Attributes:
        efficiency: share of the wanted particles that are found, by double majority.
        fakes: share of the tracks that match no particle, by single majority.
        fakes_error: statistical error of ``fakes``.
    """

    efficiency: float
    fakes: float
    fakes_error: float


class Shares(NamedTuple):
    """The figures of the tracks of one event, as shares that can be pooled.

    Attributes:
        found: wanted particles that are found, of all wanted particles.
        fakes: tracks that match no particle, of all tracks.
    """

    found: Fraction
    fakes: Fraction


def find_tracks(
    sample: Sample,
    graph: Graph,
    score: Array,
    cut: float,
    min_points: Sequence[int],
    finishing: Finishing | None = None,
) -> list[Shares]:
    """Find tracks as the pipeline does, and judge them.

    Args:
        sample: the points of an event.
        graph: edges between them.
        score: float32[m], scores of the edges.
        cut: edges with a larger score are kept.
        min_points: least numbers of points of a track.
        finishing: how tracks are finished; None: they are not.

    Returns:
        the figures for each of ``min_points``.
    """
    over = score > cut
    edges = Edges(graph.source[over], graph.target[over], score[over])
    rank = np.arange(len(sample), dtype=np.int32)
    cuts = Cuts(0.0, 0.0, cut, 1, "paths", None if finishing is None else finishing.rules)
    labels, pieces = segment(rank, sure_edges(edges, cuts), cuts)
    if finishing is None:
        matches = match_components(labels, sample.particle)
        return [_judge(sample, matches, least) for least in min_points]
    shares = []
    for least in min_points:
        cuts = dataclasses.replace(cuts, min_points=least)
        points = finish(
            pieces,
            edges,
            sample.scaled,
            rank,
            Features(SCALES),
            finishing.surfaces,
            cuts,
            sys.maxsize,
        ).candidates.points
        matches = match_candidates(points.offsets, points.values, sample.particle)
        shares.append(_judge(sample, matches, least))
    return shares


def _judge(sample: Sample, matches: MajorityMatches, least: int) -> Shares:
    wanted = np.unique(sample.particle[sample.wanted])
    track = matches.n_points >= least
    found = np.isin(wanted, matches.particle[track & matches.double])
    return Shares(Fraction.of(found), Fraction.of(matches.particle[track] < 0))


def measure(shares: Iterable[Shares]) -> Found:
    """Return the figures of all events together."""
    shares = list(shares)
    fakes = Fraction.pooled(one.fakes for one in shares)
    return Found(Fraction.pooled(one.found for one in shares).value, fakes.value, fakes.error)
