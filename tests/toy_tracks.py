"""Particles through the barrel of GenericDetector, with measured points, for tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from trackserve.device.compile import kernel
from trackserve.edm import GEV_PER_T_MM, Edges, Helices, Ragged, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.trackers.exatrkx.architecture import Cuts, Features, Finish
from trackserve.trackers.exatrkx.features import outward_order, scale_points
from trackserve.trackers.exatrkx.finish import finish
from trackserve.trackers.exatrkx.helix import Helix, frame_at, path_to_radius
from trackserve.trackers.exatrkx.surfaces import Surfaces, surfaces_of

SURFACES = surfaces_of("generic", "test")
SCALES = Features((1000.0, math.pi, 1000.0))
RULES = Finish(2.0)
RADII = np.array([32.0, 72.0, 116.0, 172.0, 260.0, 360.0, 500.0, 660.0, 820.0, 1020.0])
SIGMAS = np.array([0.0144] * 4 + [0.346] * 4 + [3.12] * 2)
ACROSS = np.array([0.0144] * 4 + [0.0231] * 4 + [0.0346] * 2)


class Toy:
    """Particles of a few GeV from near the beam through the barrel, with measured points.

    Attributes:
        particles: float64[n, 5], d0, phi, k, z0, t.
        points: float32[n * 10, 3], particle by particle, from the inside out.
    """

    def __init__(self, n: int, seed: int, least_pt: float = 3.0) -> None:
        random = np.random.default_rng(seed)
        pt = random.uniform(least_pt, 10, n)
        k = random.choice([-1, 1], n) * GEV_PER_T_MM * RULES.field / pt
        phi, t = random.uniform(-np.pi, np.pi, n), random.uniform(-0.8, 0.8, n)
        d0, z0 = random.normal(0, 0.05, n), random.normal(0, 40, n)
        self.particles = np.stack([d0, phi, k, z0, t], axis=1)
        places = np.array([_places(one, RADII) for one in self.particles]).reshape(n, len(RADII), 3)
        aside = random.normal(0, ACROSS, places.shape[:2])
        up = random.normal(0, SIGMAS, places.shape[:2])
        azimuth = np.arctan2(places[..., 1], places[..., 0]) + aside / RADII
        x, y = RADII * np.cos(azimuth), RADII * np.sin(azimuth)
        points = np.stack([x, y, places[..., 2] + up], axis=-1)
        self.points = points.reshape(-1, 3).astype(np.float32)

    def piece(self, particle: int, *layers: int) -> Array:
        return np.array([particle * len(RADII) + layer for layer in layers], np.int32)

    def scaled(self) -> Array:
        return scale_points(self.points, SCALES)

    def rank(self) -> Array:
        rank = np.empty(len(self.points), np.int32)
        rank[outward_order(self.scaled(), SCALES)] = np.arange(len(self.points))
        return rank

    def finish(
        self,
        pieces: list[Array],
        least: int = 5,
        rules: Finish = RULES,
        edges: Edges | None = None,
        surfaces: Surfaces = SURFACES,
        look: Callable[[], None] = lambda: None,
    ) -> tuple[TrackCandidates, Helices]:
        score = np.linspace(0.5, 1, len(pieces)).astype(np.float32)
        given = TrackCandidates(Ragged.of(pieces, np.int32), score)
        edges = Edges.empty() if edges is None else edges
        cuts = Cuts(1.0, 0.0, 0.0, least, "paths", rules)
        places = self.scaled(), self.rank(), SCALES
        found = finish(given, edges, *places, surfaces, cuts, 10_000, look)
        return found.candidates, found.helices


@kernel
def _places(particle: Array, radii: Array) -> Array:
    helix = Helix(particle[0], particle[1], particle[2], particle[3], particle[4])
    found = np.empty((len(radii), 3))
    for i in range(len(radii)):
        frame = frame_at(helix, path_to_radius(helix, radii[i]))
        found[i, 0], found[i, 1], found[i, 2] = frame.x, frame.y, frame.z
    return found
