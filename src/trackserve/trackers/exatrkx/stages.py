"""The stages of the pipeline, on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Stage = Literal["features", "embedding", "radius", "filter", "gnn", "components"]
STAGES: tuple[Stage, ...] = get_args(Stage)
"""Names of the stages, in their order."""
Lap = Callable[[Stage], None]
"""Function that takes the name of a stage when the stage ends."""
