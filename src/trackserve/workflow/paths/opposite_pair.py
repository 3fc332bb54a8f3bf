"""The mass of two isolated tracks of opposite sign, as from a Z."""

from __future__ import annotations

import numpy as np

from trackserve.workflow.menu import Path
from trackserve.workflow.objects import TriggerTracks


def highest_mass(tracks: TriggerTracks) -> float:
    """The highest mass of a pair of massless tracks of opposite sign, GeV; 0 if there is none."""
    positive, negative = (tracks.take(tracks.charge == sign) for sign in (1, -1))
    eta = positive.eta[:, None] - negative.eta[None, :]
    phi = positive.phi[:, None] - negative.phi[None, :]
    product = positive.pt[:, None] * negative.pt[None, :]
    squares = 2 * product * (np.cosh(eta) - np.cos(phi))
    return float(np.sqrt(squares.max(initial=0.0)))


PATH = Path(("isolated_tracks",), highest_mass, threshold=40.0, unit="GeV")
