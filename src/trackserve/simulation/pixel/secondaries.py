"""Electrons that particles knock out of the modules."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from trackserve.device.compile import kernel, shared

from ..processes.flights import Flights, add_crossing, add_particle
from ..processes.kinematics import Vector, turned
from ..processes.matter import energy_of_range
from ..processes.species import ELECTRON, ELECTRON_MASS
from ..processes.straggling import KEV_PER_GEV, electron_range, emission_cosine

MIN_ELECTRON = 50.0
"""keV. An electron with less is not followed: it has a range of 20 um."""
_STOPPED = 1.0
"""keV. The truth gives this energy to an electron that comes into a sensor and stops there."""


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
