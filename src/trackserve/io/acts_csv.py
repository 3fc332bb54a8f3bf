"""Events as ACTS' examples write them to CSV.

An event has ``event000000000-spacepoint.csv`` (``CsvSpacePointWriter``). The truth is known where
``-measurement-simhit-map.csv`` (``CsvMeasurementWriter``), ``-hits.csv`` (``CsvSimHitWriter``) and
``-particles_simulated.csv`` (``CsvParticleWriter``) are beside it: a space point is the particle's
that made the hit behind its first measurement. Lengths are in mm, momenta in GeV.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trackserve.edm.columns import Array
from trackserve.edm.points import PointsEvent, SpacePoints
from trackserve.edm.truth import MM_PER_CM, Particles, PointsTruth, TruePoints

from .event_csv import EventFile, Rows, number_of, stack

POINTS = "-spacepoint.csv"
_POSITION = ("x", "y", "z")
_VERTEX = ("vx", "vy", "vz")
_MOMENTUM = ("px", "py", "pz")
_BARCODE = tuple(f"particle_id_{part}" for part in ("pv", "sv", "part", "gen", "subpart"))
"""Primary vertex, secondary vertex, particle, generation, number in its generation."""
_VOLUME, _LAYER, _SENSITIVE = (56, 0xFF), (36, 0xFFF), (8, 0xFFFFF)
"""Place and mask of each number in a geometry identifier of ACTS."""


def find_events(path: Path) -> list[Path]:
    """Prefixes of the events in a directory, as ``dir/event000000000``, ordered by name."""
    found = path.glob(f"*{POINTS}") if path.is_dir() else ()
    return sorted(file.with_name(file.name.removesuffix(POINTS)) for file in found)


def read_event(prefix: Path) -> PointsEvent:
    """Read one event; a particle is primary if its barcode has generation 0.

    Raises:
        EventError: a file or a column is missing, a value is not a finite number, or files do
            not fit together.
    """
    columns = {"measurement_id_1": np.int64, "geometry_id_1": np.uint64}
    table = EventFile(prefix, "spacepoint").read(columns | dict.fromkeys(_POSITION, np.float32))
    points = SpacePoints(stack(table, _POSITION))
    truth = None
    if EventFile(prefix, "particles_simulated").exists():
        truth = _read_truth(prefix, table["measurement_id_1"], table["geometry_id_1"])
    return PointsEvent(points, number_of(prefix), truth)


def _read_truth(prefix: Path, measurement: Array, identifier: Array) -> PointsTruth:
    maps, hits = EventFile(prefix, "measurement-simhit-map"), EventFile(prefix, "hits")
    table = maps.read({"measurement_id": np.int64, "hit_id": np.int64})
    first = np.unique(table["measurement_id"], return_index=True)[1]
    rows = Rows(maps, table["measurement_id"][first])
    spacepoint = EventFile(prefix, "spacepoint")
    hit = table["hit_id"][first][rows.of(spacepoint, "measurement_id_1", measurement)]
    owners = stack(hits.read(dict.fromkeys(_BARCODE, np.int64)), _BARCODE)
    if len(hit) and not 0 <= hit.min() <= hit.max() < len(owners):
        raise maps.error(
            "hit does not exist",
            column="hit_id",
            found=[int(hit.min()), int(hit.max())],
            bound=f"0..{len(owners) - 1}",
        )
    particles, barcodes = _read_particles(prefix)
    known = Rows(EventFile(prefix, "particles_simulated"), _packed(barcodes))
    particle = known.of(hits, "particle_id", _packed(owners)[hit])
    volume, layer, module = (
        identifier >> np.uint64(place) & np.uint64(mask)
        for place, mask in (_VOLUME, _LAYER, _SENSITIVE)
    )
    return PointsTruth(
        TruePoints(
            particle,
            volume.astype(np.int16),
            layer.astype(np.int16),
            module.astype(np.int32),
            np.full(len(particle), 1 / max(len(particle), 1), np.float32),
        ),
        particles,
    )


def _read_particles(prefix: Path) -> tuple[Particles, Array]:
    real = dict.fromkeys((*_VERTEX, *_MOMENTUM, "q"), np.float32)
    whole = dict.fromkeys((*_BARCODE, "particle_type"), np.int64)
    table = EventFile(prefix, "particles_simulated").read(real | whole)
    barcodes = stack(table, _BARCODE)
    particles = Particles(
        (barcodes[:, 0] - 1).astype(np.int32),
        table["particle_type"].astype(np.int32),
        np.rint(table["q"]).astype(np.int8),
        stack(table, _VERTEX).astype(np.float64) / MM_PER_CM,
        stack(table, _MOMENTUM).astype(np.float64),
        primary=barcodes[:, 3] == 0,
    )
    return particles, barcodes


def _packed(barcodes: Array) -> Array:
    """One number for each barcode, int64[n]: 12, 12, 20, 8 and 12 bits."""
    packed = np.zeros(len(barcodes), np.int64)
    for part, bits in zip(barcodes.T, (12, 12, 20, 8, 12), strict=True):
        packed = packed << bits | part
    return packed
