"""The tracker: what trackserve finds by the entry point."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trackserve.edm import PointsEvent, SpacePoints
from trackserve.errors import InputError
from trackserve.trackers.base import Option, Tracker

from .result import CODEC, LegacyResult

if TYPE_CHECKING:
    from trackserve.io import PointsEvents
    from trackserve.report.points import PointsValidation

    from .pipeline import LegacyPipeline


class Legacy(Tracker[PointsEvent, LegacyResult]):
    """Circles and straight lines from the beam, found by a C library."""

    name = "legacy"
    summary = "Track candidates from space points, by a C library."
    path_help = "Directory of events of space points."
    codec = CODEC
    options = (Option("min_points", "Least number of points of a candidate.", "6", "N"),)
    variant = "min_points"
    size = "points"
    stages = ("order", "seeds", "candidates")
    modules = ("legacy_tracker.pipeline",)

    def open_events(self, path: Path) -> PointsEvents:
        """The events of space points at ``path``."""
        from trackserve.io import open_points

        return open_points(path)

    def build(
        self,
        options: Mapping[str, str],
        *,
        device: str = "cpu",
        threads: int = 1,
        events: PointsEvents | None = None,
    ) -> LegacyPipeline:
        """A pipeline on a CPU; ``events`` changes nothing."""
        from .pipeline import LegacyPipeline

        if device != "cpu":
            raise InputError("no such device", tracker=self.name, found=device, bound=["cpu"])
        return LegacyPipeline(self._min_points(options), threads)

    def store(self, folder: Path, options: Mapping[str, str]) -> dict[str, str]:
        """The options; there is nothing to copy."""
        self._min_points(options)
        return self.complete(options)

    def example(self) -> PointsEvent:
        """An event without points."""
        return PointsEvent(SpacePoints.empty())

    def validation(self) -> PointsValidation:
        """The validation of all trackers of space points; there are no edges to keep."""
        from trackserve.report.points import PointsValidation

        return PointsValidation()

    def _min_points(self, options: Mapping[str, str]) -> int:
        value = self.complete(options)["min_points"]
        if not value.isdecimal() or int(value) < 3:
            raise InputError(
                "a candidate needs 3 points or more", option="min_points", found=value, bound=3
            )
        return int(value)


TRACKER = Legacy()
