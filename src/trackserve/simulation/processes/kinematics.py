"""Vectors, and what a moving system looks like."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import shared


class Vector(NamedTuple):
    """A point (cm), momentum (GeV) or unit vector in the frame of the module."""

    x: float
    y: float
    z: float


@shared
def scaled(vector: Vector, factor: float) -> Vector:
    """``factor`` times a vector."""
    return Vector(factor * vector.x, factor * vector.y, factor * vector.z)


@shared
def turned(direction: Vector, cosine: float, turn: float) -> Vector:
    """A unit vector at an angle to another.

    Args:
        direction: unit vector.
        cosine: of the angle between both.
        turn: azimuth about ``direction``, in turns.
    """
    sine = math.sqrt(max(1 - cosine * cosine, 0.0))
    on_u, on_v = sine * math.cos(2 * math.pi * turn), sine * math.sin(2 * math.pi * turn)
    # two axes at right angles to the direction, good for any direction
    sign = math.copysign(1.0, direction.z)
    a = -1 / (sign + direction.z)
    b = direction.x * direction.y * a
    return Vector(
        cosine * direction.x + on_u * (1 + sign * direction.x**2 * a) + on_v * b,
        cosine * direction.y + on_u * sign * b + on_v * (sign + direction.y**2 * a),
        cosine * direction.z - on_u * sign * direction.x - on_v * direction.y,
    )


@shared
def isotropic(rng: np.random.Generator) -> Vector:
    """A random unit vector."""
    z = 2 * rng.random() - 1
    across, phi = math.sqrt(1 - z * z), 2 * math.pi * rng.random()
    return Vector(across * math.cos(phi), across * math.sin(phi), z)


@shared
def boosted(momentum: Vector, energy: float, frame: Vector, mass: float) -> Vector:
    """A momentum of the rest frame of a system, as seen where the system moves.

    Args:
        momentum, energy: in the rest frame, GeV.
        frame: momentum of the system, GeV.
        mass: of the system, GeV.
    """
    total = math.sqrt(mass**2 + frame.x**2 + frame.y**2 + frame.z**2)
    along = momentum.x * frame.x + momentum.y * frame.y + momentum.z * frame.z
    factor = (along / (total + mass) + energy) / mass
    return Vector(
        momentum.x + factor * frame.x,
        momentum.y + factor * frame.y,
        momentum.z + factor * frame.z,
    )


@shared
def on_helix(
    at: Vector, momentum: Vector, charge: int, path: float, pt_per_radius: float
) -> tuple[Vector, Vector]:
    """Place and momentum after ``path`` (cm) along a helix about z.

    Args:
        at: place, cm.
        momentum: GeV.
        charge: elementary charges.
        path: cm.
        pt_per_radius: of the field, GeV per cm.
    """
    p = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2)
    half = -0.5 * charge * pt_per_radius / p * path
    sine, cosine = math.sin(half), math.cos(half)
    chord = path / p * (sine / half if abs(half) > 1e-12 else 1.0)
    mx = cosine * momentum.x - sine * momentum.y
    my = sine * momentum.x + cosine * momentum.y
    x, y = at.x + chord * mx, at.y + chord * my
    px, py = cosine * mx - sine * my, sine * mx + cosine * my
    return Vector(x, y, at.z + path * momentum.z / p), Vector(px, py, momentum.z)
