"""Charged-particle track reconstruction for collider experiments, as a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .trackers.exatrkx import ExatrkxPipeline
    from .trackers.patatrack import PatatrackPipeline

__version__ = "0.1.0"
__all__ = ["Client", "ExatrkxPipeline", "PatatrackPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the entry points when they are asked for: a client needs no compiler."""
    if name == "Client":
        from .client import Client

        return Client
    if name == "PatatrackPipeline":
        from .trackers.patatrack import PatatrackPipeline

        return PatatrackPipeline
    if name == "ExatrkxPipeline":
        from .trackers.exatrkx import ExatrkxPipeline

        return ExatrkxPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
