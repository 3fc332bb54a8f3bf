"""Particles through GenericDetector.

Charged particles follow helices in a constant field, see :mod:`.flight`. In the material they
scatter, lose energy, radiate and interact with nuclei; they decay; and they go round until they are
gone. Photons convert on their way, radiated ones too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.edm.columns import Array
from trackserve.edm.truth import MM_PER_CM, Particles

from ..chain.generate import GeneratedEvent, GeneratedParticles
from ..processes.flights import Flights, make_flights
from .crossings import Crossings
from .detector import PointsDetector
from .flight import ALL_PROCESSES, Processes, follow
from .world import make_world

_ROOM = 2
"""Room for so many particles for each generated one."""
_CROSSINGS = 16
"""Room for so many crossings for each particle."""


class Transported(NamedTuple):
    """One event behind the detector.

    Attributes:
        particles: particles of the event's truth.
        crossings: crossings of these particles through sensors, ordered by sensor.
        lost: number of particles that were given up.
    """

    particles: Particles
    crossings: Crossings
    lost: int


class PointsTransport:
    """Transport through GenericDetector. A process builds it once.

    Args:
        detector: its sensors.
        material: factor of all thicknesses; 0 for a vacuum.
        processes: what particles do beside scattering, losing energy, radiating and converting.
    """

    def __init__(
        self,
        detector: PointsDetector,
        material: float = 1.0,
        processes: Processes = ALL_PROCESSES,
    ) -> None:
        self._world = make_world(detector, material)
        self._processes = processes

    def transport(self, event: GeneratedEvent, seed: int) -> Transported:
        """Carry the particles of ``event`` through the detector.

        The truth has the charged generated particles, and then all others that cross a sensor.

        Args:
            event: what was generated.
            seed: the result depends on nothing else.
        """
        flights = self._follow(event.particles, seed)
        n, n_crossings, lost = flights.counts
        owner, sensor = flights.owner[:n_crossings], flights.module[:n_crossings]
        particles, row = _truth(event.particles, flights, int(n), owner)
        crossings = Crossings(
            row[owner],
            sensor.astype(np.int64),
            flights.at[:n_crossings] * MM_PER_CM,
            np.arange(n_crossings),
        )
        ordered = crossings.take(np.argsort(sensor, kind="stable"))
        return Transported(particles, ordered, int(lost))

    def _follow(self, started: GeneratedParticles, seed: int) -> Flights:
        """The flights of ``started`` and of all that they make."""
        room = _ROOM * (len(started) + 1000)
        while True:
            flights = make_flights(started, room, _CROSSINGS * room)
            follow(flights, self._world, self._processes, np.random.default_rng(seed))
            if flights.counts[0] <= room and flights.counts[1] <= _CROSSINGS * room:
                return flights
            room *= 2


def _truth(
    started: GeneratedParticles, flights: Flights, n: int, with_points: Array
) -> tuple[Particles, Array]:
    """The particles of the truth.

    Args:
        started: the generated particles, which are the first of the flights.
        flights: all particles.
        n: their number.
        with_points: int32[...], rows of particles that cross a sensor.

    Returns:
        The particles, and int32[n], the row in them of each particle.
    """
    ancestor = np.arange(n)
    while (made := ancestor >= len(started)).any():
        ancestor[made] = flights.parent[ancestor[made]]
    generated = (np.arange(n) < len(started)) & (flights.charge[:n] != 0)
    everything = Particles(
        started.collision[ancestor],
        flights.pdg[:n],
        flights.charge[:n].astype(np.int8),
        flights.position[:n],
        flights.momentum[:n],
        primary=generated,
    )
    kept = generated.copy()
    kept[with_points] = True
    return everything.take(kept), (np.cumsum(kept) - 1).astype(np.int32)
