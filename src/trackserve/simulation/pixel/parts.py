"""Events as they are simulated, one file each, and their joining to a data directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trackserve.detectors.phase1.geometry import PixelGeometry
from trackserve.edm.columns import Array
from trackserve.edm.pixel import BeamSpot
from trackserve.edm.simulation import SimEvent

from ..chain.files import complete, write_npz
from .simulator import Counts, SimulatedEvent

_TRUTH = ("particles", "hits", "vertices", "pdg", "primary")


def write_part(path: Path, event: SimulatedEvent) -> None:
    """Write an event with its truth as in :mod:`trackserve.physics.pixel.truth`."""
    arrays = _truth_rows(event.truth)
    write_npz(path, {"raw": event.raw, "counts": np.array(event.counts), **arrays})


def join_raw(path: Path, parts: Sequence[Path]) -> None:
    """Write ``raw.bin``."""
    with complete(path) as partial, partial.open("wb") as file:
        for part in parts:
            file.write(_read(part, "raw").tobytes())


def join_truth(path: Path, parts: Sequence[Path], geometry: PixelGeometry, spot: BeamSpot) -> None:
    """Write ``truth.npz``."""
    arrays = {name: np.concatenate([_read(part, name) for part in parts]) for name in _TRUTH}
    detector = {"layer": geometry.layer, "bs": spot.position().astype(np.float64)}
    write_npz(path, arrays | detector, compress=True)


def sum_counts(parts: Sequence[Path]) -> Counts:
    """Of all events."""
    return Counts(*np.sum([_read(part, "counts") for part in parts], axis=0).tolist())


def _truth_rows(event: SimEvent) -> dict[str, Array]:
    particles, hits = event.particles, event.hits
    px, py, pz = particles.momentum.T
    pt = np.hypot(px, py)

    def rows(*columns: Array) -> Array:
        number = np.full(len(columns[0]), event.number)
        return np.stack([number, *columns], axis=1).astype(np.float64)

    return {
        "particles": rows(
            *(particles.collision, pt, np.arcsinh(pz / pt), np.arctan2(py, px)),
            *(particles.charge, *particles.position.T),
        ),
        "hits": rows(hits.particle, hits.module, *hits.position[:, :2].T),
        "vertices": rows(*event.collisions.position.T),
        "pdg": particles.pdg,
        "primary": particles.primary,
    }


def _read(path: Path, name: str) -> Array:
    with np.load(path) as file:
        array: Array = file[name]
    return array
