"""The limits on the work of Patatrack on one event."""

from __future__ import annotations

from dataclasses import dataclass

from trackserve.edm import EventLimits


@dataclass(frozen=True, kw_only=True)
class PatatrackLimits(EventLimits):
    """The most work of Patatrack on one event.

    Each default is at least twice what simulated ttbar events with a pile-up of 200 need;
    docs/patatrack.md has the table.
    """

    words: int = 600_000
    """Pixel words."""
    module_digis: int = 10_000
    """Digis of one module."""
    clusters: int = 150_000
    """Clusters; each makes a hit."""
    doublets: int = 8_000_000
    """Pairs of hits that may be of one particle."""
    triplets: int = 250_000_000
    """Pairs of doublets that share a hit, each of which is judged."""
    connections: int = 1_200_000
    """Pairs of doublets that may be of one particle."""
    ntuplets: int = 1_000_000
    """Chains of hits."""
