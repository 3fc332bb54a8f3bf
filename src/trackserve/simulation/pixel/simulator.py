"""One event after the other, from collisions to raw words."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import phase1_geometry
from trackserve.edm.columns import Array
from trackserve.edm.truth import PixelTruth
from trackserve.trackers.laps import Laps

from ..chain import pool, seeds
from ..chain.collisions import Setup, collide
from ..chain.generate import Acceptance
from . import flight, material, transport
from .conditions import make_conditions
from .flight import ALL_PROCESSES, Processes
from .readout import make_raw, make_readout_tables
from .response import CMS_LIKE, make_response, respond
from .transport import PixelTransport

ACCEPTANCE = Acceptance(
    min_pt=0.016,
    min_photon_energy=0.02,
    max_eta=3.5,
    decay_radius=170,
    decay_z=700,
)
"""A charged particle with less pT turns back before the first layer, 2.75 cm away. The last
disk ends at |eta| = 2.6 seen from the origin, and at 3.0 seen from 15 cm behind it."""
MAX_MODULE_PIXELS = 4000
"""The public C++ program drops further pixels of a module in an event (``gpuClustering.h``)."""


_CONSTANTS = {
    material: (
        "PIPE_MATERIAL",
        "BARREL_MATERIAL",
        "ENDCAP_MATERIAL",
        "FLANGE_MATERIAL",
        "OUTER_MATERIAL",
    ),
    transport: ("FIELD",),
    flight: ("MIN_KNOCK_ON", "OUTER_CYLINDERS"),
}
CONSTANTS = {
    name.lower(): getattr(module, name) for module, names in _CONSTANTS.items() for name in names
} | {"response": CMS_LIKE._asdict()}
"""What determines an event beside its setup and the acceptance."""


class SimulatedEvent(NamedTuple):
    """One event.

    Attributes:
        truth: what happened.
        raw: uint8[n], the FED stream.
        counts: collisions, hard and inelastic; particles of the truth; hits, which are
            crossings of sensors; digis, which are pixels read out; lost particles, which
            were given up; crowded modules, with more than :data:`MAX_MODULE_PIXELS` pixels.
        seconds: CPU time by stage.
    """

    truth: PixelTruth
    raw: Array
    counts: dict[str, int]
    seconds: dict[str, float]


class PixelSimulator:
    """Simulates any event of ``setup``. A process builds it once.

    Args:
        setup: what to simulate.
        cache: directory with the pool's blocks, if there is pile-up.
        processes: what particles do on their way.
    """

    def __init__(self, setup: Setup, cache: Path, processes: Processes = ALL_PROCESSES) -> None:
        self._geometry = geometry = phase1_geometry()
        conditions = make_conditions(geometry, setup.seed)
        self._setup = setup
        self._spot = conditions.beam_spot
        self._transport = PixelTransport(geometry, processes=processes)
        self._response = make_response(conditions, geometry)
        self._readout = make_readout_tables(conditions)
        self._cache = cache

    def simulate(self, number: int) -> SimulatedEvent:
        """Event ``number``; it does not depend on the events before.

        Raises:
            EventError: the event does not fit into the raw format.
        """
        seed = self._setup.seed
        lap = Laps(time.process_time)
        collisions = pool.load(self._cache, pool.blocks_of(self._setup, number))
        generated = collide(self._setup, ACCEPTANCE, collisions, self._spot, number)
        lap("generation")
        particles, crossings, lost = self._transport.transport(
            generated, seeds.integer(seed, "transport", number, 2**62)
        )
        lap("transport")
        digis = respond(crossings, self._response, seeds.generator(seed, "response", number))
        lap("response")
        raw = make_raw(digis, self._readout, number)
        lap("readout")
        counts = {
            "collisions": len(generated.collisions),
            "particles": len(particles),
            "hits": len(crossings),
            "digis": len(digis),
            "lost": lost,
            "crowded": int((np.bincount(digis.module) > MAX_MODULE_PIXELS).sum()),
        }
        spot = self._spot.position().astype(np.float64)
        truth = PixelTruth(
            particles, crossings.as_truth(), generated.collisions, spot, self._geometry.layer
        )
        return SimulatedEvent(truth, raw, counts, lap.seconds)
