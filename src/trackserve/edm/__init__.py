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
from .result import ALWAYS, INTERMEDIATE, Counts, PatatrackResult, check_keep
from .simulation import SimCollisions, SimEvent, SimHits, SimParticles
from .tracker import (
    GRAPH_STAGES,
    Edges,
    ExatrkxResult,
    GraphCounts,
    PointTruth,
    SpacePoints,
    TrackCandidates,
    TrackerEvent,
    TrackerParticles,
    TrackerTruth,
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
    "RawEvent",
    "ReadoutErrors",
    "SimCollisions",
    "SimEvent",
    "SimHits",
    "SimParticles",
    "SpacePoints",
    "TrackCandidates",
    "TrackerEvent",
    "TrackerParticles",
    "TrackerTruth",
    "Tracks",
    "Vertices",
    "check_keep",
]
