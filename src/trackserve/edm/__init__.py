"""The nouns: structs of arrays that every stage takes and returns."""

from .columns import Columns
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
    GRAPH_STAGES,
    Edges,
    ExatrkxResult,
    GraphCounts,
    PointsEvent,
    PointsParticles,
    PointsTruth,
    PointTruth,
    SpacePoints,
    TrackCandidates,
)
from .result import (
    ALWAYS,
    INTERMEDIATE,
    Counts,
    PatatrackResult,
    check_keep,
)
from .simulation import (
    SimCollisions,
    SimEvent,
    SimHits,
    SimParticles,
)

__all__ = [
    "ALWAYS",
    "GRAPH_STAGES",
    "INTERMEDIATE",
    "MAX_HITS",
    "BeamSpot",
    "Clusters",
    "Columns",
    "Counts",
    "Digis",
    "Doublets",
    "Edges",
    "ExatrkxResult",
    "GraphCounts",
    "Hits",
    "PatatrackResult",
    "PointTruth",
    "PointsEvent",
    "PointsParticles",
    "PointsTruth",
    "RawEvent",
    "ReadoutErrors",
    "SimCollisions",
    "SimEvent",
    "SimHits",
    "SimParticles",
    "SpacePoints",
    "TrackCandidates",
    "Tracks",
    "Vertices",
    "check_keep",
]
