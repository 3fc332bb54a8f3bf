"""What happens in a bunch crossing before the detector sees it.

One hard collision, or particles from a gun, and a Poisson number of inelastic
collisions taken from a pool, each at its own place along the beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.pixel import BeamSpot
from trackserve.edm.truth import Collisions


class Acceptance(NamedTuple):
    """What of a collision may reach a detector.

    Attributes:
        min_pt: of charged particles, GeV.
        min_photon_energy: GeV.
        max_eta: of the absolute value.
        decay_radius, decay_z: mm; what would decay outside of this radius or beyond this z
            from its collision (K_S, Lambda, Sigma, Xi, Omega) does not.
    """

    min_pt: float
    min_photon_energy: float
    max_eta: float
    decay_radius: float
    decay_z: float


@dataclass(frozen=True, eq=False)
class GeneratedParticles(Columns):
    """Stable charged particles and photons; cm and GeV."""

    collision: Array = column(np.int32)
    pdg: Array = column(np.int32)
    charge: Array = column(np.int8)
    mass: Array = column(np.float64)
    position: Array = column(np.float64, 3)
    """Relative to the collision in what a generator returns, absolute in an event."""
    momentum: Array = column(np.float64, 3)


@dataclass(frozen=True, eq=False)
class GeneratedEvent:
    """Input of the transport; positions are absolute."""

    number: int
    collisions: Collisions
    particles: GeneratedParticles


class Species(NamedTuple):
    """One charge state of a particle that a gun shoots."""

    pdg: int
    charge: int
    mass: float


SPECIES = {
    "muons": Species(-13, 1, 0.1056584),
    "electrons": Species(-11, 1, 0.000511),
    "pions": Species(211, 1, 0.1395704),
    "kaons": Species(321, 1, 0.493677),
    "protons": Species(2212, 1, 0.9382721),
}
"""The positive state; the negative one has the opposite ``pdg``. Masses in GeV (PDG)."""


class Gun(NamedTuple):
    """Particles of alternating charge from the beam spot, uniform in eta and phi.

    Attributes:
        particles: per event.
        min_pt, max_pt: GeV.
        flat_pt: uniform in pT; otherwise in log(pT).
        max_eta: of the absolute value.
    """

    particles: int = 10
    min_pt: float = 0.5
    max_pt: float = 100.0
    flat_pt: bool = False
    max_eta: float = 2.5


DEFAULT_GUN = Gun()


def shoot(species: Species, gun: Gun, rng: np.random.Generator) -> GeneratedParticles:
    """One event of a gun, at the origin."""
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
    """``n`` collisions of ``pool``, each turned about the beam, every other one mirrored in z.

    A collision comes up once per event at most, where the pool is large enough. Protons
    collide symmetrically, so both changes give an equally likely collision.

    Args:
        pool: rows of a collision are contiguous, and collisions numbered from 0.
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
    """``hard`` as collision 0, those of ``pileup`` as 1, 2, ..."""
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
    """Move every collision to a vertex of its own, Gaussian with the widths of the beam spot.

    The slopes of the beam spot are not applied.
    """
    width = np.array([spot.width_x, spot.width_y, spot.sigma_z])
    centre = np.array([spot.x, spot.y, spot.z])
    vertices = centre + width * rng.standard_normal((n_collisions, 3))
    columns = particles.columns()
    columns["position"] = particles.position + vertices[particles.collision]
    return GeneratedEvent(number, Collisions(vertices), GeneratedParticles(**columns))
