"""One event after the other, from collisions to space points."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from trackserve.detectors.generic.material import SIGMAS
from trackserve.edm.pixel import BeamSpot
from trackserve.edm.points import PointsEvent
from trackserve.edm.truth import PointsTruth
from trackserve.physics.points.metrics import FIELD
from trackserve.trackers.laps import Laps

from ..chain import pool, seeds
from ..chain.collisions import Setup, collide
from ..chain.generate import Acceptance
from ..processes.flights import MAX_STEPS
from .detector import make_points_detector
from .digitise import digitise
from .flight import ALL_PROCESSES, MIN_MOMENTUM, MIN_PHOTON, Processes
from .noise import add_noise
from .transport import PointsTransport
from .weights import (
    MAX_POINTS,
    MIN_POINTS,
    ORDER_WEIGHTS,
    PT_RANGE,
    PT_WEIGHTS,
)

ACCEPTANCE = Acceptance(
    min_pt=MIN_MOMENTUM,
    min_photon_energy=MIN_PHOTON,
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
    "processes": Processes._fields,
    "max_steps": MAX_STEPS,
    "beam_spot": [SPOT.width_x, SPOT.width_y, SPOT.sigma_z],
    "sigmas": SIGMAS,
    "weights": [ORDER_WEIGHTS, MIN_POINTS, MAX_POINTS, PT_RANGE, PT_WEIGHTS],
}
"""What determines an event beside its setup and the acceptance."""


class SimulatedEvent(NamedTuple):
    """One event with its truth.

    Attributes:
        event: the space points, and what happened.
        counts: collisions, hard and inelastic; particles of the truth; points, noise among them;
            noise; lost particles, which were given up.
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
        noise: share of all points that no particle made, on average.
        acceptance: what of the collisions is kept.
        processes: what particles do on their way.
    """

    def __init__(
        self,
        setup: Setup,
        cache: Path,
        noise: float = 0.0,
        acceptance: Acceptance = ACCEPTANCE,
        processes: Processes = ALL_PROCESSES,
    ) -> None:
        self._setup = setup
        self._noise = noise
        self._acceptance = acceptance
        self._detector = make_points_detector()
        self._transport = PointsTransport(self._detector, processes=processes)
        self._cache = cache

    def simulate(self, number: int) -> SimulatedEvent:
        """Event ``number``; it does not depend on the events before."""
        seed = self._setup.seed
        lap = Laps(time.process_time)
        collisions = pool.load(self._cache, pool.blocks_of(self._setup, number))
        generated = collide(self._setup, self._acceptance, collisions, SPOT, number)
        lap("generation")
        particles, crossings, lost = self._transport.transport(
            generated, seeds.integer(seed, "transport", number, 2**62)
        )
        lap("transport")
        if self._noise > 0:
            rng = seeds.generator(seed, "noise", number)
            crossings = add_noise(crossings, self._noise, self._detector, rng)
        rng = seeds.generator(seed, "response", number)
        points, truth = digitise(crossings, particles, self._detector, rng)
        lap("digitisation")
        counts = {
            "collisions": len(generated.collisions),
            "particles": len(particles),
            "points": len(points),
            "noise": int((truth.particle < 0).sum()),
            "lost": lost,
        }
        event = PointsEvent(points, number, PointsTruth(truth, particles))
        return SimulatedEvent(event, counts, lap.seconds)
