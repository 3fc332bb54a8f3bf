"""The limits on the work of Exa.TrkX on one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import EventLimits


@dataclass(frozen=True, kw_only=True)
class ExatrkxLimits(EventLimits):
    """The most work of Exa.TrkX on one event.

    Each default is well above what a simulated event of 480 000 points needs; docs/exatrkx.md has
    the table.
    """

    points: int = 1_000_000
    """Space points."""
    radius_edges: int = 60_000_000
    """Pairs of points that are near in the embedding."""
    filter_edges: int = 10_000_000
    """Edges that remain after the filter."""
    pieces: int = 1_000_000
    """Pieces of tracks that finishing follows."""
