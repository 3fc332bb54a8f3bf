"""The nouns of simulation: collisions, particles and where they cross sensors.

Lengths are in cm, momenta in GeV; positions are absolute, not relative to the beam spot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .columns import Array, Columns, column


@dataclass(frozen=True, eq=False)
class SimCollisions(Columns):
    """Where protons met; row 0 is the hard collision."""

    position: Array = column(np.float64, 3)


@dataclass(frozen=True, eq=False)
class SimParticles(Columns):
    """Charged particles: the generated ones of |eta| < 3, and every one that leaves a hit.

    Those made in the detector's material (conversions, nuclear interactions, decays in
    flight) have the collision of their ancestor.
    """

    collision: Array = column(np.int32)
    """Row in :class:`SimCollisions`."""
    pdg: Array = column(np.int32)
    """Particle number of the Particle Data Group."""
    charge: Array = column(np.int8)
    position: Array = column(np.float64, 3)
    """Where it starts."""
    momentum: Array = column(np.float64, 3)
    """There."""
    primary: Array = column(np.bool_)
    """Generated, and started less than :data:`PRIMARY_RADIUS` from its collision, so that
    products of weak decays of strange hadrons are mostly not, those of heavy flavour are."""


PRIMARY_RADIUS = 1.0
"""cm, in three dimensions."""


@dataclass(frozen=True, eq=False)
class SimHits(Columns):
    """Crossings of sensors, ordered by module."""

    particle: Array = column(np.int32)
    """Row in :class:`SimParticles`."""
    module: Array = column(np.int32)
    position: Array = column(np.float64, 3)
    """Local, where the particle crosses the middle plane of the sensor (z = 0)."""
    momentum: Array = column(np.float64, 3)
    """In the local axes, before the sensor."""
    mass: Array = column(np.float64)
    """GeV."""


@dataclass(frozen=True, eq=False)
class SimEvent:
    """What happened in one bunch crossing; ``number`` counts events from 0."""

    number: int
    collisions: SimCollisions
    particles: SimParticles
    hits: SimHits
