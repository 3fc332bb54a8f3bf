"""One event after the other, from collisions to raw words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..detector.geometry import phase1_geometry
from ..detector.phase1 import N_MODULES
from ..edm.columns import Array
from ..edm.simulation import SimEvent
from . import seeds
from .conditions import make_conditions
from .generate import DEFAULT_GUN, SPECIES, GeneratedEvent, Gun, draw, overlay, place, shoot
from .pool import BLOCK, load_pool
from .readout import make_raw, make_readout_tables
from .response import make_response, respond
from .transport import Fatras

PROCESSES = ("ttbar", "minbias", *SPECIES)
"""Hard collisions; those that are not Pythia's are guns."""
MAX_POOL = 10_000
"""Inelastic collisions in the pool at most; a longer run uses them again."""
MAX_MODULE_PIXELS = 4000
"""Of one module and event; the public C++ program drops the rest (``gpuClustering.h``)."""


class Setup(NamedTuple):
    """What is simulated.

    Attributes:
        process: one of :data:`PROCESSES`.
        pileup: mean number of inelastic collisions beside the hard one.
        events: how many.
        seed: everything random follows from it.
        gun: used where ``process`` is a particle.
    """

    process: str
    pileup: float
    events: int
    seed: int
    gun: Gun = DEFAULT_GUN

    @property
    def is_gun(self) -> bool:
        return self.process in SPECIES

    @property
    def needs_pythia(self) -> bool:
        return not self.is_gun or self.pileup > 0

    @property
    def pool_blocks(self) -> int:
        """How many blocks of inelastic collisions it needs."""
        each = self.pileup + (self.process == "minbias")
        return -(-min(int(np.ceil(each * self.events)), MAX_POOL) // BLOCK)


class Seconds(NamedTuple):
    """CPU time by stage."""

    generation: float = 0.0
    transport: float = 0.0
    response: float = 0.0
    readout: float = 0.0


class Counts(NamedTuple):
    """Of one event, or summed over events.

    Attributes:
        collisions: hard and inelastic.
        particles: in the truth.
        hits: crossings of sensors.
        digis: pixels read out.
        lost: particles that Fatras gave up.
        crowded: modules with more than :data:`MAX_MODULE_PIXELS` pixels.
    """

    collisions: int = 0
    particles: int = 0
    hits: int = 0
    digis: int = 0
    lost: int = 0
    crowded: int = 0


class SimulatedEvent(NamedTuple):
    """One event: its truth and its raw data (uint8)."""

    truth: SimEvent
    raw: Array
    counts: Counts
    seconds: Seconds


class Simulator:
    """Simulates any event of ``setup``; built once per process.

    Args:
        setup: what to simulate.
        cache: directory with the pool's blocks, where there is pile-up.
    """

    def __init__(self, setup: Setup, cache: Path) -> None:
        geometry = phase1_geometry()
        conditions = make_conditions(geometry, setup.seed)
        self._setup = setup
        self._spot = conditions.beam_spot
        self._fatras = Fatras(geometry)
        self._response = make_response(conditions, geometry)
        self._readout = make_readout_tables(conditions)
        self._pool = load_pool(cache, setup.pool_blocks)

    def simulate(self, number: int) -> SimulatedEvent:
        """Event ``number``, the same whichever events went before."""
        seed = self._setup.seed
        clock = [time.process_time()]
        generated = self._generate(number)
        clock.append(time.process_time())
        lost = self._fatras.lost
        truth = self._fatras.transport(generated, seeds.integer(seed, "transport", number, 2**62))
        clock.append(time.process_time())
        digis = respond(truth.hits, self._response, seeds.generator(seed, "response", number))
        clock.append(time.process_time())
        raw = make_raw(digis, self._readout, number)
        clock.append(time.process_time())
        pixels = np.bincount(digis.module, minlength=N_MODULES)
        counts = Counts(
            collisions=len(truth.collisions),
            particles=len(truth.particles),
            hits=len(truth.hits),
            digis=len(digis),
            lost=self._fatras.lost - lost,
            crowded=int((pixels > MAX_MODULE_PIXELS).sum()),
        )
        return SimulatedEvent(truth, raw, counts, Seconds(*np.diff(clock).tolist()))

    def _generate(self, number: int) -> GeneratedEvent:
        setup = self._setup
        rng = seeds.generator(setup.seed, "generation", number)
        n_pileup = int(rng.poisson(setup.pileup))
        if setup.process == "minbias":
            both = draw(self._pool, 1 + n_pileup, rng)
        else:
            if setup.process == "ttbar":
                from . import pythia

                seed = 1 + seeds.integer(setup.seed, "ttbar", number, pythia.MAX_SEED)
                hard = pythia.source("ttbar").generate(1, seed)
            else:
                hard = shoot(SPECIES[setup.process], setup.gun, rng)
            both = overlay(hard, draw(self._pool, n_pileup, rng))
        return place(number, both, 1 + n_pileup, self._spot, rng)
