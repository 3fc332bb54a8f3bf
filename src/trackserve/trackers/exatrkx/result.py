"""The result of Exa.TrkX for one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import Edges, PointLabels, TrackCandidates
from trackserve.edm.result import Result, ResultCounts


@dataclass(frozen=True)
class ExatrkxCounts(ResultCounts):
    """Numbers of objects. ``components`` are connected components, also of single points."""

    points: int = 0
    radius_edges: int = 0
    filter_edges: int = 0
    track_edges: int = 0
    components: int = 0
    candidates: int = 0


@dataclass(frozen=True, eq=False)
class ExatrkxResult(Result):
    """Track candidates of one event.

    The intermediates are the edges that remain after the radius graph, after the filter and
    after the graph network.
    """

    counts: ExatrkxCounts
    labels: PointLabels
    candidates: TrackCandidates
    radius_edges: Edges | None = None
    filter_edges: Edges | None = None
    track_edges: Edges | None = None


GRAPH_STAGES = tuple(ExatrkxResult.intermediates())
"""Names of the edges that remain after each stage: the intermediates."""
