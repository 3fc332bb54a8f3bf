"""One event of the whole tracker after the other, from collisions to space points."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trackserve.edm.pixel import BeamSpot
from trackserve.edm.points import PointsEvent, PointsTruth

from ..chain import seeds
from ..chain.collisions import Setup, collide
from ..chain.generate import Acceptance
from ..chain.pool import load_pool
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
"""The detector ends at a radius of 1.02 m and |z| of 3 m."""
SPOT = BeamSpot(sigma_z=5.0, width_x=0.001, width_y=0.001)
"""cm; about as wide as expected at the High-Luminosity LHC."""
CONSTANTS = {
    "detector": "acts.examples.GenericDetector",
    "field": FIELD,
    "min_momentum": MIN_MOMENTUM,
    "beam_spot": [SPOT.width_x, SPOT.width_y, SPOT.sigma_z],
    "sigmas": SIGMAS,
    "weights": [ORDER_WEIGHTS, MIN_POINTS, MAX_POINTS, PT_RANGE, PT_WEIGHTS],
}
"""What determines an event beside its setup and the acceptance."""


class PointsSeconds(NamedTuple):
    """CPU time by stage."""

    generation: float = 0.0
    transport: float = 0.0
    digitisation: float = 0.0


class PointsCounts(NamedTuple):
    """Of one event, or summed over events.

    Attributes:
        collisions: hard and inelastic.
        particles: in the truth.
        points: space points.
        lost: particles that Fatras gave up.
    """

    collisions: int = 0
    particles: int = 0
    points: int = 0
    lost: int = 0


class SimulatedPointsEvent(NamedTuple):
    """One event with its truth."""

    event: PointsEvent
    counts: PointsCounts
    seconds: PointsSeconds


class PointsSimulator:
    """Simulates any event of ``setup``; built once per process.

    Args:
        setup: what to simulate.
        cache: directory with the pool's blocks, where there is pile-up.
    """

    def __init__(self, setup: Setup, cache: Path) -> None:
        self._setup = setup
        self._detector = make_points_detector()
        self._fatras = PointsFatras(self._detector)
        self._pool = load_pool(cache, setup.pool_blocks)

    def simulate(self, number: int) -> SimulatedPointsEvent:
        """Event ``number``, the same whichever events went before."""
        seed = self._setup.seed
        clock = [time.process_time()]
        generated = collide(self._setup, ACCEPTANCE, self._pool, SPOT, number)
        clock.append(time.process_time())
        lost = self._fatras.lost
        particles, crossings = self._fatras.transport(
            generated, seeds.integer(seed, "transport", number, 2**62)
        )
        clock.append(time.process_time())
        rng = seeds.generator(seed, "response", number)
        points, truth = digitise(crossings, particles, self._detector, rng)
        clock.append(time.process_time())
        counts = PointsCounts(
            collisions=len(generated.collisions),
            particles=len(particles),
            points=len(points),
            lost=self._fatras.lost - lost,
        )
        event = PointsEvent(points, number, PointsTruth(truth, particles))
        return SimulatedPointsEvent(event, counts, PointsSeconds(*np.diff(clock).tolist()))
