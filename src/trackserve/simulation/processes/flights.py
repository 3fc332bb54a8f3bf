"""Particles that are followed, and those that they make."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.device.compile import shared
from trackserve.edm.columns import Array

from ..chain.generate import GeneratedParticles
from .kinematics import Vector

MAX_STEPS = 5_000
"""A particle that has made so many steps is given up."""
TURN = 0.5
"""Largest turn in one step where a surface may be near, rad."""
MAX_OBLIQUITY = 20.0
"""Most thicknesses that a path in a module may have."""


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


def make_flights(started: GeneratedParticles, room: int, crossings: int) -> Flights:
    """Flights that begin with ``started``, with room for particles in all, and for crossings."""
    n = len(started)
    flights = Flights(
        pdg=np.zeros(room, np.int32),
        charge=np.zeros(room, np.int32),
        parent=np.full(room, -1, np.int32),
        mass=np.zeros(room),
        position=np.zeros((room, 3)),
        momentum=np.zeros((room, 3)),
        owner=np.zeros(crossings, np.int32),
        module=np.zeros(crossings, np.int32),
        at=np.zeros((crossings, 3)),
        with_momentum=np.zeros((crossings, 3)),
        counts=np.array([n, 0, 0]),
    )
    flights.pdg[:n], flights.charge[:n], flights.mass[:n] = (
        started.pdg,
        started.charge,
        started.mass,
    )
    flights.position[:n], flights.momentum[:n] = started.position, started.momentum
    return flights


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
