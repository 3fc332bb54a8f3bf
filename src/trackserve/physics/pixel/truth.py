"""Particles that a pixel tracker should find, and their parameters at the beam spot."""

from __future__ import annotations

import numpy as np

from trackserve.detectors.phase1.layout import PT_PER_RADIUS
from trackserve.edm import Particles, PixelTruth
from trackserve.edm.columns import Array

from .. import helix

MIN_LAYERS = 3
MAX_ETA = 2.5
MAX_Z = 12.0
MAX_R = 2.0
"""A charged particle is reconstructable if it leaves hits on ``MIN_LAYERS`` layers, has a
|eta| below ``MAX_ETA``, and starts within ``MAX_Z`` (cm) of the beam spot along the beam and
within ``MAX_R`` (cm, inside the beam pipe) across it."""


def start_positions(truth: PixelTruth) -> Array:
    """Return the start of each particle, relative to the beam spot, float64[particles, 3], cm."""
    start: Array = truth.particles.position - truth.beam_spot
    return start


def layers_crossed(truth: PixelTruth) -> Array:
    """Number of distinct layers with hits of each particle, int64[particles]."""
    hits = truth.hits.take(truth.hits.particle >= 0)
    n_layers = int(truth.module_layer.max(initial=0)) + 1
    crossed = np.zeros((len(truth.particles), n_layers), bool)
    crossed[hits.particle, truth.module_layer[hits.module]] = True
    count: Array = crossed.sum(axis=1)
    return count


def reconstructable(truth: PixelTruth) -> Array:
    """Whether a tracker should find each particle, bool[particles]."""
    x, y, z = start_positions(truth).T
    wanted: Array = (
        (layers_crossed(truth) >= MIN_LAYERS)
        & (np.abs(truth.particles.eta) < MAX_ETA)
        & (np.abs(z) < MAX_Z)
        & (np.hypot(x, y) < MAX_R)
    )
    return wanted


def perigee(particles: Particles, beam_spot: Array) -> Array:
    """Helix parameters of particles where they pass the beam spot most closely.

    Args:
        particles: with absolute positions.
        beam_spot: float64[3], cm.

    Returns:
        float64[particles, 5]: as of :func:`..helix.perigee`.
    """
    return helix.perigee(particles, beam_spot, PT_PER_RADIUS)
