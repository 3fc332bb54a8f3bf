"""The result of Exa.TrkX for one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import Edges, PointLabels, TrackCandidates
from trackserve.edm.result import Result, ResultCounts


@dataclass(frozen=True)
class ExatrkxCounts(ResultCounts):
    """Numbers of objects."""

    points: int = 0
    """Space points of the event."""
    radius_edges: int = 0
    """Edges of the radius graph."""
    filter_edges: int = 0
    """Edges that are left after the filter."""
    track_edges: int = 0
    """Edges that are left after the graph network."""
    components: int = 0
    """Connected components, also those of a single point."""
    candidates: int = 0
    """Track candidates of the result."""


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
