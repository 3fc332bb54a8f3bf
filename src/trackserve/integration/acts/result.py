"""The result of fitting the candidates of one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import FittedTracks
from trackserve.edm.result import Result, ResultCounts


@dataclass(frozen=True)
class FitCounts(ResultCounts):
    """Numbers of an event that was fitted."""

    points: int = 0
    """Space points."""
    candidates: int = 0
    """Candidates that were to be fitted."""
    tracks: int = 0
    """Fitted tracks that are left after the ambiguities are resolved."""


@dataclass(frozen=True, eq=False)
class FitResult(Result):
    """Fitted tracks of one event."""

    counts: FitCounts
    tracks: FittedTracks
