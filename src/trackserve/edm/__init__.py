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

__all__ = [
    "ALWAYS",
    "INTERMEDIATE",
    "MAX_HITS",
    "BeamSpot",
    "Clusters",
    "Columns",
    "Counts",
    "Digis",
    "Doublets",
    "Hits",
    "PatatrackResult",
    "RawEvent",
    "ReadoutErrors",
    "SimCollisions",
    "SimEvent",
    "SimHits",
    "SimParticles",
    "Tracks",
    "Vertices",
    "check_keep",
]
