"""The learned tracker Exa.TrkX, for the registry."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from trackserve.edm import PointsEvent, SpacePoints
from trackserve.trackers.base import Option, Tracker

from .codec import CODEC, FEATURES, LABELS
from .event import FeaturesEvent
from .result import ExatrkxResult
from .stages import STAGES

if TYPE_CHECKING:
    from trackserve.io import PointsEvents
    from trackserve.report.points import PointsValidation
    from trackserve.wire.identity import Identity

    from .pipeline import ExatrkxPipeline


class Exatrkx(Tracker[PointsEvent | FeaturesEvent, ExatrkxResult]):
    """Learned tracking: space points to track candidates."""

    name = "exatrkx"
    algorithm = 4
    summary = "Track candidates from space points, by a learned tracker."
    path_help = (
        "Events of space points: a directory of `simulate points`, TrackML or ColliderML, or one "
        "event of TrackML, such as DIR/event000000001."
    )
    codec = CODEC
    options = (
        Option(
            "model",
            "Name of a shipped model, or a model folder. It has its own cuts, or with @POINT "
            "those of a working point.",
            "default",
            "NAME|DIR[@POINT]",
            stored=True,
        ),
        Option(
            "precision",
            "Precision of filter and graph network on PyTorch's devices: fp32, fp16 or bf16.",
            "fp32",
        ),
    )
    variant = "model"
    size = "points"
    stages = STAGES
    modules = ("trackserve.trackers.exatrkx.pipeline", "safetensors")
    extra = "exatrkx"
    published = (FEATURES.name, LABELS.name)

    def open_events(self, path: Path) -> PointsEvents:
        from trackserve.io import open_points

        return open_points(path)

    def build(
        self,
        options: Mapping[str, str],
        *,
        device: str = "cpu",
        threads: int = 1,
        events: PointsEvents | None = None,
    ) -> ExatrkxPipeline:
        from .pipeline import ExatrkxPipeline

        values = self.values(options)
        return ExatrkxPipeline.from_model(
            values["model"],
            detector=events.detector if events is not None else None,
            device=device,
            threads=threads,
            precision=values["precision"],
        )

    def identity(
        self,
        options: Mapping[str, str],
        *,
        device: str = "cpu",
        events: PointsEvents | None = None,
    ) -> Identity | None:
        from .identity import identity_of
        from .model import load_model

        values = self.values(options)
        if find_spec("safetensors") is None:  # a client without the extra cannot read a model
            return None
        return identity_of(load_model(values["model"]), values["precision"], device)

    def store(self, folder: Path, options: Mapping[str, str]) -> dict[str, str]:
        from .model import load_model, save_model

        values = self.complete(options)
        save_model(load_model(values["model"]), folder / "model")
        return values | {"model": "model"}

    def example(self) -> PointsEvent:
        """An event without points."""
        return PointsEvent(SpacePoints.empty())

    def variants(self) -> list[str]:
        from .model import MODELS

        return sorted(folder.name for folder in MODELS.iterdir())

    def validation(self) -> PointsValidation:
        from trackserve.report.points import PointsValidation

        return PointsValidation()


TRACKER = Exatrkx()
