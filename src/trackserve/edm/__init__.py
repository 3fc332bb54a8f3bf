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
    "Tracks",
    "Vertices",
    "check_keep",
]
