"""Result of Patatrack for one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import Clusters, Digis, Doublets, Hits, ReadoutErrors, Tracks, Vertices
from trackserve.edm.result import Result, ResultCounts


@dataclass(frozen=True)
class PatatrackCounts(ResultCounts):
    """Numbers of what was found; ``digis`` counts pixel words with their padding, as CMS does."""

    modules: int = 0
    digis: int = 0
    clusters: int = 0
    doublets: int = 0
    ntuplets: int = 0
    tracks: int = 0
    vertices: int = 0


@dataclass(frozen=True, eq=False)
class PatatrackResult(Result):
    """Tracks and vertices of one event.

    ``ntuplets`` are all candidates, also bad ones and duplicates. A duplicate is not fitted: its
    state is NaN.
    """

    counts: PatatrackCounts
    tracks: Tracks
    vertices: Vertices
    readout_errors: ReadoutErrors
    digis: Digis | None = None
    clusters: Clusters | None = None
    hits: Hits | None = None
    doublets: Doublets | None = None
    ntuplets: Tracks | None = None
