"""Result of Patatrack for one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import Clusters, Digis, Doublets, Hits, ReadoutErrors, Tracks, Vertices
from trackserve.edm.result import Result, ResultCounts


@dataclass(frozen=True)
class PatatrackCounts(ResultCounts):
    """Numbers of what was found."""

    modules: int = 0
    """Modules with pixels."""
    digis: int = 0
    """Pixel words with their padding, as CMS counts them."""
    clusters: int = 0
    """Clusters; each is a hit."""
    doublets: int = 0
    """Pairs of hits on two layers."""
    ntuplets: int = 0
    """Candidates, also bad ones and duplicates."""
    tracks: int = 0
    """Tracks of the result."""
    vertices: int = 0
    """Vertices of the result."""


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
