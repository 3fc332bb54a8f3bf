"""One event after the other, from collisions to space points."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from trackserve.edm.pixel import BeamSpot
from trackserve.edm.points import PointsEvent
from trackserve.edm.truth import PointsTruth
from trackserve.trackers.laps import Laps

from ..chain import pool, seeds
from ..chain.collisions import Setup, collide
from ..chain.generate import Acceptance
from .detector import SIGMAS, make_points_detector
from .digitise import digitise
from .transport import FIELD, MIN_MOMENTUM, PointsFatras
from .weights import (
    MAX_POINTS,
    MIN_POINTS,
    ORDER_WEIGHTS,
    PT_RANGE,
    PT_WEIGHTS,
)

ACCEPTANCE = Acceptance(
    min_pt=0.15,
    min_photon_energy=0.2,
    max_eta=4.0,
    decay_radius=1020,
    decay_z=3000,
)
"""The detector ends at a radius of 1.02 m and at |z| = 3 m."""
SPOT = BeamSpot(sigma_z=5.0, width_x=0.001, width_y=0.001)
"""cm; about as wide as it is expected to be at the High-Luminosity LHC."""
CONSTANTS = {
    "detector": "acts.examples.GenericDetector",
    "field": FIELD,
    "min_momentum": MIN_MOMENTUM,
    "beam_spot": [SPOT.width_x, SPOT.width_y, SPOT.sigma_z],
    "sigmas": SIGMAS,
    "weights": [ORDER_WEIGHTS, MIN_POINTS, MAX_POINTS, PT_RANGE, PT_WEIGHTS],
}
"""What determines an event beside its setup and the acceptance."""


class SimulatedEvent(NamedTuple):
    """One event with its truth.

    Attributes:
        event: the space points, and what happened.
        counts: collisions, hard and inelastic; particles of the truth; points; lost
            particles, which Fatras gave up.
        seconds: CPU time by stage.
    """

    event: PointsEvent
    counts: dict[str, int]
    seconds: dict[str, float]


class PointsSimulator:
    """Simulates any event of ``setup``. A process builds it once.

    Args:
        setup: what to simulate.
        cache: directory with the pool's blocks, if there is pile-up.
    """

    def __init__(self, setup: Setup, cache: Path) -> None:
        self._setup = setup
        self._detector = make_points_detector()
        self._fatras = PointsFatras(self._detector)
        self._cache = cache

    def simulate(self, number: int) -> SimulatedEvent:
        """Event ``number``; it does not depend on the events before."""
        seed = self._setup.seed
        lap = Laps(time.process_time)
        collisions = pool.load(self._cache, pool.blocks_of(self._setup, number))
        generated = collide(self._setup, ACCEPTANCE, collisions, SPOT, number)
        lap("generation")
        particles, crossings, lost = self._fatras.transport(
            generated, seeds.integer(seed, "transport", number, 2**62)
        )
        lap("transport")
        rng = seeds.generator(seed, "response", number)
        points, truth = digitise(crossings, particles, self._detector, rng)
        lap("digitisation")
        counts = {
            "collisions": len(generated.collisions),
            "particles": len(particles),
            "points": len(points),
            "lost": lost,
        }
        event = PointsEvent(points, number, PointsTruth(truth, particles))
        return SimulatedEvent(event, counts, lap.seconds)
