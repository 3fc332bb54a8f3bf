"""Photons become pairs in the material, before the charged particles fly."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import SENSOR_LENGTH, SENSOR_WIDTH, PixelGeometry
from trackserve.device.compile import kernel
from trackserve.edm.columns import Array

from ..chain.generate import GeneratedParticles
from ..processes.conversion import conversion_rate, energy_shares
from ..processes.species import ELECTRON, ELECTRON_MASS, PHOTON
from .material import (
    FLANGE_MATERIAL,
    FLANGE_RADII,
    FLANGE_Z,
    PIPE_MATERIAL,
    PIPE_RADIUS,
    module_material,
)

_BEYOND = 1e-3
"""cm. A pair starts this far behind the surface that made it."""


class Slabs(NamedTuple):
    """The modules as a photon sees them.

    Attributes:
        centre: float64[n, 3], cm.
        axes: float64[n, 3, 3], rows are the local axes.
        thickness: float64[n], of each module, in radiation lengths.
        pipe, flange: thickness of the beam pipe and of a flange, in radiation lengths.
    """

    centre: Array
    axes: Array
    thickness: Array
    pipe: float
    flange: float


def make_slabs(geometry: PixelGeometry, material: float) -> Slabs:
    """The detector's material; ``material`` multiplies all thicknesses."""
    return Slabs(
        geometry.position,
        geometry.rotation,
        material * module_material(geometry),
        material * PIPE_MATERIAL,
        material * FLANGE_MATERIAL,
    )


def convert(
    particles: GeneratedParticles, slabs: Slabs, rng: np.random.Generator
) -> tuple[GeneratedParticles, GeneratedParticles]:
    """Let photons convert.

    Args:
        particles: with absolute positions.
        slabs: what they cross.
        rng: random numbers.

    Returns:
        The charged particles, and the electrons and positrons that the photons make.
    """
    photons = particles.take(particles.pdg == PHOTON)
    energy = np.linalg.norm(photons.momentum, axis=1)
    direction = photons.momentum / energy[:, None]
    depth = rng.exponential(size=len(photons)) / conversion_rate(energy)
    path = _path_to_depth(photons.position, direction, depth, slabs)
    inside = np.isfinite(path)
    photons, energy, direction = photons.take(inside), energy[inside], direction[inside]
    position = photons.position + (path[inside, None] + _BEYOND) * direction
    share = energy_shares(len(photons), rng)
    pairs = [
        GeneratedParticles(
            photons.collision,
            np.full(len(photons), -ELECTRON * charge, np.int32),
            np.full(len(photons), charge, np.int8),
            np.full(len(photons), ELECTRON_MASS),
            position,
            np.sqrt(np.maximum(e**2, 2 * ELECTRON_MASS**2) - ELECTRON_MASS**2)[:, None] * direction,
        )
        for charge, e in ((-1, share * energy), (1, (1 - share) * energy))
    ]
    return particles.take(particles.charge != 0), GeneratedParticles.concatenate(pairs)


@kernel
def _path_to_depth(start: Array, direction: Array, depth: Array, slabs: Slabs) -> Array:
    """Path of each photon until it has crossed ``depth`` radiation lengths, float64[n], cm.

    It is infinite if the photon leaves the detector before.
    """
    n_slabs = len(slabs.centre)
    result = np.full(len(start), np.inf)
    path = np.empty(n_slabs + 3)
    amount = np.empty(n_slabs + 3)
    for i in range(len(start)):
        x, y, z = start[i]
        dx, dy, dz = direction[i]
        n = 0
        for m in range(n_slabs):
            axes = slabs.axes[m]
            ox, oy, oz = slabs.centre[m, 0] - x, slabs.centre[m, 1] - y, slabs.centre[m, 2] - z
            cosine = axes[2, 0] * dx + axes[2, 1] * dy + axes[2, 2] * dz
            s = (axes[2, 0] * ox + axes[2, 1] * oy + axes[2, 2] * oz) / cosine
            ox, oy, oz = s * dx - ox, s * dy - oy, s * dz - oz
            u = abs(axes[0, 0] * ox + axes[0, 1] * oy + axes[0, 2] * oz)
            v = abs(axes[1, 0] * ox + axes[1, 1] * oy + axes[1, 2] * oz)
            if s > 0 and u < SENSOR_WIDTH / 2 and v < SENSOR_LENGTH / 2:
                path[n], amount[n] = s, slabs.thickness[m] / abs(cosine)
                n += 1
        inside = PIPE_RADIUS**2 - x * x - y * y
        if inside > 0:
            across, sin2 = x * dx + y * dy, dx * dx + dy * dy
            s = (math.sqrt(across * across + sin2 * inside) - across) / sin2
            path[n], amount[n] = s, slabs.pipe * PIPE_RADIUS / (across + s * sin2)
            n += 1
        for side in (-FLANGE_Z, FLANGE_Z):
            s = (side - z) / dz
            r = math.hypot(x + s * dx, y + s * dy)
            if s > 0 and FLANGE_RADII[0] < r < FLANGE_RADII[1]:
                path[n], amount[n] = s, slabs.flange / abs(dz)
                n += 1
        crossed = 0.0
        for k in np.argsort(path[:n]):
            crossed += amount[k]
            if crossed > depth[i]:
                result[i] = path[k]
                break
    return result
