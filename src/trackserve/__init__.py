"""Charged-particle track reconstruction for collider experiments, as a service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .patatrack import PatatrackPipeline

__version__ = "0.1.0"
__all__ = ["Client", "PatatrackPipeline", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the two entry points when they are asked for: a client needs no compiler."""
    if name == "Client":
        from .client import Client

        return Client
    if name == "PatatrackPipeline":
        from .patatrack import PatatrackPipeline

        return PatatrackPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
