"""The nouns of a whole tracker: space points, and the candidates made of them.

Lengths are in mm. The z axis is the beam, the origin is the detector's centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Array, Columns, Ragged, column, ragged
from .truth import PointsTruth


@dataclass(frozen=True, eq=False)
class SpacePoints(Columns):
    """Places where sensors were hit."""

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
    """Row of the event's points."""
    target: Array = column(np.int32)
    """Row of the event's points."""
    score: Array = column(np.float32)
    """Score by the network that kept the edge, 0..1; 1 where no network has judged it."""


@dataclass(frozen=True, eq=False)
class TrackCandidates(Columns):
    """Sets of space points that belong to one particle each.

    Candidates are ordered by their smallest point.
    """

    points: Ragged = ragged(np.int32)
    """Rows of the event's space points, from the inside out: by distance from the origin."""
    score: Array = column(np.float32)
    """How sure the tracker is, 0..1; of a learned one, the mean score of its edges."""


@dataclass(frozen=True, eq=False)
class PointLabels(Columns):
    """The connected component of each space point, isolated ones too."""

    component: Array = column(np.int64)
    """Number of the component; components are numbered from 0 by their smallest point."""
