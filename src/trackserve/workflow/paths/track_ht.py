"""H_T: the sum of the pT of jets of tracks."""

from __future__ import annotations

from trackserve.workflow.menu import Path
from trackserve.workflow.objects import TrackJets


def sum_of_pt(jets: TrackJets, *, least_pt: float = 15.0) -> float:
    """Sum of the pT of the jets above ``least_pt``, GeV."""
    return float(jets.pt[jets.pt >= least_pt].sum())


PATH = Path(("track_jets",), sum_of_pt, threshold=100.0, unit="GeV")
