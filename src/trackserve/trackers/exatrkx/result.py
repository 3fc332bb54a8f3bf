"""The result of Exa.TrkX for one event."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from trackserve.edm import Edges, Helices, PointLabels, TrackCandidates
from trackserve.edm.result import Result, ResultCounts


@dataclass(frozen=True)
class ExatrkxCounts(ResultCounts):
    """Numbers of what was found in an event."""

    points: int = 0
    """Space points."""
    radius_edges: int = 0
    """Pairs of points that are near in the embedding."""
    filter_edges: int = 0
    """Edges that remain after the filter."""
    track_edges: int = 0
    """Edges that remain after the graph network."""
    components: int = 0
    """Connected components of the graph, also those of one point."""
    pieces: int = 0
    """Components with enough points for a piece of a track; 0 without finishing."""
    candidates: int = 0
    """Tracks with enough points."""


@dataclass(frozen=True, eq=False)
class ExatrkxResult(Result):
    """Track candidates of one event.

    Without finishing, candidates are components of the graph and ``helices`` has no rows. The
    labels are those of the graph either way. The intermediates are the edges that remain after the
    radius graph, after the filter and after the graph network.
    """

    counts: ExatrkxCounts
    labels: PointLabels
    candidates: TrackCandidates
    helices: Helices = field(default_factory=Helices.empty)
    radius_edges: Edges | None = None
    filter_edges: Edges | None = None
    track_edges: Edges | None = None


GRAPH_STAGES = tuple(ExatrkxResult.intermediates())
"""Names of the edges that remain after each stage: the intermediates."""


def partial_result(
    event: int,
    limit: str,
    counts: ExatrkxCounts,
    edges: Mapping[str, Edges],
    keep: Collection[str],
) -> ExatrkxResult:
    """Return the result of an event beyond a limit.

    Args:
        event: number of the event.
        limit: name of the limit.
        counts: numbers of what the stages that ended have found.
        edges: its edges after these stages, by name.
        keep: stages whose edges the result has.
    """
    kept: dict[str, Any] = {name: edges.get(name, Edges.empty()) for name in keep}
    labels, candidates = PointLabels.empty(), TrackCandidates.empty()
    return ExatrkxResult(event, counts, labels, candidates, stopped_by=limit, **kept)
