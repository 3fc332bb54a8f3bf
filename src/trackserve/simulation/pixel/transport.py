"""Particles through the pixel detector: ACTS Fatras.

Charged particles follow helices in a constant field. In the material they scatter (a mixture
with the rms of Highland's formula), lose energy (Bethe, Landau) and radiate (Bethe-Heitler).
Generated photons convert before Fatras runs, see :mod:`.conversion`; radiated photons do not
convert. The Python interface of ACTS 48 has no nuclear interactions and no decays in flight.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from trackserve.detectors.phase1.geometry import PixelGeometry
from trackserve.edm.columns import Array
from trackserve.edm.truth import MM_PER_CM, Particles

from ..chain.acts_fatras import FatrasRunner, to_container
from ..chain.generate import GeneratedEvent, GeneratedParticles
from .conversion import convert, make_slabs
from .crossings import Crossings
from .detector import OUTER_RADIUS, OUTER_Z, make_detector

FIELD = 3.8112
"""Tesla, along z."""
MAX_HALF_TURNS = 10
"""Fatras stops a particle after half a turn. We start it again until it has made this many."""
MAX_LOOPER_PT = 0.2
"""GeV. A particle with more leaves the pixel detector within half a turn; one from the beam
needs 0.1 GeV for it."""
MIN_LOOPER_MOMENTUM = 0.01
"""GeV. A particle with less is not followed beyond half a turn."""
TRUTH_ETA = 3.0
"""The truth has every generated charged particle of a smaller |eta|, with hits or without."""
PRIMARY_RADIUS = 1.0
"""cm, in three dimensions. A primary particle starts closer to its collision than this."""


class Transported(NamedTuple):
    """One event behind the detector.

    Attributes:
        particles: particles of the event's truth.
        crossings: crossings of these particles through sensors.
        lost: number of particles that Fatras gave up.
    """

    particles: Particles
    crossings: Crossings
    lost: int


class PixelFatras:
    """Fatras in the pixel detector. A process builds it once.

    Args:
        geometry: positions of the modules.
        material: factor of all thicknesses; 0 for ideal helices.
    """

    def __init__(self, geometry: PixelGeometry, material: float = 1.0) -> None:
        self._geometry = geometry
        self._slabs = make_slabs(geometry, material)
        self._detector = make_detector(geometry, material)
        self._fatras = FatrasRunner(self._detector.geometry, FIELD, conversion=False)

    def transport(self, event: GeneratedEvent, seed: int) -> Transported:
        """Carry the particles of ``event`` through the detector.

        Args:
            event: what was generated.
            seed: 0..2**62; the result depends on nothing else.
        """
        rng = np.random.default_rng(seed)
        particles = _Particles(*convert(event.particles, self._slabs, rng))
        found = []
        lost = 0
        algorithm = self._fatras.algorithm(seed)
        moving = particles.at_start()
        for half_turn in range(MAX_HALF_TURNS):
            _, store = self._fatras.run(algorithm, half_turn, particles.to_acts(moving))
            moving, rows, missing = particles.follow(moving, self._fatras.output(store))
            lost += missing
            found.append(self._crossings(self._fatras.hits(store), rows))
            if not moving:
                break
        owner, module, position, momentum = (
            np.concatenate(column) for column in zip(*found, strict=True)
        )
        order = np.argsort(module, kind="stable")
        owner, module = owner[order], module[order]
        truth, row = particles.truth(event, owner)
        crossings = Crossings(
            particle=row[owner],
            module=module,
            position=self._geometry.to_local(module, position[order] / MM_PER_CM),
            momentum=np.einsum("nij,nj->ni", self._geometry.rotation[module], momentum[order]),
            mass=np.array(particles.mass)[owner],
        )
        return Transported(truth, crossings, lost)

    def _crossings(self, hits: Any, rows: dict[Any, int]) -> tuple[Array, Array, Array, Array]:
        """Particle, module, position (global, mm) and momentum (global, GeV) of each hit."""
        owner = np.empty(len(hits), np.int64)
        module = np.empty(len(hits), np.int32)
        position = np.empty((len(hits), 4))
        momentum = np.empty((len(hits), 4))
        modules = self._detector.modules
        for i, hit in enumerate(hits):
            owner[i] = rows[hit.particleId]
            module[i] = modules[hit.geometryId.value]
            position[i] = hit.fourPosition
            momentum[i] = hit.momentum4Before
        return owner, module, position[:, :3], momentum[:, :3]


class _State(NamedTuple):
    """A particle (row in :class:`_Particles`) on its way: mm, unit vector, GeV."""

    row: int
    position: list[float]
    direction: list[float]
    momentum: float


class _Particles:
    """All particles of an event: generated ones, pairs from photons, and those of Fatras."""

    def __init__(self, generated: GeneratedParticles, pairs: GeneratedParticles) -> None:
        self._n_generated = len(generated)
        self._started = started = GeneratedParticles.concatenate([generated, pairs])
        self._made: list[Any] = []
        self.collision: list[int] = started.collision.tolist()
        self.pdg: list[int] = started.pdg.tolist()
        self.charge: list[int] = started.charge.tolist()
        self.mass: list[float] = started.mass.tolist()

    def at_start(self) -> list[_State]:
        """The particles that Fatras is to transport: all that start inside."""
        momentum = np.linalg.norm(self._started.momentum, axis=1)
        states = zip(
            (self._started.position * MM_PER_CM).tolist(),
            (self._started.momentum / momentum[:, None]).tolist(),
            momentum.tolist(),
            strict=True,
        )
        return [_State(row, *state) for row, state in enumerate(states) if _is_inside(state[0])]

    def to_acts(self, moving: list[_State]) -> Any:
        """Particles for Fatras, with numbers from 1."""
        return to_container(
            (self.pdg[s.row], self.charge[s.row], self.mass[s.row], *s[1:]) for s in moving
        )

    def follow(
        self, moving: list[_State], output: Iterable[Any]
    ) -> tuple[list[_State], dict[Any, int], int]:
        """Take in what Fatras made of ``moving``.

        Returns:
            The charged particles that stopped inside; the row of each barcode; the number of
            particles that are missing.
        """
        inside = []
        rows: dict[Any, int] = {}
        n_lost = len(moving)
        for particle in output:
            barcode = particle.particleId
            row = moving[barcode.particle - 1].row
            if barcode.generation == 0:
                n_lost -= 1
            elif particle.charge:
                row = self._add(particle, self.collision[row])
            else:
                continue
            rows[barcode] = row
            if particle.transverseMomentum < MAX_LOOPER_PT and self.charge[row]:
                final = particle.finalState
                *position, _ = final.fourPosition
                momentum = final.absoluteMomentum
                if _is_inside(position) and momentum > MIN_LOOPER_MOMENTUM:
                    inside.append(_State(row, position, list(final.direction), momentum))
        return inside, rows, n_lost

    def _add(self, particle: Any, collision: int) -> int:
        self._made.append(particle)
        self.collision.append(collision)
        self.pdg.append(int(particle.pdg))
        self.charge.append(round(particle.charge))
        self.mass.append(particle.mass)
        return len(self.pdg) - 1

    def truth(self, event: GeneratedEvent, with_hits: Array) -> tuple[Particles, Array]:
        """The particles of the truth.

        Args:
            event: what was generated.
            with_hits: int64[...], rows of particles that cross a sensor.

        Returns:
            The particles, and int32[all], the row in them of each particle.
        """
        started = self._started
        row = np.arange(len(self.pdg))
        position = np.concatenate(
            [started.position, _vectors([p.position for p in self._made]) / MM_PER_CM]
        )
        momentum = np.concatenate([started.momentum, _vectors([p.momentum for p in self._made])])
        charge = np.array(self.charge, np.int8)
        collision = np.array(self.collision, np.int32)
        flight = np.linalg.norm(position - event.collisions.position[collision], axis=1)
        generated = row < self._n_generated
        everything = Particles(
            collision,
            np.array(self.pdg, np.int32),
            charge,
            position,
            momentum,
            primary=generated & (flight < PRIMARY_RADIUS),
        )
        pt = np.hypot(momentum[:, 0], momentum[:, 1])
        keep = generated & (charge != 0) & (np.abs(momentum[:, 2]) < np.sinh(TRUTH_ETA) * pt)
        keep[with_hits] = True
        return everything.take(keep), (np.cumsum(keep) - 1).astype(np.int32)


def _is_inside(position: list[float]) -> bool:
    x, y, z = position
    return math.hypot(x, y) < OUTER_RADIUS * MM_PER_CM and abs(z) < OUTER_Z * MM_PER_CM


def _vectors(vectors: list[Any]) -> Array:
    return np.array([np.asarray(v) for v in vectors], np.float64).reshape(-1, 3)
