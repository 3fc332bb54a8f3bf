"""Decays in flight of muons, charged pions and charged kaons."""

from __future__ import annotations

import math

import numpy as np

from trackserve.device.compile import kernel, shared

from .flights import Flights, add_particle
from .kinematics import Vector, boosted, isotropic
from .species import ELECTRON, ELECTRON_MASS, KAON, MUON, MUON_MASS, PION, PION_MASS

_LIFE = (65_900.0, 780.4, 371.1)
"""c tau of muon, pion and kaon, cm (Particle Data Group)."""
_KAON_TO_MUON = 0.636
"""Share of kaons that decay to a muon and a neutrino. Others count as a pion and a neutral one."""
_NEUTRAL_PION_MASS = 0.1349768


@shared
def proper_path(pdg: int, rng: np.random.Generator) -> float:
    """Proper time until a particle decays, cm; infinite if it lives too long."""
    kind = abs(pdg)
    if kind == MUON:
        return _LIFE[0] * rng.standard_exponential()
    if kind == PION:
        return _LIFE[1] * rng.standard_exponential()
    if kind == KAON:
        return _LIFE[2] * rng.standard_exponential()
    return np.inf


@kernel
def decay(
    flights: Flights, parent: int, at: Vector, momentum: Vector, rng: np.random.Generator
) -> None:
    """Add the charged particle of a decay; the others are neutral.

    Pions and kaons decay to two particles, muons to an electron with the spectrum of Michel.
    """
    kind, charge = abs(flights.pdg[parent]), flights.charge[parent]
    mass = flights.mass[parent]
    pdg, m, other = MUON, MUON_MASS, 0.0
    if kind == KAON and rng.random() > _KAON_TO_MUON:
        pdg, m, other = PION, PION_MASS, _NEUTRAL_PION_MASS
    if kind == MUON:
        pdg, m = ELECTRON, ELECTRON_MASS
        x = rng.random()
        while rng.random() > x * x * (3 - 2 * x):
            x = rng.random()
        energy = 0.5 * mass * x + m
    else:
        energy = (mass**2 + m**2 - other**2) / (2 * mass)
    p = math.sqrt(max(energy**2 - m**2, 0.0))
    way = isotropic(rng)
    out = boosted(Vector(p * way.x, p * way.y, p * way.z), energy, momentum, mass)
    add_particle(
        flights, parent, pdg * charge if pdg == PION else -pdg * charge, charge, m, at, out
    )
