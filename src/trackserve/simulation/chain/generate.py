"""A bunch crossing, as it is before the detector.

One hard collision, or particles from a gun, and a Poisson number of inelastic
collisions from a pool. Each collision has its own place along the beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.pixel import BeamSpot
from trackserve.edm.truth import Collisions

from ..processes.species import (
    ELECTRON,
    ELECTRON_MASS,
    KAON,
    MUON,
    MUON_MASS,
    PION,
    PION_MASS,
    PROTON_MASS,
)


class Acceptance(NamedTuple):
    """Bounds on the particles that may reach a detector.

    Attributes:
        min_pt: least pT of charged particles, GeV.
        min_photon_energy: GeV.
        max_eta: largest |eta|.
        decay_radius, decay_z: size of a cylinder around the collision, mm. Particles (K_S, Lambda,
            Sigma, Xi, Omega) decay inside of it only.
    """

    min_pt: float
    min_photon_energy: float
    max_eta: float
    decay_radius: float
    decay_z: float


@dataclass(frozen=True, eq=False)
class GeneratedParticles(Columns):
    """Stable charged particles and photons, which the transport takes. Units are cm and GeV."""

    collision: Array = column(np.int32)
    pdg: Array = column(np.int32)
    charge: Array = column(np.int8)
    mass: Array = column(np.float64)
    position: Array = column(np.float64, 3)
    """Start: relative to the collision if a generator returns it, absolute in an event."""
    momentum: Array = column(np.float64, 3)


@dataclass(frozen=True, eq=False)
class GeneratedEvent:
    """A generated event, for the transport. Positions are absolute."""

    number: int
    collisions: Collisions
    particles: GeneratedParticles


class Species(NamedTuple):
    """One charge state of a particle that a gun shoots."""

    pdg: int
    charge: int
    mass: float


SPECIES = {
    "muons": Species(-MUON, 1, MUON_MASS),
    "electrons": Species(-ELECTRON, 1, ELECTRON_MASS),
    "pions": Species(PION, 1, PION_MASS),
    "kaons": Species(KAON, 1, 0.493677),
    "protons": Species(2212, 1, PROTON_MASS),
}
"""The positive state of each; the negative one has the opposite ``pdg``. Masses are in GeV
(Particle Data Group)."""


class Gun(NamedTuple):
    """Particles of alternating charge from the beam spot, uniform in eta and phi.

    Attributes:
        particles: per event.
        min_pt, max_pt: GeV.
        flat_pt: uniform in pT; otherwise in log(pT).
        max_eta: largest |eta|.
    """

    particles: int = 10
    min_pt: float = 0.5
    max_pt: float = 100.0
    flat_pt: bool = False
    max_eta: float = 2.5


DEFAULT_GUN = Gun()


class Jets(NamedTuple):
    """Two partons that scatter by the strong interaction, and become jets with dense cores.

    Attributes:
        min_pthat, max_pthat: pT of each parton where they scatter, GeV. The cross section falls so
            fast that most are near the least.
    """

    min_pthat: float = 200.0
    max_pthat: float = 1000.0


DEFAULT_JETS = Jets()


def shoot(species: Species, gun: Gun, rng: np.random.Generator) -> GeneratedParticles:
    """Shoot the particles of one event, from the origin."""
    n = gun.particles
    low, high = gun.min_pt, gun.max_pt
    if gun.flat_pt:
        pt = rng.uniform(low, high, n)
    else:
        pt = np.exp(rng.uniform(np.log(low), np.log(high), n))
    phi = rng.uniform(-np.pi, np.pi, n)
    eta = rng.uniform(-gun.max_eta, gun.max_eta, n)
    sign = 1 - 2 * (np.arange(n) % 2)
    return GeneratedParticles(
        collision=np.zeros(n, np.int32),
        pdg=(sign * species.pdg).astype(np.int32),
        charge=(sign * species.charge).astype(np.int8),
        mass=np.full(n, species.mass),
        position=np.zeros((n, 3)),
        momentum=np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1),
    )


def draw(pool: GeneratedParticles, n: int, rng: np.random.Generator) -> GeneratedParticles:
    """Take ``n`` collisions from ``pool``.

    Each one is turned about the beam by a random angle; half of them are mirrored in z. Protons
    collide symmetrically, so this gives an equally likely collision. An event has a collision
    twice only if the pool has fewer than ``n``.

    Args:
        pool: the rows of a collision are contiguous; collisions count from 0.
        n: number of collisions.
        rng: random numbers.
    """
    if n == 0:
        return GeneratedParticles.empty()
    n_pool = int(pool.collision[-1]) + 1
    chosen = rng.choice(n_pool, n, replace=n > n_pool)
    phi = rng.uniform(-np.pi, np.pi, n)
    mirror = 1.0 - 2.0 * rng.integers(0, 2, n)
    start = np.searchsorted(pool.collision, chosen)
    length = np.searchsorted(pool.collision, chosen, side="right") - start
    collision = np.repeat(np.arange(n, dtype=np.int32), length)
    first = np.cumsum(length) - length
    row = np.arange(len(collision)) + (start - first)[collision]
    cos, sin = np.cos(phi)[collision], np.sin(phi)[collision]
    position, momentum = (
        np.stack(
            [
                cos * vector[:, 0] - sin * vector[:, 1],
                sin * vector[:, 0] + cos * vector[:, 1],
                mirror[collision] * vector[:, 2],
            ],
            axis=1,
        )
        for vector in (pool.position[row], pool.momentum[row])
    )
    return GeneratedParticles(
        collision, pool.pdg[row], pool.charge[row], pool.mass[row], position, momentum
    )


def overlay(hard: GeneratedParticles, pileup: GeneratedParticles) -> GeneratedParticles:
    """Join ``hard``, collision 0, and the collisions of ``pileup``: 1, 2, ..."""
    columns = GeneratedParticles.concatenate([hard, pileup]).columns()
    columns["collision"][len(hard) :] += 1
    return GeneratedParticles(**columns)


def place(
    number: int,
    particles: GeneratedParticles,
    n_collisions: int,
    spot: BeamSpot,
    rng: np.random.Generator,
) -> GeneratedEvent:
    """Move every collision to a vertex of its own.

    The vertices have a Gaussian distribution with the widths of the beam spot. Its slopes are
    not applied.

    Args:
        number: number of the event.
        particles: particles, relative to their collisions.
        n_collisions: number of collisions; some may have no particles.
        spot: beam spot.
        rng: random numbers.
    """
    width = np.array([spot.width_x, spot.width_y, spot.sigma_z])
    centre = np.array([spot.x, spot.y, spot.z])
    vertices = centre + width * rng.standard_normal((n_collisions, 3))
    columns = particles.columns()
    columns["position"] = particles.position + vertices[particles.collision]
    return GeneratedEvent(number, Collisions(vertices), GeneratedParticles(**columns))
