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
    SpacePoints,
    TrackCandidates,
)
from .result import Result, ResultCounts
from .truth import (
    MM_PER_CM,
    Collisions,
    Particles,
    PixelTruth,
    PointsTruth,
    TrueHits,
    TruePoints,
    momentum_of,
)

__all__ = [
    "MAX_HITS",
    "MM_PER_CM",
    "BeamSpot",
    "Clusters",
    "Collisions",
    "Columns",
    "Digis",
    "Doublets",
    "Edges",
    "Hits",
    "Particles",
    "PixelTruth",
    "PointLabels",
    "PointsEvent",
    "PointsTruth",
    "Ragged",
    "RawEvent",
    "ReadoutErrors",
    "Result",
    "ResultCounts",
    "SpacePoints",
    "TrackCandidates",
    "Tracks",
    "TrueHits",
    "TruePoints",
    "Vertices",
    "momentum_of",
]
