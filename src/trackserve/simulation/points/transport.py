"""Particles through GenericDetector: where they cross sensors.

ACTS Fatras as in :mod:`.transport`, but a particle is followed until it leaves the detector
or has made half a turn, and the hits and particles come out as whole columns. Fatras converts
photons, too, though none in the first 0.026 radiation lengths that it crosses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.points import PointsParticles

from ..chain.acts_fatras import FatrasRunner, to_container
from ..chain.generate import GeneratedEvent, GeneratedParticles
from ..pixel.acts_detector import MM, acts
from .detector import PointsDetector, sensor_key

FIELD = 2.0
"""Tesla, along z."""
MIN_MOMENTUM = 0.02
"""GeV; electrons with less turn back within 7 cm and are not followed."""
_VERTEX = ("vx", "vy", "vz")
_MOMENTUM = ("px", "py", "pz")
_PLACE = ("true_x", "true_y", "true_z")
_SENSOR = ("volume_id", "layer_id", "surface_id")


@dataclass(frozen=True, eq=False)
class Crossings(Columns):
    """Crossings of sensors, ordered by sensor."""

    particle: Array = column(np.int32)
    """Row in the event's particles."""
    sensor: Array = column(np.int64)
    """Row in the detector's sensors."""
    position: Array = column(np.float64, 3)
    """mm."""
    time: Array = column(np.float64)
    """mm."""


class PointsFatras:
    """Fatras in GenericDetector; built once per process.

    Attributes:
        lost: how many particles Fatras gave up so far.
    """

    def __init__(self, detector: PointsDetector) -> None:
        self.lost = 0
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

    def transport(self, event: GeneratedEvent, seed: int) -> tuple[PointsParticles, Crossings]:
        """The charged generated particles with those that Fatras made and that cross a sensor.

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
        self.lost += len(event.particles) - int(generated.sum())
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
        secondaries = PointsParticles(
            event.particles.collision[ancestor],
            made["pdg_id"].astype(np.int32),
            made["charge"].astype(np.int8),
            _vectors(made, _VERTEX).astype(np.float32),
            _vectors(made, _MOMENTUM).astype(np.float32),
            primary=np.zeros(len(ancestor), np.bool_),
        ).take(keep)
        primaries = _primaries(event.particles.take(charged))
        return PointsParticles.concatenate([primaries, secondaries]), crossings


def _to_acts(particles: GeneratedParticles) -> Any:
    momentum = np.linalg.norm(particles.momentum, axis=1)
    return to_container(
        zip(
            particles.pdg.tolist(),
            particles.charge.tolist(),
            particles.mass.tolist(),
            (particles.position * MM).tolist(),
            (particles.momentum / momentum[:, None]).tolist(),
            momentum.tolist(),
            strict=True,
        )
    )


def _primaries(particles: GeneratedParticles) -> PointsParticles:
    return PointsParticles(
        particles.collision,
        particles.pdg,
        particles.charge,
        (particles.position * MM).astype(np.float32),
        particles.momentum.astype(np.float32),
        primary=np.ones(len(particles), np.bool_),
    )


def _ancestors(output: Any) -> tuple[Array, Array]:
    """For each particle that Fatras returns: the row of the generated one that it is or comes
    from, and whether it is that one."""
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
