"""Particles that are made on the way: by nuclear interactions, decays and knock-on collisions."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared
from trackserve.edm.columns import Array

from .matter import (
    ELECTRON,
    ELECTRON_MASS,
    KAON,
    MUON,
    MUON_MASS,
    PION,
    PION_MASS,
    PROTON_MASS,
    energy_of_range,
    isotropic,
    turned,
)
from .sensor import Vector
from .straggling import electron_range, emission_cosine

KEV_PER_GEV = 1e6
_MULTIPLICITY = (0.88, 0.44, 0.118)
"""Mean number of charged particles of a hadron and a proton, by powers of log(s / GeV^2): W. Thome
et al., Nucl. Phys. B 129 (1977) 365."""
_NUCLEUS = 0.5 + 0.5 * 2.1
"""Factor for a nucleus: 1/2 + nu/2 (W. Busza et al., Phys. Rev. Lett. 34 (1975) 836). Silicon's nu
is 28 cross sections of a nucleon (32 mb) over that of the nucleus (429 mb)."""
_CHARGED_PION = 2 / 3
_CHARGED_NUCLEON = 0.5
"""Share of pions, and of nucleons, that have a charge."""
_MAX_PIONS = 60
_LIFE = (65_900.0, 780.4, 371.1)
"""c tau of muon, pion and kaon, cm (Particle Data Group)."""
_KAON_TO_MUON = 0.636
"""Share of kaons that decay to a muon and a neutrino. Others count as a pion and a neutral one."""
_NEUTRAL_PION_MASS = 0.1349768
MIN_ELECTRON = 50.0
"""keV. An electron with less is not followed: it has a range of 20 um."""
_STOPPED = 1.0
"""keV. The truth gives this energy to an electron that comes into a sensor and stops there."""


class Flights(NamedTuple):
    """Particles to be followed, and where they cross sensors. Arrays have room for more rows.

    Attributes:
        pdg, charge, parent: int32[n]; ``parent`` is a row here, or -1.
        mass: float64[n], GeV.
        position, momentum: float64[n, 3], global, at the start, cm and GeV.
        owner, module: int32[m], of each crossing.
        at, with_momentum: float64[m, 3], place and momentum of each crossing, global.
        counts: int64[3], particles, crossings, and particles that were given up.
    """

    pdg: Array
    charge: Array
    parent: Array
    mass: Array
    position: Array
    momentum: Array
    owner: Array
    module: Array
    at: Array
    with_momentum: Array
    counts: Array


@shared
def add_particle(
    flights: Flights, parent: int, pdg: int, charge: int, mass: float, at: Vector, momentum: Vector
) -> None:
    """Add a particle, if there is room; the count grows in any case."""
    n = flights.counts[0]
    flights.counts[0] += 1
    if n >= len(flights.pdg):
        return
    flights.pdg[n], flights.charge[n], flights.parent[n] = pdg, charge, parent
    flights.mass[n] = mass
    flights.position[n, 0], flights.position[n, 1], flights.position[n, 2] = at.x, at.y, at.z
    flights.momentum[n, 0] = momentum.x
    flights.momentum[n, 1] = momentum.y
    flights.momentum[n, 2] = momentum.z


@shared
def add_crossing(flights: Flights, owner: int, module: int, at: Vector, momentum: Vector) -> None:
    """Add a crossing, if there is room; the count grows in any case."""
    n = flights.counts[1]
    flights.counts[1] += 1
    if n >= len(flights.owner):
        return
    flights.owner[n], flights.module[n] = owner, module
    flights.at[n, 0], flights.at[n, 1], flights.at[n, 2] = at.x, at.y, at.z
    flights.with_momentum[n, 0] = momentum.x
    flights.with_momentum[n, 1] = momentum.y
    flights.with_momentum[n, 2] = momentum.z


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


@kernel
def interact(
    flights: Flights, parent: int, at: Vector, momentum: Vector, rng: np.random.Generator
) -> None:
    """Add the charged particles of an inelastic interaction of a hadron with a nucleus.

    They are pions and one nucleon, in all directions alike in the rest frame of the hadron and one
    nucleon of the nucleus, and share the energy there at random. None has more than half of it,
    since the others balance its momentum.
    """
    mass = flights.mass[parent]
    energy = math.sqrt(momentum.x**2 + momentum.y**2 + momentum.z**2 + mass**2)
    s = mass**2 + PROTON_MASS**2 + 2 * energy * PROTON_MASS
    log = math.log(s)
    mean = _MULTIPLICITY[0] + _MULTIPLICITY[1] * log + _MULTIPLICITY[2] * log**2
    charged_pions = _NUCLEUS * mean - _CHARGED_NUCLEON
    system = math.sqrt(s)
    left = system - PROTON_MASS
    most = min(int(left / PION_MASS), _MAX_PIONS)
    n_pions, waited = 0, rng.standard_exponential()
    while waited < charged_pions / _CHARGED_PION and n_pions < most:  # Poisson
        n_pions += 1
        waited += rng.standard_exponential()
    left -= n_pions * PION_MASS
    shares = rng.standard_gamma(n_pions + 1.0)
    left /= shares
    # the sum of exponential variables is a gamma variable; the last particle takes what is left
    for i in range(n_pions + 1):
        part = min(rng.standard_exponential(), shares)
        if i == n_pions:
            part = shares
        shares -= part
        is_nucleon = i == n_pions
        m = PROTON_MASS if is_nucleon else PION_MASS
        kinetic = min(left * part, 0.5 * system - m)
        if rng.random() > (_CHARGED_NUCLEON if is_nucleon else _CHARGED_PION):
            continue
        p = math.sqrt(kinetic * (kinetic + 2 * m))
        way = isotropic(rng)
        out = boosted(Vector(p * way.x, p * way.y, p * way.z), kinetic + m, momentum, system)
        sign = 1 if is_nucleon or rng.random() < 0.5 else -1
        pdg = 2212 if is_nucleon else sign * PION
        add_particle(flights, parent, pdg, sign, m, at, out)


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


class Slab(NamedTuple):
    """A module where a particle crosses it.

    Attributes:
        module: its number.
        normal: local z, global.
        sensor, rest: thickness of the sensor and of all else, cm of silicon. The rest is on the
            side of negative local z.
    """

    module: int
    normal: Vector
    sensor: float
    rest: float


@kernel
def knock_out(
    flights: Flights,
    parent: int,
    at: Vector,
    direction: Vector,
    energy: float,
    max_energy: float,
    slab: Slab,
    depth: float,
    rng: np.random.Generator,
) -> None:
    """Follow an electron that is knocked out in a module to where it leaves the module.

    It goes straight over its range, and crosses the sensor if it comes from elsewhere.

    Args:
        flights: gets the electron, if it leaves.
        parent: particle that knocks it out.
        at: where the particle crosses the middle of the sensor.
        direction: of the particle.
        energy, max_energy: of the electron, and the most that it may have, keV.
        slab: the module.
        depth: local z of the place, cm.
        rng: random numbers.
    """
    way = turned(direction, emission_cosine(energy, max_energy), rng.random())
    normal = slab.normal
    cosine = way.x * normal.x + way.y * normal.y + way.z * normal.z
    top, bottom = 0.5 * slab.sensor, -0.5 * slab.sensor
    end = top if cosine > 0 else bottom - slab.rest
    path = (end - depth) / cosine
    reach = electron_range(energy)
    in_rest = depth < bottom
    enters = in_rest and cosine > 0 and (bottom - depth) / cosine < reach
    if not enters and path >= reach:
        return
    offset = depth / (direction.x * normal.x + direction.y * normal.y + direction.z * normal.z)
    start = Vector(
        at.x + offset * direction.x, at.y + offset * direction.y, at.z + offset * direction.z
    )
    owner = flights.counts[0]
    if enters:
        to_sensor = (bottom - depth) / cosine
        kept = energy_of_range(reach - to_sensor, energy)
        if kept < MIN_ELECTRON:
            return
        middle = -depth / cosine
        place = Vector(start.x + middle * way.x, start.y + middle * way.y, start.z + middle * way.z)
        p = electron_momentum(kept)
        add_crossing(flights, owner, slab.module, place, Vector(p * way.x, p * way.y, p * way.z))
    kept = max(energy_of_range(reach - path, energy) if path < reach else 0.0, _STOPPED)
    if kept < MIN_ELECTRON and not enters:
        return
    p = electron_momentum(kept)
    leave = Vector(start.x + path * way.x, start.y + path * way.y, start.z + path * way.z)
    add_particle(
        flights, parent, ELECTRON, -1, ELECTRON_MASS, leave, Vector(p * way.x, p * way.y, p * way.z)
    )


@shared
def electron_momentum(energy: float) -> float:
    """Momentum of an electron, GeV; ``energy`` is its kinetic energy, keV."""
    kinetic = energy / KEV_PER_GEV
    return math.sqrt(kinetic * (kinetic + 2 * ELECTRON_MASS))
