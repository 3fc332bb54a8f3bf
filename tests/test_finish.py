"""Finishing of the learned tracker: pieces become tracks with a helix."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from exatrkx_models import random_event, small_model
from toy_tracks import RULES, Toy

from trackserve import ExatrkxPipeline
from trackserve.device.compile import kernel
from trackserve.edm import Edges, Helices, TrackCandidates
from trackserve.edm.columns import Array
from trackserve.edm.points import GENERIC_PIXELS
from trackserve.errors import ModelError
from trackserve.trackers.deadline import DeadlineOver
from trackserve.trackers.exatrkx import finish, triplets
from trackserve.trackers.exatrkx.architecture import Cuts, Finish
from trackserve.trackers.exatrkx.finish import WORST_AGAIN
from trackserve.trackers.exatrkx.helix import (
    Helix,
    State,
    frame_at,
    measured,
    moved,
    moved_helix,
    path_to,
    radius_at,
    through,
    unknown,
)
from trackserve.trackers.exatrkx.model import load_model, read_description, save_model
from trackserve.trackers.exatrkx.surfaces import surfaces_of


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


def test_points_that_no_track_has_make_pieces_of_all_edges_in_a_second_pass() -> None:
    """Each point of the second particle has a better edge to a point of the first one."""
    toy = Toy(2, 6)
    mine, other = np.arange(10, 19, dtype=np.int32), np.arange(1, 10, dtype=np.int32)
    inner = np.concatenate([mine, mine])
    outer = np.concatenate([mine + 1, other])
    edges = Edges(outer, inner, np.repeat([0.2, 0.3], 9).astype(np.float32))
    for rules, n_tracks in ((RULES, 1), (dataclasses.replace(RULES, sure_edge=0.5), 2)):
        candidates, helices = toy.finish([toy.piece(0, 2, 3, 4)], rules=rules, edges=edges)
        assert [row.tolist() for row in candidates.points] == [
            list(range(10 * i, 10 * i + 10)) for i in range(n_tracks)
        ]
        assert len(helices) == n_tracks


def test_work_in_blocks_is_the_same_and_ends_where_it_is_told_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first pass follows pieces of half of the tracks, the second one the rest's triplets."""
    toy = Toy(30, 9, least_pt=1.0)
    inner = np.concatenate([toy.piece(i, *range(9)) for i in range(15, 30)])
    edges = Edges(inner + np.int32(1), inner, np.full(len(inner), 0.1, np.float32))
    rules = dataclasses.replace(RULES, sure_edge=0.5)
    pieces = [toy.piece(i, 2, 3, 4) for i in range(15)]
    whole = toy.finish(pieces, rules=rules, edges=edges)
    assert len(whole[0]) == 30
    for module in (finish, triplets):
        monkeypatch.setattr(module, "_BLOCK", 4)
    looks: list[int] = []

    def finish_in_blocks(most: int) -> tuple[TrackCandidates, Helices]:
        looks.clear()

        def look() -> None:
            looks.append(len(looks))
            if len(looks) > most:
                raise DeadlineOver

        return toy.finish(pieces, rules=rules, edges=edges, look=look)

    assert finish_in_blocks(sys.maxsize) == whole
    n = len(looks)
    assert n > (15 + 2 * len(inner)) / 4  # each block of both passes
    for most in (0, n - 1):
        with pytest.raises(DeadlineOver):
            finish_in_blocks(most)


def test_a_triplet_bends_little_and_comes_from_near_the_beam() -> None:
    """What is no triplet has no track, though edges join its points."""
    toy = Toy(30, 9, least_pt=1.0)
    inner = np.concatenate([toy.piece(i, *range(9)) for i in range(30)])
    edges = Edges(inner + np.int32(1), inner, np.full(len(inner), 0.1, np.float32))
    rules = dataclasses.replace(RULES, sure_edge=0.5)
    assert len(toy.finish([], rules=rules, edges=edges)[0]) == 30
    straight = toy.points.copy()
    toy.points = straight + np.array([0, 0, 300], np.float32) * (np.arange(300) % 2)[:, None]
    assert len(toy.finish([], rules=rules, edges=edges)[0]) == 0
    toy.points = straight + np.array([30, 30, 0], np.float32)
    assert len(toy.finish([], rules=rules, edges=edges)[0]) < 6


def test_a_track_of_the_second_pass_takes_no_point_of_the_first_and_fits_better() -> None:
    toy = Toy(60, 7, least_pt=0.6)
    rules = dataclasses.replace(RULES, sure_edge=0.5)
    first = [toy.piece(i, 0, 1, 2) for i in range(30)]
    before, _ = toy.finish(first)
    inner = np.concatenate([toy.piece(i, *range(9)) for i in range(60)])
    edges = Edges(inner + np.int32(1), inner, np.full(len(inner), 0.1, np.float32))
    after, found = toy.finish(first, rules=rules, edges=edges)
    tracks = {tuple(row) for row in after.points}
    assert {tuple(row) for row in before.points} <= tracks
    assert len(np.unique(after.points.values)) == len(after.points.values)
    assert len(after) > 50
    new = np.array(
        [tuple(row) not in {tuple(one) for one in before.points} for row in after.points]
    )
    assert (found.chi2[new] < WORST_AGAIN * found.ndof[new]).all()


def test_in_the_pixels_alone_a_track_has_three_points_or_more() -> None:
    toy = Toy(20, 8)
    pieces = [toy.piece(i, 0, 1, 2) for i in range(20)]
    pixels = surfaces_of(GENERIC_PIXELS, "test")
    assert np.flatnonzero(~pixels.disk[: pixels.n_layers]).tolist() == [0, 1, 2, 3]
    inside = np.hypot(*toy.points[:, :2].T) < 200
    toy.points[~inside] *= 1000  # where no layer is
    candidates, found = toy.finish(pieces, least=3, surfaces=pixels)
    assert [row.tolist() for row in candidates.points] == [
        list(range(10 * i, 10 * i + 4)) for i in range(20)
    ]
    assert (found.ndof == 3).all()
    assert len(toy.finish(pieces, least=3)[0]) == 0
    toy.points += np.array([0.5, 0.5, 0], np.float32)
    assert len(toy.finish(pieces, least=3, surfaces=pixels)[0]) < 8  # of those that fly along it


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
    with pytest.raises(ModelError, match=r"finish\.sure_edge"):
        small_model(cuts=dataclasses.replace(cuts, finish=Finish(2.0, sure_edge=0.3)))
