"""TrackML events: reading them, and the challenge's score."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.csv
import pytest
from command_line import says
from hypothesis import given
from hypothesis import strategies as st

from trackserve import ExatrkxPipeline
from trackserve.edm import (
    Particles,
    PointsEvent,
    PointsTruth,
    TrackCandidates,
    TruePoints,
)
from trackserve.edm.columns import Ragged
from trackserve.errors import EventError, InputError
from trackserve.io import open_points
from trackserve.io.trackml import TrackmlModules, read_cells, read_detectors
from trackserve.physics.points.metrics import match_points_events, summarize_points
from trackserve.physics.points.trackml_score import trackml_score
from trackserve.simulation.points.weights import score_weights

MINI = Path(__file__).parent / "data" / "trackml-mini"
PREFIX = "event000000001"


@pytest.fixture(scope="module")
def event() -> PointsEvent:
    return open_points(MINI)[0]


@pytest.fixture(scope="module")
def truth(event: PointsEvent) -> PointsTruth:
    assert event.truth is not None
    return event.truth


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A directory with the event's files, unpacked."""
    for path in MINI.glob("event*.csv.gz"):
        (tmp_path / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    return tmp_path


@pytest.mark.parametrize("model", ["default", "large"])
def test_shipped_models_find_the_tracks_of_a_real_event(event: PointsEvent, model: str) -> None:
    """They were not trained on any."""
    result = ExatrkxPipeline.from_model(model).reconstruct(event)
    summary = summarize_points(match_points_events([event], [result]))
    assert summary.efficiency_eta_3.double.total == 39
    assert summary.efficiency_eta_3.double.passed >= 38
    assert summary.fake_rate.single.value < 0.02


def replace(path: Path, old: str, new: str, count: int = 1) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))


def test_an_event_is_what_its_files_say(event: PointsEvent, truth: PointsTruth) -> None:
    assert event.event == 1
    assert len(event.points) == len(truth.points) == 5527
    assert len(truth.particles) == 548
    np.testing.assert_array_equal(
        event.points.position[0], np.array([-76.566, -11.3673, -1502.5], np.float32)
    )
    assert (truth.points.particle < 0).sum() == 829
    np.testing.assert_array_equal(np.unique(truth.points.volume), [7, 8, 9, 12, 13, 14, 16, 17, 18])
    first = truth.particles.take(slice(0, 1))
    np.testing.assert_array_equal(
        first.momentum[0], np.array([-0.0175291, -0.240424, -0.128744], np.float32)
    )
    assert first.charge[0] == -1
    assert first.pdg[0] == -211
    assert first.primary[0]
    made = truth.particles.take(~truth.particles.primary)
    assert len(made) == 118
    assert np.hypot(*made.position[:, :2].T).min() > 1.8, "in the material"


def test_particles_go_where_their_points_are(event: PointsEvent, truth: PointsTruth) -> None:
    """A hard primary's first points lie along its momentum; rows in a wrong order would not."""
    pt = np.hypot(*truth.particles.momentum[:, :2].T)
    chosen = np.flatnonzero((pt > 2) & truth.particles.primary)
    chosen = chosen[np.isin(chosen, truth.points.particle)]
    assert len(chosen) > 10
    for particle in chosen:
        start = 10 * truth.particles.position[particle]
        offset = event.points.position[truth.points.particle == particle] - start
        path = np.linalg.norm(offset, axis=1)
        direction = offset[path.argmin()] / path.min()
        momentum = truth.particles.momentum[particle]
        assert direction @ momentum > 0.99 * np.linalg.norm(momentum)


def test_plain_files_and_a_prefix_are_read_too(event: PointsEvent, copy: Path) -> None:
    shutil.copy(copy / f"{PREFIX}-hits.csv", copy / "event000000042-hits.csv")
    both = open_points(copy)
    assert [one.event for one in both] == [1, 42]
    assert [one.event for one in both[1:]] == [42]
    assert both[-1].truth is None
    one = open_points(copy / PREFIX)
    assert len(one) == 1
    assert one[0].points == event.points
    assert one[0].truth is not None
    assert event.truth is not None
    assert one[0].truth.points == event.truth.points
    assert one[0].truth.particles == event.truth.particles


def with_columns(path: Path, *names: str) -> None:
    """Leave only these columns in a file."""
    table = pyarrow.csv.read_csv(path)
    pyarrow.csv.write_csv(table.select(names), path)


def test_columns_that_are_not_used_may_lack(event: PointsEvent, copy: Path) -> None:
    hits = copy / f"{PREFIX}-hits.csv"
    with_columns(hits, "z", "layer_id", "y", "x", "volume_id", "hit_id")
    found = open_points(copy)[0]
    assert found.points == event.points
    assert found.truth is not None
    assert event.truth is not None
    assert not found.truth.points.module.any()
    for name in ("particle", "volume", "layer", "weight"):
        expected = getattr(event.truth.points, name)
        np.testing.assert_array_equal(getattr(found.truth.points, name), expected)
    with_columns(hits, "x", "y", "z")
    with pytest.raises(EventError, match=r"column is missing .*hits\.csv, column hit_id"):
        open_points(copy)[0]
    (copy / f"{PREFIX}-truth.csv").unlink()
    assert open_points(copy)[0].points == event.points


def test_truth_may_be_in_another_order(event: PointsEvent, copy: Path) -> None:
    for kind in ("truth", "particles"):
        path = copy / f"{PREFIX}-{kind}.csv"
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([head, *reversed(rows)]))
    shuffled = open_points(copy)[0].truth
    assert shuffled is not None
    assert event.truth is not None
    np.testing.assert_array_equal(shuffled.points.weight, event.truth.points.weight)
    noise = event.truth.points.particle < 0
    np.testing.assert_array_equal(
        shuffled.points.particle, np.where(noise, -1, 547 - event.truth.points.particle)
    )
    assert shuffled.particles == event.truth.particles.take(slice(None, None, -1))


def places(part: TruePoints | TrackmlModules) -> list[tuple[int, ...]]:
    return list(zip(*(c.tolist() for c in (part.volume, part.layer, part.module)), strict=True))


def test_cells_and_detectors_are_read(event: PointsEvent, truth: PointsTruth) -> None:
    cells = read_cells(MINI / PREFIX)
    assert len(cells) == 18564
    np.testing.assert_array_equal(cells.channel[:2], [[274, 839], [121, 1]])
    np.testing.assert_array_equal(cells.point[:2], [0, 1])
    modules = read_detectors(MINI / "detectors.csv.gz")
    assert len(modules) == 18728
    row = {key: i for i, key in enumerate(places(modules))}
    module = np.array([row[key] for key in places(truth.points)])
    offset = event.points.position - modules.centre[module]
    local = np.einsum("nji,nj->ni", modules.rotation[module], offset)
    assert np.abs(local[:, 2]).max() < 0.01, "points lie on their modules"
    width = modules.half_width[module].max(axis=1)
    assert (np.abs(local[:, 0]) < width + 0.1).all()
    assert (np.abs(local[:, 1]) < modules.half_length[module] + 0.1).all()


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("hits", "hit_id,x,y,z", "hit_id,x,y,w", "column is missing .*hits.csv, column z"),
        ("hits", "-76.566", "far", "cannot be read: .*far.*hits.csv"),
        ("hits", "-76.566", "", "values are missing .*hits.csv, column x"),
        ("hits", "-76.566", "nan", "values are missing .*hits.csv, column x"),
        ("hits", "-76.566", "-inf", "value is not finite .*hits.csv, column x, row 0"),
        ("hits", "\n9,", "\n6,", "identifier stands there twice .*found 6"),
        ("hits", "7,2,1\n", "7,2,100000000000\n", "cannot be read: .*100000000000"),
        (
            "truth",
            "\n9,",
            "\n10,",
            "identifier does not exist .*truth.csv, column hit_id, found 10",
        ),
        (
            "truth",
            "27028813309280256",
            "5",
            "column particle_id, found 5, bound one of .*particles",
        ),
        ("truth", "weight", "mass", "column is missing .*truth.csv, column weight"),
        ("particles", ",q,", ",charge,", "column is missing .*particles.csv, column q"),
    ],
)
def test_damaged_files_are_named(kind: str, old: str, new: str, message: str, copy: Path) -> None:
    replace(copy / f"{PREFIX}-{kind}.csv", old, new)
    with pytest.raises(EventError, match=message) as error:
        open_points(copy)[0]
    assert error.value.event == 1


def test_the_pixels_are_a_detector_of_their_own(
    event: PointsEvent, truth: PointsTruth, tmp_path: Path
) -> None:
    folder = str(tmp_path / "pixels")
    says("pixels", MINI, "-o", folder)
    events = open_points(folder)
    assert (len(events), events.detector) == (1, "generic-pixels")
    (found,) = events
    inside = np.isin(truth.points.volume, (7, 8, 9))
    assert 0 < inside.sum() < len(event.points)
    np.testing.assert_array_equal(found.points.position, event.points.position[inside])
    assert found.truth is not None
    assert found.truth.points == truth.points.take(inside)
    assert len(found.truth.particles) == len(truth.particles)
    assert "write elsewhere" in says("pixels", folder, "-o", folder, status=1)
    assert "models ['pixels']" in says("validate", "exatrkx", folder, status=1)
    assert "generic-pixels" in says("pixels", folder, "-o", tmp_path / "again", status=1)


def test_missing_files_are_named(copy: Path) -> None:
    (copy / f"{PREFIX}-particles.csv").unlink()
    with pytest.raises(EventError, match=r"file is missing .*particles\.csv"):
        open_points(copy)[0]
    (copy / f"{PREFIX}-hits.csv").unlink()
    with pytest.raises(InputError, match="no events of a tracker here"):
        open_points(copy)
    with pytest.raises(InputError, match="file is missing"):
        read_detectors(copy / "detectors.csv")


def test_a_truth_without_some_hits_is_refused(copy: Path) -> None:
    path = copy / f"{PREFIX}-truth.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(EventError, match=r"not one row for each hit .*found 5526, bound 5527"):
        open_points(copy)[0]


def test_a_cut_off_archive_is_refused(tmp_path: Path) -> None:
    for path in MINI.glob("event*"):
        (tmp_path / path.name).write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EventError, match="cannot be read"):
        open_points(tmp_path)[0]


def test_a_perfect_labelling_scores_one(truth: PointsTruth) -> None:
    points = truth.points
    assert trackml_score(points.particle, points) == pytest.approx(1)
    everything_once = np.where(points.particle < 0, 10_000 + np.arange(len(points)), 0)
    everything_once += np.maximum(points.particle, 0)
    assert trackml_score(everything_once, points) == pytest.approx(1)
    assert trackml_score(np.zeros(len(points), np.int64), points) == 0
    assert trackml_score(np.arange(len(points)), points) < 1e-3
    assert trackml_score(np.full(len(points), -1), points) == 0


def test_candidates_score_as_their_labels(truth: PointsTruth) -> None:
    labels = truth.points.particle
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    lengths = np.bincount(labels[order])
    lengths = lengths[lengths > 0]
    candidates = TrackCandidates(
        Ragged(np.concatenate([[0], np.cumsum(lengths)]), order.astype(np.int32)),
        np.ones(len(lengths), np.float32),
    )
    assert trackml_score(candidates, truth.points) == pytest.approx(1)
    twice = Ragged(np.array([0, 1, 2]), np.array([3, 3], np.int32))
    again = TrackCandidates(twice, candidates.score[:2])
    with pytest.raises(InputError, match="on two candidates"):
        trackml_score(again, truth.points)
    with pytest.raises(InputError, match="not one label for each point"):
        trackml_score(labels[:-1], truth.points)


def points_of(particle: list[int], weight: list[float]) -> TruePoints:
    n = len(particle)
    place = np.zeros(n, np.int16)
    return TruePoints(
        np.array(particle, np.int32), place, place, place.astype(np.int32), np.array(weight)
    )


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([0, 0, 0, 1, 2, 2], 0.3 + 0.1),  # 3 of 4, and both of the second
        ([0, 0, 1, 1, 2, 2], 0.1),  # exactly half of the first is not enough
        ([0, 0, 0, 0, 0, 0], 0.6),  # 4 of 6
        ([0, 0, 0, 1, 0, 0], 0.3),  # 3 of 5
        ([-1, 5, 5, 5, 5, 5], 0.5),  # the particle's other three, by 3 of 5
        ([0, 1, 2, 3, 4, 5], 0.0),
    ],
)
def test_both_majorities_are_needed(tracks: list[int], expected: float) -> None:
    truth = points_of([0, 0, 0, 0, 1, 1], [0.1, 0.1, 0.1, 0.3, 0.05, 0.05])
    assert trackml_score(np.array(tracks), truth) == pytest.approx(expected / 0.7)


@given(
    st.lists(
        st.tuples(st.integers(-1, 4), st.integers(-1, 5), st.floats(0, 1)), min_size=1, max_size=40
    ),
    st.randoms(use_true_random=False),
)
def test_the_score_is_that_of_a_plain_count(
    rows: list[tuple[int, int, float]], random: Random
) -> None:
    tracks, particle, weight = (list(column) for column in zip(*rows, strict=True))
    score = trackml_score(np.array(tracks), points_of(particle, weight))
    assert score == pytest.approx(plain_score(tracks, particle, weight), abs=1e-9)
    shuffled = list(rows)
    random.shuffle(shuffled)
    tracks, particle, weight = (list(column) for column in zip(*shuffled, strict=True))
    assert trackml_score(np.array(tracks), points_of(particle, weight)) == pytest.approx(score)


def plain_score(tracks: list[int], particle: list[int], weight: list[float]) -> float:
    score = 0.0
    for track in set(tracks) - {-1}:
        mine = [i for i, number in enumerate(tracks) if number == track]
        for owner in set(particle) - {-1}:
            shared = [i for i in mine if particle[i] == owner]
            if 2 * len(shared) > len(mine) and 2 * len(shared) > particle.count(owner):
                score += sum(weight[i] for i in shared)
    return score / sum(weight) if sum(weight) > 0 else 0.0


def test_weights_are_those_of_the_challenge(truth: PointsTruth) -> None:
    """Its library orders points by their distance in z from where the particle starts."""
    table = pyarrow.csv.read_csv(MINI / f"{PREFIX}-truth.csv.gz")
    points, particles = truth.points, truth.particles
    distance = np.abs(table["tz"].to_numpy() - 10 * particles.position[points.particle, 2])
    weight = score_weights(points.particle, distance, particles)
    published = points.weight / points.weight.sum()
    np.testing.assert_allclose(weight, published, rtol=1e-4)


def test_weights_of_the_score() -> None:
    """Ten points of a soft particle, four of a hard one, three of a short, noise, secondary."""
    n = (10, 4, 3, 5)
    particle = np.concatenate([np.repeat(np.arange(4), n), [-1]]).astype(np.int32)
    time = np.concatenate([*(np.arange(k, dtype=np.float64) for k in n), [0.0]])
    pt = np.array([0.3, 5.0, 5.0, 5.0])
    particles = Particles(
        *(np.zeros(4, dtype) for dtype in (np.int32, np.int32, np.int8)),
        np.zeros((4, 3)),
        np.stack([pt, 0 * pt, 0 * pt], axis=1),
        np.array([True, True, True, False]),
    )
    weight = score_weights(particle, time, particles)
    assert weight.dtype == np.float32
    sums = np.bincount(particle + 1, weight)
    np.testing.assert_allclose(sums, [0, 0.2 / 1.2, 1 / 1.2, 0, 0], rtol=1e-6)
    four = weight[10:14] / weight[10:14].sum()
    published = np.interp([0, 8 / 3, 16 / 3, 8], range(9), [10, 8, 6, 5, 3, 3, 3, 5, 6])
    np.testing.assert_allclose(four, published / published.sum(), rtol=1e-6)
    order = np.random.default_rng(5).permutation(len(particle))
    np.testing.assert_array_equal(
        score_weights(particle[order], time[order], particles), weight[order]
    )
