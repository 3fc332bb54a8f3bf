"""Two near tracks that miss the beam line, as from the decay of a heavy quark."""

from __future__ import annotations

import numpy as np

from trackserve.workflow.menu import Path
from trackserve.workflow.objects import TriggerTracks, distance2


def significance(
    tracks: TriggerTracks,
    *,
    least_pt: float = 2.0,
    least_hits: int = 4,
    radius: float = 0.4,
    most_distance: float = 0.3,
) -> float:
    """How significantly both tracks of the best pair miss the beam line.

    Args:
        tracks: tracks of the primary vertex.
        least_pt: least pT of a track, GeV.
        least_hits: least number of hits of a track.
        radius: the pair's largest distance in (eta, phi).
        most_distance: the pair's largest distance along the beam, cm.

    Returns:
        the largest of |tip| / error of which a pair has two tracks; 0 if there is no pair.
    """
    some = tracks.take((tracks.pt >= least_pt) & (tracks.n_hits >= least_hits))
    missed = np.abs(some.tip) / some.tip_error
    pairs = distance2(some, some) < radius**2
    pairs &= np.abs(some.zip[:, None] - some.zip[None, :]) < most_distance
    np.fill_diagonal(pairs, False)
    both = np.where(pairs, np.minimum(missed[:, None], missed[None, :]), 0.0)
    return float(both.max(initial=0.0))


PATH = Path(("primary_tracks",), significance, threshold=5.0, unit="errors")
