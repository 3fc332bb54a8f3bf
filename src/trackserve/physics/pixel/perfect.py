"""Perfect tracks: the true particles, with the errors that a tracker states for tracks like them.

What a vertex finder makes of them is the most that it can make of the tracker's tracks.
"""

from __future__ import annotations

import numpy as np

from trackserve.edm import VARIANCES, PixelTruth, Tracks
from trackserve.edm.columns import Array

from .truth import layers_crossed, perigee, reconstructable


def perfect_tracks(
    truth: PixelTruth, tracks: Tracks, particle: Array, event: int, min_layers: int, min_pt: float
) -> Tracks:
    """Return a track for each particle that deserves one, smeared by the errors of found tracks.

    The errors of a particle are those of the found track of at least ``min_layers`` hits whose
    particle is nearest in log(pT) and |eta|: its own, if it is found. Each parameter is drawn from
    a normal distribution about the true one.

    Args:
        truth: of the event.
        tracks: found in the event.
        particle: int64[tracks], particle of each, -1 for none.
        event: number of the event, from which the random numbers follow.
        min_layers: least number of layers that a particle crosses.
        min_pt: least pT of a particle, GeV.

    Returns:
        the tracks; they fit perfectly and have no hits. None if no particle is found.
    """
    particles = truth.particles
    wanted = np.flatnonzero(
        reconstructable(truth) & (layers_crossed(truth) >= min_layers) & (particles.pt >= min_pt)
    )
    like = np.flatnonzero((particle >= 0) & (tracks.n_hits >= min_layers))
    if len(like) == 0:
        return Tracks.empty()
    place = np.stack([np.log(particles.pt), np.abs(particles.eta)], axis=1)
    owner = place[particle[like]]
    nearest = [like[((owner - mine) ** 2).sum(axis=1).argmin()] for mine in place[wanted]]
    n = len(wanted)
    covariance = tracks.covariance[nearest] if n else np.empty((0, 15), np.float32)
    sigma = np.sqrt(covariance[:, list(VARIANCES)])
    noise = np.random.default_rng(event).normal(size=(n, 5)) * sigma
    return Tracks(
        state=(perigee(particles, truth.beam_spot)[wanted] + noise).astype(np.float32),
        covariance=covariance,
        chi2=np.zeros(n, np.float32),
        ndof=np.full(n, 2 * min_layers - 5, np.int8),
        quality=np.full(n, Tracks.LOOSE, np.uint8),
        n_hits=np.full(n, min_layers, np.int8),
        hits=np.full((n, tracks.hits.shape[1]), -1, np.int32),
        vertex=np.full(n, -1, np.int16),
    )
