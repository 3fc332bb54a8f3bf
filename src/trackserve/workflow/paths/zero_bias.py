"""Every event: to know what the other paths refuse, it is prescaled."""

from __future__ import annotations

from trackserve.workflow.menu import Path


def one() -> float:
    """1."""
    return 1.0


PATH = Path((), one, threshold=1.0)
