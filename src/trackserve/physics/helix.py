"""The helix of a particle, and where it passes a line along z most closely."""

from __future__ import annotations

import numpy as np

from trackserve.edm import Particles
from trackserve.edm.columns import Array


def perigee(particles: Particles, centre: Array, pt_per_radius: float) -> Array:
    """Helix parameters of particles where they pass a line along z most closely.

    Each particle is carried along its helix, backward or forward, to the point nearest to the
    line in the transverse plane. The signs are those of :class:`trackserve.edm.Tracks`: a positive
    particle turns clockwise seen from +z, and tip = q (distance of the circle's centre - radius).
    A line to the left of the track therefore makes tip positive.

    Args:
        particles: with absolute positions.
        centre: float64[3], a point on the line, from which z counts, cm.
        pt_per_radius: pT of a particle of charge 1 over its circle's radius, GeV/cm.

    Returns:
        float64[particles, 5]: phi, tip, q/pT, cot(theta), zip in rad, cm, 1/GeV, 1, cm.
    """
    x, y, z = (particles.position - centre).T
    q = particles.charge.astype(np.float64)
    pt, direction = particles.pt, particles.phi
    radius = pt / pt_per_radius
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
