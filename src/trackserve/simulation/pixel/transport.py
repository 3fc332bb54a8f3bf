"""Particles through the pixel detector.

Charged particles follow helices in a constant field, see :mod:`.flight`. In the material they
scatter, lose energy, radiate, interact with nuclei and knock out electrons; they decay; those that
leave through the side may come back. Generated photons convert before, see :mod:`.conversion`;
radiated photons do not convert.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import PixelGeometry
from trackserve.edm.columns import Array
from trackserve.edm.truth import Particles

from ..chain.generate import GeneratedEvent, GeneratedParticles
from ..processes.flights import Flights, make_flights
from .conversion import convert, make_slabs
from .crossings import Crossings
from .flight import ALL_PROCESSES, Processes, follow
from .material import OUTER_MATERIAL
from .world import make_world

FIELD = 3.8112
"""Tesla, along z."""
TRUTH_ETA = 3.0
"""The truth has every generated charged particle of a smaller |eta|, with hits or without."""
PRIMARY_RADIUS = 1.0
"""cm, in three dimensions. A primary particle starts closer to its collision than this."""
_ROOM = 4
"""Room for so many particles for each generated one, and so many times as many crossings."""


class Transported(NamedTuple):
    """One event behind the detector.

    Attributes:
        particles: particles of the event's truth.
        crossings: crossings of these particles through sensors.
        lost: number of particles that were given up.
    """

    particles: Particles
    crossings: Crossings
    lost: int


class PixelTransport:
    """Transport through the pixel detector. A process builds it once.

    Args:
        geometry: positions of the modules.
        material: factor of all thicknesses; 0 for a vacuum.
        processes: what particles do beside scattering, losing energy and radiating.
    """

    def __init__(
        self,
        geometry: PixelGeometry,
        material: float = 1.0,
        processes: Processes = ALL_PROCESSES,
    ) -> None:
        self._geometry = geometry
        self._processes = processes
        self._slabs = make_slabs(geometry, material)
        self._world = make_world(geometry, material, OUTER_MATERIAL)

    def transport(self, event: GeneratedEvent, seed: int) -> Transported:
        """Carry the particles of ``event`` through the detector.

        Args:
            event: what was generated.
            seed: the result depends on nothing else.
        """
        rng = np.random.default_rng(seed)
        charged, pairs = convert(event.particles, self._slabs, rng)
        started = GeneratedParticles.concatenate([charged, pairs])
        flights = self._follow(started, seed)
        _, n_crossings, lost = flights.counts
        module = flights.module[:n_crossings]
        order = np.argsort(module, kind="stable")
        module, owner = module[order], flights.owner[:n_crossings][order]
        truth, row = _truth(event, flights, started.collision, len(charged), owner)
        momentum = flights.with_momentum[:n_crossings][order]
        crossings = Crossings(
            particle=row[owner],
            module=module,
            position=self._geometry.to_local(module, flights.at[:n_crossings][order]),
            momentum=np.einsum("nij,nj->ni", self._geometry.rotation[module], momentum),
            mass=flights.mass[owner],
        )
        return Transported(truth, crossings, int(lost))

    def _follow(self, started: GeneratedParticles, seed: int) -> Flights:
        """The flights of ``started`` and of all that they make."""
        room = _ROOM * (len(started) + 100)
        while True:
            flights = make_flights(started, room, _ROOM * room)
            follow(flights, self._world, self._processes, np.random.default_rng((seed, 1)))
            if flights.counts[0] <= room and flights.counts[1] <= _ROOM * room:
                return flights
            room *= 2


def _truth(
    event: GeneratedEvent,
    flights: Flights,
    started: Array,
    n_generated: int,
    with_hits: Array,
) -> tuple[Particles, Array]:
    """The particles of the truth.

    Args:
        event: what was generated.
        flights: all particles; the first ``n_generated`` are the generated charged ones.
        started: int32[...], collisions of the particles that the flight began with.
        n_generated: number of generated ones among them.
        with_hits: int32[...], rows of particles that cross a sensor.

    Returns:
        The particles, and int32[all], the row in them of each particle.
    """
    n = int(flights.counts[0])
    ancestor = np.arange(n)
    while (made := ancestor >= len(started)).any():
        ancestor[made] = flights.parent[ancestor[made]]
    collision = started[ancestor]
    momentum, position = flights.momentum[:n], flights.position[:n]
    flight = np.linalg.norm(position - event.collisions.position[collision], axis=1)
    generated = np.arange(n) < n_generated
    everything = Particles(
        collision,
        flights.pdg[:n],
        flights.charge[:n].astype(np.int8),
        position,
        momentum,
        primary=generated & (flight < PRIMARY_RADIUS),
    )
    pt = np.hypot(momentum[:, 0], momentum[:, 1])
    keep = generated & (np.abs(momentum[:, 2]) < np.sinh(TRUTH_ETA) * pt)
    keep[with_hits] = True
    return everything.take(keep), (np.cumsum(keep) - 1).astype(np.int32)
