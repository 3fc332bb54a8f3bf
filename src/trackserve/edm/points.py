"""The nouns of a whole tracker: space points, and the candidates made of them.

Lengths are in mm. The z axis is the beam, the origin is the detector's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Array, Columns, column
from .truth import PointsTruth


@dataclass(frozen=True, eq=False)
class SpacePoints(Columns):
    """Where sensors were hit."""

    position: Array = column(np.float32, 3)
    """x, y, z, mm."""


GENERIC_DETECTOR = "generic"
"""Name of ACTS' GenericDetector, which is also the detector of the TrackML challenge."""


@dataclass(frozen=True, eq=False)
class PointsEvent:
    """The space points of one bunch crossing, and for simulated ones the truth."""

    points: SpacePoints
    event: int = 0
    truth: PointsTruth | None = None


@dataclass(frozen=True, eq=False)
class Edges(Columns):
    """Pairs of space points that may follow each other on a track."""

    source: Array = column(np.int32)
    target: Array = column(np.int32)
    """Rows of the event's points, as it came."""
    score: Array = column(np.float32)
    """Of the network that kept the edge, 0..1; 1 where none has judged it."""


@dataclass(frozen=True, eq=False)
class TrackCandidates:
    """Sets of space points that belong to one particle each; equality is bit for bit.

    Candidate ``i`` has ``points[offsets[i]:offsets[i + 1]]``, from the inside out: by
    distance from the origin. Candidates are ordered by their smallest point.
    """

    offsets: Array
    """int64[n + 1]."""
    points: Array
    """int32[offsets[-1]]; rows of the event's space points."""
    scores: Array
    """float32[n]; the mean score of the edges between its points."""

    @classmethod
    def empty(cls) -> TrackCandidates:
        return cls(np.zeros(1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: int) -> Array:
        """The points of one candidate."""
        start, end = self.offsets[index : index + 2]
        return self.points[start:end]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TrackCandidates):
            return NotImplemented
        return all(
            mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes()
            for mine, theirs in (
                (self.offsets, other.offsets),
                (self.points, other.points),
                (self.scores, other.scores),
            )
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class GraphCounts:
    """How many of each."""

    points: int = 0
    radius_edges: int = 0
    filter_edges: int = 0
    track_edges: int = 0
    components: int = 0
    """Connected components, single points included."""
    candidates: int = 0

    def as_array(self) -> Array:
        """int64[6], in the order of the fields."""
        values = (self.points, self.radius_edges, self.filter_edges, self.track_edges)
        return np.array([*values, self.components, self.candidates], np.int64)


GRAPH_STAGES = ("radius_edges", "filter_edges", "track_edges")
"""Edges that the pipeline returns only when asked for: after the radius graph, after the
filter and after the graph network."""


@dataclass(frozen=True, eq=False)
class ExatrkxResult:
    """Track candidates of one event; equality is bit for bit, kept edges included."""

    event: int
    counts: GraphCounts
    labels: Array
    """int64[n]: for every space point, isolated ones too, the number of its component;
    components are numbered from 0 by their smallest point."""
    candidates: TrackCandidates
    radius_edges: Edges | None = None
    filter_edges: Edges | None = None
    track_edges: Edges | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExatrkxResult):
            return NotImplemented
        mine, theirs = (
            (r.event, r.counts, r.candidates, r.radius_edges, r.filter_edges, r.track_edges)
            for r in (self, other)
        )
        return mine == theirs and self.labels.tobytes() == other.labels.tobytes()

    __hash__ = None  # type: ignore[assignment]
