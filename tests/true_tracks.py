"""Events of true tracks: helices of particles from the beam, through cylinders."""

from __future__ import annotations

import numpy as np

from trackserve.edm import (
    Particles,
    PointsEvent,
    PointsTruth,
    SpacePoints,
    TruePoints,
)
from trackserve.edm.columns import Array

LAYERS = np.array([32.0, 72.0, 116.0, 172.0, 260.0, 360.0, 500.0, 660.0])


def helices(
    n: int, seed: int, number: int = 0, pt_range: tuple[float, float] = (1.5, 5)
) -> PointsEvent:
    """``n`` particles of a range of pT, GeV, through cylinders at 2 T; points in random order."""
    rng = np.random.default_rng(seed)
    pt = rng.uniform(*pt_range, n)
    charge = rng.choice([-1, 1], n)
    phi, eta = rng.uniform(-np.pi, np.pi, n), rng.uniform(-1, 1, n)
    radius = pt / (0.299792458e-3 * 2)
    turn = np.arcsin(LAYERS / (2 * radius[:, None]))
    angle = phi[:, None] - charge[:, None] * turn
    z = 2 * radius[:, None] * turn * np.sinh(eta)[:, None]
    position = np.stack([LAYERS * np.cos(angle), LAYERS * np.sin(angle), z], axis=2)
    order = rng.permutation(n * len(LAYERS))
    particle, layer = (a.ravel()[order] for a in np.indices((n, len(LAYERS))))
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    return an_event(position.reshape(-1, 3)[order], particle, layer, momentum, charge, number)


def an_event(
    position: Array,
    particle: Array,
    layer: Array,
    momentum: Array,
    charge: Array,
    number: int = 0,
) -> PointsEvent:
    n_points, n = len(position), len(momentum)
    points = TruePoints(
        particle.astype(np.int32),
        np.full(n_points, 8, np.int16),
        layer.astype(np.int16),
        np.zeros(n_points, np.int32),
        np.full(n_points, 1 / n_points, np.float32),
    )
    particles = Particles(
        np.zeros(n, np.int32),
        np.full(n, 211, np.int32),
        charge.astype(np.int8),
        np.zeros((n, 3)),
        momentum,
        np.ones(n, np.bool_),
    )
    space_points = SpacePoints(position.astype(np.float32))
    return PointsEvent(space_points, number, PointsTruth(points, particles))
