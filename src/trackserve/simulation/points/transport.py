"""Particles through GenericDetector: ACTS Fatras.

A particle is followed until it leaves the detector or has made half a turn. Fatras converts
photons too, except in the first 0.026 radiation lengths that a photon crosses. Crossings and
particles come out of ACTS as whole columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from trackserve.edm.columns import Array
from trackserve.edm.truth import MM_PER_CM, Particles

from ..chain.acts_fatras import FatrasRunner, acts, to_container
from ..chain.generate import GeneratedEvent, GeneratedParticles
from .crossings import Crossings
from .detector import PointsDetector, sensor_key

FIELD = 2.0
"""Tesla, along z."""
MIN_MOMENTUM = 0.02
"""GeV. A particle with less is not followed; it turns back within 7 cm."""
_VERTEX = ("vx", "vy", "vz")
_MOMENTUM = ("px", "py", "pz")
_PLACE = ("true_x", "true_y", "true_z")
_SENSOR = ("volume_id", "layer_id", "surface_id")


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


class PointsFatras:
    """Fatras in GenericDetector. A process builds it once."""

    def __init__(self, detector: PointsDetector) -> None:
        self._keys = detector.key
        self._fatras = FatrasRunner(detector.geometry, FIELD, True, MIN_MOMENTUM)
        arrow = acts.examples.arrow
        level = acts.logging.Level.WARNING
        particles = arrow.ArrowParticleOutputConverter.Config()
        particles.inputParticles, particles.outputTable = "output", "particle table"
        hits = arrow.ArrowSimHitOutputConverter.Config()
        hits.inputParticles, hits.inputSimHits, hits.outputTable = "output", "hits", "hit table"
        hits.detectorResolver = arrow.makeVolumeIdDetectorResolver({}, 0)
        self._converters = (
            arrow.ArrowParticleOutputConverter(particles, level),
            arrow.ArrowSimHitOutputConverter(hits, level),
        )
        self._made = self._fatras.handle("particle table", acts.arrow.ArrowTable)
        self._crossed = self._fatras.handle("hit table", acts.arrow.ArrowTable)

    def transport(self, event: GeneratedEvent, seed: int) -> Transported:
        """Carry the particles of ``event`` through the detector.

        The truth has the charged generated particles, and then those that Fatras made and
        that cross a sensor.

        Args:
            event: what was generated.
            seed: 0..2**62; the result depends on nothing else.
        """
        algorithm = self._fatras.algorithm(seed)
        context, store = self._fatras.run(algorithm, 0, _to_acts(event.particles))
        for converter in self._converters:
            converter.execute(context)
        made = _columns(self._made(store), ("pdg_id", "charge", *_VERTEX, *_MOMENTUM))
        hits = _columns(self._crossed(store), ("particle_id", "time", *_PLACE, *_SENSOR))
        ancestor, generated = _ancestors(self._fatras.output(store))
        owner = hits["particle_id"].astype(np.int64)
        charged = event.particles.charge != 0
        keep = ~generated & np.isin(np.arange(len(generated)), owner)
        row = np.where(
            generated,
            (np.cumsum(charged) - 1)[ancestor],
            int(charged.sum()) + np.cumsum(keep) - 1,
        )
        key = sensor_key(*(hits[name] for name in _SENSOR))
        crossings = Crossings(
            row[owner].astype(np.int32),
            np.searchsorted(self._keys, key),
            _vectors(hits, _PLACE),
            hits["time"].astype(np.float64),
        )
        secondaries = Particles(
            event.particles.collision[ancestor],
            made["pdg_id"].astype(np.int32),
            made["charge"].astype(np.int8),
            _vectors(made, _VERTEX) / MM_PER_CM,
            _vectors(made, _MOMENTUM),
            primary=np.zeros(len(ancestor), np.bool_),
        ).take(keep)
        primaries = _primaries(event.particles.take(charged))
        lost = len(event.particles) - int(generated.sum())
        return Transported(Particles.concatenate([primaries, secondaries]), crossings, lost)


def _to_acts(particles: GeneratedParticles) -> Any:
    momentum = np.linalg.norm(particles.momentum, axis=1)
    return to_container(
        zip(
            particles.pdg.tolist(),
            particles.charge.tolist(),
            particles.mass.tolist(),
            (particles.position * MM_PER_CM).tolist(),
            (particles.momentum / momentum[:, None]).tolist(),
            momentum.tolist(),
            strict=True,
        )
    )


def _primaries(particles: GeneratedParticles) -> Particles:
    return Particles(
        particles.collision,
        particles.pdg,
        particles.charge,
        particles.position,
        particles.momentum,
        primary=np.ones(len(particles), np.bool_),
    )


def _ancestors(output: Any) -> tuple[Array, Array]:
    """The ancestors of the particles that Fatras returns.

    Returns:
        int64[n], the row of the generated particle that each one is or descends from; and
        bool[n], whether it is that particle itself.
    """
    barcodes = [particle.particleId for particle in output]
    ancestor = np.array([barcode.particle for barcode in barcodes], np.int64) - 1
    generation = np.array([barcode.generation for barcode in barcodes], np.int64)
    return ancestor, generation == 0


def _columns(table: Any, names: tuple[str, ...]) -> dict[str, Array]:
    """Columns of ACTS' table of one event: a single row of lists."""
    row = pa.table(table.as_table())
    return {name: row[name].chunk(0).flatten().to_numpy() for name in names}


def _vectors(columns: dict[str, Array], names: tuple[str, ...]) -> Array:
    return np.stack([columns[name] for name in names], axis=1).astype(np.float64)
