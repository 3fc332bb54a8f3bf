"""Particles that a pixel tracker should find, and their parameters at the beam spot."""

from __future__ import annotations

import numpy as np

from trackserve.detectors.phase1.layout import PT_PER_RADIUS
from trackserve.edm import Particles, PixelTruth
from trackserve.edm.columns import Array

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

    Each particle is carried along its helix, backward or forward, to the point nearest to the
    beam spot in the transverse plane. The signs are those of :class:`.Tracks`: a positive
    particle turns clockwise seen from +z, and tip = q (distance of the circle's centre -
    radius). A beam spot to the left of the track therefore makes tip positive.

    Args:
        particles: with absolute positions.
        beam_spot: float64[3], cm.

    Returns:
        float64[particles, 5]: phi, tip, q/pT, cot(theta), zip in rad, cm, 1/GeV, 1, cm.
    """
    x, y, z = (particles.position - beam_spot).T
    q = particles.charge.astype(np.float64)
    pt, direction = particles.pt, particles.phi
    radius = pt / PT_PER_RADIUS
    centre_x = x + q * radius * np.sin(direction)
    centre_y = y - q * radius * np.cos(direction)
    phi = np.arctan2(q * centre_x, -q * centre_y)
    tip = q * (np.hypot(centre_x, centre_y) - radius)
    path = q * radius * wrap(phi - direction)
    cot_theta = particles.momentum[:, 2] / pt
    return np.stack([phi, tip, q / pt, cot_theta, z - path * cot_theta], axis=1)


def wrap(angle: Array) -> Array:
    """``angle`` (rad) brought to [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
