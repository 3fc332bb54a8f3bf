"""Patatrack as a tracker among others."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trackserve.edm import RawEvent, Tracks, Vertices
from trackserve.errors import InputError
from trackserve.trackers.base import Frame, Option, Tracker

from .codec import CODEC
from .result import PatatrackResult

if TYPE_CHECKING:
    from trackserve.io import PixelEvents
    from trackserve.report.pixel import PixelValidation
    from trackserve.wire.identity import Identity

    from ..tagged import TaggedPipeline
    from .pipeline import PatatrackPipeline


class Patatrack(Tracker[RawEvent, PatatrackResult]):
    """Rule-based pixel tracking: raw FED words to tracks and vertices."""

    name = "patatrack"
    algorithm = 4
    summary = "Pixel tracks and vertices from raw data."
    path_help = "Data directory: conditions and raw events."
    codec = CODEC
    options = (
        Option("config", "Configuration: default, or reference, as the C++ program.", "default"),
        Option("conditions", "Conditions; by default those of PATH.", "", "DIR", stored=True),
        Option("tags", "Folder of more conditions, which events name by tags.", "", "DIR"),
    )
    variant = "config"
    size = "words"
    stages = (
        *("unpack", "calibrate", "clusters", "hits", "phi order", "doublets", "connection"),
        *("fishbone", "ntuplets", "fit", "selection", "vertices"),
    )
    modules = ("trackserve.trackers.patatrack.pipeline",)
    extra = "cpu"

    def open_events(self, path: Path) -> PixelEvents:
        from trackserve.io import open_pixel

        return open_pixel(path)

    def build(
        self,
        options: Mapping[str, str],
        *,
        device: str = "cpu",
        threads: int = 1,
        events: PixelEvents | None = None,
    ) -> PatatrackPipeline | TaggedPipeline[RawEvent, PatatrackResult]:
        from .pipeline import PatatrackPipeline

        values = self.values(options)
        conditions = values["conditions"] or (None if events is None else events.directory)
        if conditions is None:
            raise InputError("conditions are missing", tracker=self.name, option="conditions")
        pipeline = PatatrackPipeline.from_directory(
            conditions, values["config"], device=device, threads=threads
        )
        return pipeline.with_tags(values["tags"]) if values["tags"] else pipeline

    def identity(
        self, options: Mapping[str, str], *, device: str = "cpu", events: PixelEvents | None = None
    ) -> Identity | None:
        from trackserve.io import read_conditions

        from .config import find_config
        from .identity import identity_of

        values = self.values(options)
        config = find_config(values["config"])
        conditions = values["conditions"]
        if not conditions and events is not None and (events.directory / "fedIds.bin").exists():
            conditions = events.directory
        return identity_of(read_conditions(conditions), config, device) if conditions else None

    def store(self, folder: Path, options: Mapping[str, str]) -> dict[str, str]:
        from trackserve.io import read_conditions, write_conditions

        values = self.complete(options)
        if not values["conditions"]:
            raise InputError("conditions are missing", tracker=self.name, option="conditions")
        write_conditions(folder / "conditions", read_conditions(values["conditions"]))
        tags = values["tags"] and str(Path(values["tags"]).resolve())
        return values | {"conditions": "conditions", "tags": tags}

    def example(self) -> RawEvent:
        """An event without FEDs; read-only as a request's is, which Numba tells apart."""
        return RawEvent(np.frombuffer(bytes(4), np.uint8))

    def variants(self) -> list[str]:
        from .config import CONFIGS

        return list(CONFIGS)

    def absolute(self, events: PixelEvents) -> Frame:
        from .absolute import AbsolutePatatrackResult, absolute

        return Frame(AbsolutePatatrackResult, lambda result: absolute(result, events.beam_spot))

    def validation(self) -> PixelValidation:
        from trackserve.report.pixel import PixelValidation

        return PixelValidation(_vertices_of if importlib.util.find_spec("numba") else None)


def _vertices_of(tracks: Tracks) -> Vertices:
    """Find vertices as the default configuration does."""
    from .config import DEFAULT
    from .strategies import vertices_of

    return vertices_of(tracks, DEFAULT.vertices)[0]


TRACKER = Patatrack()
