"""The pipeline: space points to track candidates."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from trackserve.edm import EventLimits, PointsEvent, Ragged, SpacePoints, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.trackers.base import Lap
from trackserve.trackers.single import SingleEventPipeline

from .library import Found, Library
from .result import CODEC, LegacyCounts, LegacyResult, Seeds
from .tracker import TRACKER


class LegacyPipeline(SingleEventPipeline[PointsEvent, LegacyResult]):
    """Circles and straight lines from the beam, found by a C library.

    Args:
        min_points: least number of points of a candidate.
        threads: events that are reconstructed at the same time.

    Raises:
        MissingExtraError: the C library is not there.
    """

    def __init__(self, min_points: int, threads: int = 1) -> None:
        identity = TRACKER.identity({"min_points": str(min_points)})
        assert identity is not None
        super().__init__(identity, LegacyResult, threads)
        self._min_points = min_points
        self._library = Library()

    def reconstruct_stages(
        self, event: PointsEvent, keep: Collection[str], lap: Lap, limits: EventLimits
    ) -> LegacyResult:
        """Reconstruct one event; the stages are those of the tracker."""
        given: Array = CODEC.encode_event(event)["points"]  # checks kind, dtype and shape
        x, y, _ = given.T.astype(np.float64)
        order = np.argsort(np.hypot(x, y), kind="stable").astype(np.int32)
        points = given[order]
        lap("order")
        seeds = self._library.find_seeds(points, event.event)
        lap("seeds")
        found = self._library.find_candidates(points, seeds, self._min_points, event.event)
        candidates = _candidates(given, order, found)
        lap("candidates")
        counts = LegacyCounts(len(points), len(seeds), len(candidates))
        kept = _seeds(seeds, order) if "seeds" in keep else None
        return LegacyResult(event.event, counts, candidates, kept)

    def warm_up(self) -> None:
        """Run once; the library is already loaded."""
        self.reconstruct(PointsEvent(SpacePoints.empty()))


def _candidates(points: Array, order: Array, found: Found) -> TrackCandidates:
    """Candidates by their smallest point, each from the inside out."""
    taken = found.owner >= 0
    row, owner = order[taken], found.owner[taken]
    smallest = np.full(len(found.chi2), len(points), np.int32)
    np.minimum.at(smallest, owner, row)
    first_to_last = np.argsort(smallest)
    rank = np.empty_like(first_to_last)
    rank[first_to_last] = np.arange(len(rank))
    distance = np.linalg.norm(points[row].astype(np.float64), axis=1)
    by_candidate = np.lexsort((row, distance, rank[owner]))
    offsets = np.zeros(len(rank) + 1, np.int64)
    offsets[1:] = np.cumsum(np.bincount(rank[owner], minlength=len(rank)))
    score = 1 / (1 + found.chi2[first_to_last])
    return TrackCandidates(Ragged(offsets, row[by_candidate]), score)


def _seeds(seeds: Array, order: Array) -> Seeds:
    """The seeds, with rows of the event as it came."""
    return Seeds(
        order[seeds["inner"]],
        order[seeds["outer"]],
        *(np.ascontiguousarray(seeds[name]) for name in ("curvature", "z0", "cot_theta")),
    )
