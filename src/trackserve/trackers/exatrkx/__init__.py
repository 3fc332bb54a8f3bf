"""Exa.TrkX: a learned pipeline, from space points to track candidates.

A name is imported when it is first used: a client needs the codec, but not Numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .event import FeaturesEvent
    from .model import Model, load_model, save_model
    from .pipeline import ExatrkxPipeline
    from .stages import STAGES

__all__ = ["STAGES", "ExatrkxPipeline", "FeaturesEvent", "Model", "load_model", "save_model"]

_MODULES = {"STAGES": "stages", "ExatrkxPipeline": "pipeline", "FeaturesEvent": "event"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f".{_MODULES.get(name, 'model')}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
