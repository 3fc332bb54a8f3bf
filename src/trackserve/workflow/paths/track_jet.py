"""The hardest jet of tracks."""

from __future__ import annotations

from trackserve.workflow.menu import Path
from trackserve.workflow.objects import TrackJets


def highest_pt(jets: TrackJets) -> float:
    """The highest pT of a jet, GeV; 0 if there is none."""
    return float(jets.pt.max(initial=0.0))


PATH = Path(("track_jets",), highest_pt, threshold=60.0, unit="GeV")
