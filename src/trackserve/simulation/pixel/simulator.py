"""One event after the other, from collisions to raw words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import phase1_geometry
from trackserve.detectors.phase1.layout import N_MODULES
from trackserve.edm.columns import Array
from trackserve.edm.simulation import SimEvent

from ..chain import seeds
from ..chain.collisions import Setup, collide
from ..chain.generate import Acceptance
from ..chain.pool import load_pool
from . import material, transport
from .conditions import make_conditions
from .readout import make_raw, make_readout_tables
from .response import CMS_LIKE, make_response, respond
from .transport import Fatras

ACCEPTANCE = Acceptance(
    min_pt=0.016,
    min_photon_energy=0.02,
    max_eta=3.5,
    decay_radius=170,
    decay_z=700,
)
"""A charged particle with less pT turns back before the first layer, 2.75 cm away; the last
disk ends at |eta| = 2.6 seen from the origin, at 3.0 from 15 cm behind it."""
MAX_MODULE_PIXELS = 4000
"""Of one module and event; the public C++ program drops the rest (``gpuClustering.h``)."""


_CONSTANTS = {
    material: ("PIPE_MATERIAL", "BARREL_MATERIAL", "ENDCAP_MATERIAL", "FLANGE_MATERIAL"),
    transport: ("FIELD", "MAX_HALF_TURNS", "MAX_LOOPER_PT", "MIN_LOOPER_MOMENTUM"),
}
CONSTANTS = {
    name.lower(): getattr(module, name) for module, names in _CONSTANTS.items() for name in names
} | {"response": CMS_LIKE._asdict()}
"""What determines an event beside its setup and the acceptance."""


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
        generated = collide(self._setup, ACCEPTANCE, self._pool, self._spot, number)
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
