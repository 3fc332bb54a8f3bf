"""The nouns: structs of arrays that every stage takes and returns."""

from .columns import Columns, Ragged
from .pixel import (
    MAX_HITS,
    BeamSpot,
    Clusters,
    Digis,
    Doublets,
    Hits,
    RawEvent,
    ReadoutErrors,
    Tracks,
    Vertices,
)
from .points import (
    Edges,
    PointLabels,
    PointsEvent,
    PointsParticles,
    PointsTruth,
    PointTruth,
    SpacePoints,
    TrackCandidates,
)
from .result import Result, ResultCounts
from .simulation import (
    SimCollisions,
    SimEvent,
    SimHits,
    SimParticles,
)

__all__ = [
    "MAX_HITS",
    "BeamSpot",
    "Clusters",
    "Columns",
    "Digis",
    "Doublets",
    "Edges",
    "Hits",
    "PointLabels",
    "PointTruth",
    "PointsEvent",
    "PointsParticles",
    "PointsTruth",
    "Ragged",
    "RawEvent",
    "ReadoutErrors",
    "Result",
    "ResultCounts",
    "SimCollisions",
    "SimEvent",
    "SimHits",
    "SimParticles",
    "SpacePoints",
    "TrackCandidates",
    "Tracks",
    "Vertices",
]
