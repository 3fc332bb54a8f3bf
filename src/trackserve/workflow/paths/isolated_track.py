"""A track of high pT that few others are near to: a lepton, or a tau."""

from __future__ import annotations

from trackserve.workflow.menu import Path
from trackserve.workflow.objects import TriggerTracks


def highest_pt(tracks: TriggerTracks) -> float:
    """The highest pT of an isolated track, GeV; 0 if there is none."""
    return float(tracks.pt.max(initial=0.0))


PATH = Path(("isolated_tracks",), highest_pt, threshold=20.0, unit="GeV")
