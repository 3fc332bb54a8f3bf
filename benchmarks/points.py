"""Events of a tracker for benchmarks: read, packed for a machine without Parquet, or random.

usage: python -m benchmarks.points EVENTS FILE.npz [N]

EVENTS is a directory of space points. Its first N events (3) are written to FILE.npz.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from trackserve.edm import PointsEvent, SpacePoints
from trackserve.edm.columns import Array
from trackserve.edm.points import GENERIC_PIXELS
from trackserve.trackers.exatrkx.model import Model

RANDOM = "random"
"""The word for random events in place of a path."""
N_POINTS = 140_000
"""Number of points of a random event: that of pile-up 200."""
BARREL = ((32, 72, 116, 172), 500), ((260, 360, 500, 660), 1080), ((820, 1020), 1080)
"""Radii, and half of the length, mm: much like ACTS' GenericDetector."""
DISKS = (600, 700, 820, 960, 1120, 1300, 1500), 30, 176
"""z, least and largest radius."""
OUTER_DISKS = (1250, 1500, 1800, 2150, 2550, 2950), 240, 1000
PIXELS = 200
"""mm; points nearer to the z axis are in the pixels."""
FIELD = 2.0
"""T."""


def random_event(n_points: int, event: int) -> PointsEvent:
    """An event of ``n_points``: helices that start along the beam, and a twentieth of noise."""
    random = np.random.default_rng(event)
    n = n_points // 8
    p_t = 0.3 + random.exponential(0.5, n)
    turn = random.choice([-1, 1], n) * 0.3e-3 * FIELD / p_t / 2
    phi, slope = random.uniform(-math.pi, math.pi, n), np.sinh(random.uniform(-3, 3, n))
    z0 = random.normal(0, 50, n)

    def at(angle: Array, rows: Array) -> Array:
        """Positions after the helices ``rows`` have turned by twice ``angle`` since the beam."""
        r = np.sin(np.abs(angle)) / np.abs(turn[rows])
        along = phi[rows] + angle
        z = z0[rows] + slope[rows] * np.abs(angle / turn[rows])
        return np.stack([r * np.cos(along), r * np.sin(along), z], 1)

    layers = []
    for radii, half in BARREL:
        for radius in radii:
            rows = np.flatnonzero(radius * np.abs(turn) < 1)
            points = at(np.arcsin(radius * turn[rows]), rows)
            layers.append(points[np.abs(points[:, 2]) < half])
    for places, least, most in (DISKS, OUTER_DISKS):
        for z in (*places, *(-z for z in places)):
            length = (z - z0) / slope
            rows = np.flatnonzero((length > 0) & (length * np.abs(turn) < math.pi / 2))
            points = at(length[rows] * turn[rows], rows)
            r = np.hypot(points[:, 0], points[:, 1])
            layers.append(points[(r > least) & (r < most)])
    points = np.concatenate(layers)
    points += random.normal(0, 0.02, points.shape)
    noise = points[random.permutation(len(points))[: len(points) // 20]]
    angle = random.uniform(-math.pi, math.pi, len(noise))
    r = np.hypot(noise[:, 0], noise[:, 1])
    noise = np.stack([r * np.cos(angle), r * np.sin(angle), noise[:, 2]], 1)
    points = random.permutation(np.concatenate([points, noise]))[:n_points]
    return PointsEvent(SpacePoints(points.astype(np.float32)), event)


def read_points(path: str, n: int) -> list[PointsEvent]:
    """The first ``n`` events of a directory of space points or a packed file."""
    if path == RANDOM:
        return [random_event(N_POINTS, e) for e in range(n)]
    if not path.endswith(".npz"):
        from trackserve.io import open_points

        return list(open_points(path)[:n])
    with np.load(path) as arrays:
        parts = np.split(arrays["position"], arrays["start"][1:-1])
    return [PointsEvent(SpacePoints(part), e) for e, part in enumerate(parts[:n])]


def events_for(model: Model, events: Sequence[PointsEvent]) -> list[PointsEvent]:
    """The events as a model takes them: of GenericDetector, or of its pixels alone."""
    if model.description.detector != GENERIC_PIXELS:
        return list(events)
    positions = [event.points.position for event in events]
    return [
        replace(event, points=SpacePoints(xyz[np.hypot(xyz[:, 0], xyz[:, 1]) < PIXELS]))
        for event, xyz in zip(events, positions, strict=True)
    ]


def pack(events: list[PointsEvent], path: str) -> None:
    points = [event.points.position for event in events]
    start = np.cumsum([0, *(len(part) for part in points)])
    np.savez_compressed(path, position=np.concatenate(points), start=start)


def describe(path: str, events: list[PointsEvent]) -> str:
    sizes = [len(event.points) for event in events]
    name = "random helices" if path == RANDOM else Path(path).name
    return f"{name}: {len(events)} events of {min(sizes)} to {max(sizes)} points"


def main() -> None:
    parser = argparse.ArgumentParser(description="Pack events of space points.")
    parser.add_argument("events", metavar="EVENTS")
    parser.add_argument("file", metavar="FILE.npz")
    parser.add_argument("n", metavar="N", type=int, nargs="?", default=3)
    options = parser.parse_args()
    pack(read_points(options.events, options.n), options.file)


if __name__ == "__main__":
    main()
