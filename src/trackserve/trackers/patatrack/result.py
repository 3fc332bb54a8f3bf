"""Result of Patatrack for one event."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from trackserve.edm import Clusters, Digis, Doublets, Hits, ReadoutErrors, Tracks, Vertices
from trackserve.edm.result import Result, ResultCounts
from trackserve.errors import LimitExceeded


@dataclass(frozen=True)
class PatatrackCounts(ResultCounts):
    """Numbers of what was found in an event."""

    modules: int = 0
    """Modules with a digi."""
    words: int = 0
    """Pixel words of the raw data, padding included; the public C++ program calls them digis."""
    clusters: int = 0
    """Clusters; each makes a hit."""
    doublets: int = 0
    """Pairs of hits that may be of one particle."""
    ntuplets: int = 0
    """Chains of hits, also bad ones and duplicates."""
    tracks: int = 0
    """Ntuplets that were selected."""
    vertices: int = 0
    """Vertices of the tracks."""


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


@dataclass
class Found:
    """What the stages have found so far in an event.

    Attributes:
        counts: numbers, by name in :class:`PatatrackCounts`.
        nouns: parts of the result, by name, those too that are not to be kept.
        stopped_by: name of the limit that ended the work; empty: none.
    """

    counts: dict[str, int] = field(default_factory=dict)
    nouns: dict[str, Any] = field(default_factory=dict)
    stopped_by: str = ""

    def stop(self, error: LimitExceeded) -> None:
        """Note that a limit has ended the work; the size of the event is known all the same."""
        self.stopped_by = error.limit
        if error.limit == "words":
            self.counts["words"] = error.found

    def result(self, event: int, keep: Collection[str]) -> PatatrackResult:
        """The result of an event; what was not found is empty.

        Args:
            event: number of the event.
            keep: intermediates that it has.
        """
        nouns: dict[str, Any] = {}
        for name, kind in PatatrackResult.always().items():
            nouns[name] = self.nouns[name] if name in self.nouns else kind.empty()
        for name in keep:
            kind = PatatrackResult.intermediates()[name]
            nouns[name] = self.nouns[name] if name in self.nouns else kind.empty()
        counts = PatatrackCounts(**self.counts)
        return PatatrackResult(event, counts, stopped_by=self.stopped_by, **nouns)
