"""Charged-particle track reconstruction for collider experiments, as a service."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .trackers.exatrkx.limits import ExatrkxLimits
    from .trackers.exatrkx.pipeline import ExatrkxPipeline
    from .trackers.patatrack.limits import PatatrackLimits
    from .trackers.patatrack.pipeline import PatatrackPipeline

__version__ = "0.1.0"
__all__ = [
    "Client",
    "ExatrkxLimits",
    "ExatrkxPipeline",
    "PatatrackLimits",
    "PatatrackPipeline",
    "__version__",
]

_PLACES = {
    "Client": "client",
    "ExatrkxLimits": "trackers.exatrkx.limits",
    "ExatrkxPipeline": "trackers.exatrkx.pipeline",
    "PatatrackLimits": "trackers.patatrack.limits",
    "PatatrackPipeline": "trackers.patatrack.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for only then: a client needs no compiler."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
