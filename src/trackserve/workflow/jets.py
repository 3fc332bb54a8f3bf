"""Jets of tracks, by FastJet."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from trackserve.errors import MissingExtraError
from trackserve.install import install_command

from .objects import TrackJets, TriggerTracks

_NEARLY = 1 - 1e-9


def cluster(
    tracks: TriggerTracks, radius: float, most_track_pt: float, least_pt: float
) -> TrackJets:
    """Jets by the anti-kt algorithm (Cacciari, Salam, Soyez 2008), E scheme, massless tracks.

    FastJet holds the interpreter lock: 0.1 ms for the tracks of one vertex.

    Args:
        tracks: the tracks.
        radius: radius in (eta, phi).
        most_track_pt: a track above it counts as one of this pT, GeV.
        least_pt: least pT of a jet, GeV.

    Raises:
        MissingExtraError: FastJet is not installed.
    """
    fastjet = require_fastjet()
    pt = np.minimum(tracks.pt, most_track_pt)
    momenta = (pt * np.cos(tracks.phi), pt * np.sin(tracks.phi), pt * np.sinh(tracks.eta))
    energy = pt * np.cosh(tracks.eta)
    particles = [
        fastjet.PseudoJet(*momentum)
        for momentum in zip(*(one.tolist() for one in (*momenta, energy)), strict=True)
    ]
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, radius)
    sequence = fastjet.ClusterSequence(particles, definition)
    # FastJet compares pT^2: a jet of just this pT may differ from its own pT() in the last bit
    jets = fastjet.sorted_by_pt(sequence.inclusive_jets(_NEARLY * least_pt))
    rows = [(jet.pt(), jet.eta(), jet.phi_std(), len(jet.constituents())) for jet in jets]
    values = np.array(rows, np.float64).reshape(-1, 4).T.copy()
    found = TrackJets(values[0], values[1], values[2], values[3].astype(np.int32))
    return found.take(found.pt >= least_pt)


@cache
def require_fastjet() -> Any:
    """FastJet's interface for single events, without its banner; docs/hlt.md cites it.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import fastjet._swig as fastjet
    except ImportError:
        raise MissingExtraError(f"jets of tracks need FastJet: {install_command('hlt')}") from None
    fastjet.ClusterSequence.set_fastjet_banner_stream(None)
    return fastjet
