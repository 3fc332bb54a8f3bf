"""Finishing of the learned tracker: pieces become tracks with a helix."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from exatrkx_models import random_event, small_model

from trackserve import ExatrkxPipeline
from trackserve.device.compile import kernel
from trackserve.edm import Helices, Ragged, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.errors import ModelError
from trackserve.trackers.exatrkx.architecture import Cuts, Features, Finish
from trackserve.trackers.exatrkx.features import outward_order, scale_points
from trackserve.trackers.exatrkx.finish import PT_PER_RADIUS, finish
from trackserve.trackers.exatrkx.helix import (
    Helix,
    State,
    frame_at,
    measured,
    moved,
    moved_helix,
    path_to,
    path_to_radius,
    radius_at,
    through,
    unknown,
)
from trackserve.trackers.exatrkx.model import load_model, read_description, save_model
from trackserve.trackers.exatrkx.surfaces import surfaces_of

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
        k = random.choice([-1, 1], n) * PT_PER_RADIUS * RULES.field / pt
        phi, t = random.uniform(-np.pi, np.pi, n), random.uniform(-0.8, 0.8, n)
        d0, z0 = random.normal(0, 0.05, n), random.normal(0, 40, n)
        self.particles = np.stack([d0, phi, k, z0, t], axis=1)
        places = np.array([_places(particle, RADII) for particle in self.particles])
        aside = random.normal(0, ACROSS, places.shape[:2])
        up = random.normal(0, SIGMAS, places.shape[:2])
        azimuth = np.arctan2(places[..., 1], places[..., 0]) + aside / RADII
        x, y = RADII * np.cos(azimuth), RADII * np.sin(azimuth)
        points = np.stack([x, y, places[..., 2] + up], axis=-1)
        self.points = points.reshape(-1, 3).astype(np.float32)

    def piece(self, particle: int, *layers: int) -> Array:
        return np.array([particle * len(RADII) + layer for layer in layers], np.int32)

    def finish(self, pieces: list[Array], least: int = 5) -> tuple[TrackCandidates, Helices]:
        scaled = scale_points(self.points, SCALES)
        rank = np.empty(len(scaled), np.int32)
        rank[outward_order(scaled, SCALES)] = np.arange(len(scaled))
        score = np.linspace(0.5, 1, len(pieces)).astype(np.float32)
        given = TrackCandidates(Ragged.of(pieces, np.int32), score)
        return finish(given, scaled, rank, SCALES, SURFACES, RULES, least)


@kernel
def _places(particle: Array, radii: Array) -> Array:
    helix = Helix(particle[0], particle[1], particle[2], particle[3], particle[4])
    found = np.empty((len(radii), 3))
    for i in range(len(radii)):
        frame = frame_at(helix, path_to_radius(helix, radii[i]))
        found[i, 0], found[i, 1], found[i, 2] = frame.x, frame.y, frame.z
    return found


@pytest.fixture(scope="module")
def helices() -> Array:
    """Helices as rows, with paths along them, and deviations u, a, c."""
    low = [-3, -3.1, -1.5e-3, -100, -2, 1, -20, -0.2, -1e-3, -1e-6]
    high = [3, 3.1, 1.5e-3, 100, 2, 900, 20, 0.2, 1e-3, 1e-6]
    rows = np.random.default_rng(1).uniform(low, high, (400, 10))
    rows[:50, 2] = 0  # straight
    rows[50:60, 2] *= 1e-6
    return rows


def test_a_place_on_a_helix_is_found_again(helices: Array) -> None:
    r, path, on, beside = _round_trip(helices).transpose(1, 0, 2)
    s, step = helices[:, 5], helices[:, 6]
    np.testing.assert_allclose(r[:, 0], r[:, 1], atol=1e-6)
    np.testing.assert_allclose(path[:, 0], s, atol=1e-5)
    np.testing.assert_allclose(on, np.stack([step, 0 * s, 0 * s], 1), atol=2e-4)
    np.testing.assert_allclose(beside, np.stack([step, 0 * s + 0.5, 0 * s + 2], 1), atol=2e-4)


def test_a_circle_through_three_points_is_the_helix(helices: Array) -> None:
    found, true = _again(helices), helices[:, :3]
    np.testing.assert_allclose(found[:, 0], true[:, 0], atol=1e-5)
    np.testing.assert_allclose(np.cos(found[:, 1] - true[:, 1]), 1, atol=1e-9)
    np.testing.assert_allclose(found[:, 2], true[:, 2], atol=1e-10)


def test_a_deviation_moves_as_the_helix_that_has_it(helices: Array) -> None:
    true, moved_on = _deviated(helices).transpose(1, 0, 2)
    np.testing.assert_allclose(true[:, 0], moved_on[:, 0], atol=5e-3)
    # a displaced circle is longer, which the state leaves out: the next round sees it
    _, _, k, _, t, _, _, u, a, _ = helices.T
    longer = np.abs(k * t) * 500 * (np.abs(u) + np.abs(a) * 500)
    assert (np.abs(true[:, 1] - moved_on[:, 1]) < 5e-3 + longer).all()


@kernel
def _round_trip(rows: Array) -> Array:
    found = np.zeros((len(rows), 4, 3))
    for i in range(len(rows)):
        helix = Helix(rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4])
        s = rows[i, 5]
        frame, other = frame_at(helix, s), frame_at(helix, s + rows[i, 6])
        found[i, 0, 0] = math.sqrt(frame.x**2 + frame.y**2)
        found[i, 0, 1] = radius_at(helix, s)
        found[i, 1, 0] = path_to(helix, frame.x, frame.y)
        for j in range(2):  # on the helix, and to the left of it
            x, y = other.x - 0.5 * j * other.sin, other.y + 0.5 * j * other.cos
            m = measured(frame, x, y, other.z + 2 * j)
            found[i, 2 + j, 0], found[i, 2 + j, 1], found[i, 2 + j, 2] = m.along, m.left, m.up
    return found


@kernel
def _again(rows: Array) -> Array:
    found = np.empty((len(rows), 3))
    for i in range(len(rows)):
        helix = Helix(rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4])
        a, b, c = frame_at(helix, 40.0), frame_at(helix, 300.0), frame_at(helix, 800.0)
        again = through(a.x, a.y, b.x, b.y, c.x, c.y)
        found[i, 0], found[i, 1], found[i, 2] = again.d0, again.phi, again.k
    return found


@kernel
def _deviated(rows: Array) -> Array:
    found = np.empty((len(rows), 2, 2))
    for i in range(len(rows)):
        helix = Helix(rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3], rows[i, 4])
        p = unknown(1.0)
        state = State(
            *(rows[i, 7], rows[i, 8], rows[i, 9], p.uu, p.ua, p.uc, p.aa, p.ac, p.cc),
            *(0.3, 1e-3, p.vv, p.vb, p.bb),
        )
        other = moved_helix(helix, state)
        frame = frame_at(helix, 500.0)
        there = frame_at(other, path_to(other, frame.x, frame.y))
        m = measured(frame, there.x, there.y, there.z)
        for _ in range(10):
            state = moved(state, 50.0, helix.k)
        found[i, 0, 0], found[i, 0, 1] = m.left, m.up
        found[i, 1, 0], found[i, 1, 1] = state.u, state.v
    return found


def test_short_pieces_become_whole_tracks_with_their_helices() -> None:
    toy = Toy(40, 1)
    pieces = [toy.piece(i, *((0, 1, 2) if i % 2 else (5, 6, 7))) for i in range(40)]
    candidates, found = toy.finish(pieces)
    assert [row.tolist() for row in candidates.points] == [
        list(range(10 * i, 10 * i + 10)) for i in range(40)
    ]
    d0, phi, k, z0, t = toy.particles.T
    true = np.stack([d0, z0, phi, np.arctan2(1, t), k / np.sqrt(1 + t * t) / 5.99584916e-4], 1)
    error = np.sqrt(found.covariance[:, (0, 5, 9, 12, 14)])
    pulls = (found.state - true) / error
    assert (found.charge == np.sign(k)).all()
    assert np.abs(found.pt * np.abs(k) / 5.99584916e-4 - 1).max() < 0.1
    assert np.abs(pulls).max() < 6
    assert (pulls.std(axis=0) < 1.4).all()
    assert (found.ndof == 15).all()
    assert (found.holes == 0).all()


def test_pieces_of_one_particle_are_joined() -> None:
    toy = Toy(3, 2)
    pieces = [toy.piece(1, 0, 1, 2), toy.piece(1, 4, 5, 6), toy.piece(1, 7, 8, 9)]
    candidates, found = toy.finish(pieces)
    assert [row.tolist() for row in candidates.points] == [list(range(10, 20))]
    assert len(found) == 1


def test_foreign_points_are_dropped_and_go_to_their_own_track() -> None:
    toy = Toy(12, 3)
    pieces = [toy.piece(i, 0, 1, 2, 3, 5, 6, 7) for i in range(12)]
    for i in range(0, 12, 2):  # neighbours exchange a point
        pieces[i][4], pieces[i + 1][4] = pieces[i + 1][4], pieces[i][4]
    candidates, _ = toy.finish(pieces)
    assert [row.tolist() for row in candidates.points] == [
        list(range(10 * i, 10 * i + 10)) for i in range(12)
    ]


def test_points_that_are_no_track_are_no_candidate() -> None:
    toy = Toy(30, 4)
    mixed = [
        np.array([10 * i + i % 4, 10 * (i + 1) + 5, 10 * (i + 2) + 7], "i4") for i in range(25)
    ]
    candidates, _ = toy.finish(mixed)
    assert len(candidates) < 3
    assert toy.finish([])[0] == TrackCandidates.empty()
    assert toy.finish([])[1] == Helices.empty()


def test_no_point_is_on_two_tracks_and_too_short_ones_are_no_candidates() -> None:
    toy = Toy(60, 5, least_pt=0.6)
    pieces = [toy.piece(i, 0, 1, 2) for i in range(60)] + [toy.piece(i, 6, 7, 8) for i in range(60)]
    for least in (5, 9):
        candidates, found = toy.finish(pieces, least)
        points = candidates.points
        assert len(np.unique(points.values)) == len(points.values)
        assert (points.counts >= least).all()
        assert len(found) == len(candidates) > 50
        smallest = [row.min() for row in points]
        assert smallest == sorted(smallest)


def test_a_model_says_whether_its_candidates_are_finished(tmp_path: Path) -> None:
    cuts = Cuts(0.1, 0.45, 0.4, 4, "paths", Finish(2.0))
    model = small_model(cuts=cuts)
    save_model(model, tmp_path / "model")
    assert read_description(tmp_path / "model" / "model.json").cuts == cuts
    event = random_event(400, 3)
    result = ExatrkxPipeline(load_model(tmp_path / "model")).reconstruct(event)
    assert len(result.helices) == len(result.candidates) == result.counts.candidates
    assert (result.candidates.points.counts >= 4).all()
    plain = small_model(cuts=dataclasses.replace(cuts, finish=None))
    result = ExatrkxPipeline(plain).reconstruct(event)
    assert len(result.helices) == result.counts.pieces == 0
    assert len(result.candidates) > 0


def test_candidates_of_an_unknown_detector_are_not_finished() -> None:
    cuts = Cuts(0.1, 0.45, 0.4, 4, "paths", Finish(2.0))
    with pytest.raises(ModelError, match="layers of its detector"):
        ExatrkxPipeline(small_model(detector="mine", cuts=cuts))
    with pytest.raises(ModelError, match=r"finish\.field"):
        small_model(cuts=dataclasses.replace(cuts, finish=Finish(0.0)))
