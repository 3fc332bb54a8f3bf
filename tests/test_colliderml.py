"""ColliderML's tables: events from them and to them, and predictions that its scorer takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserve.edm import PointsEvent, Ragged, SpacePoints, TrackCandidates
from trackserve.errors import EventError, InputError, ModelError
from trackserve.io import open_points, predictions_of, write_colliderml
from trackserve.physics.points.fits import true_candidates
from trackserve.physics.points.matching import match_candidates
from trackserve.trackers.exatrkx.pipeline import ExatrkxPipeline

TRACKML = Path(__file__).parent / "data" / "trackml-mini"


@pytest.fixture(scope="module")
def event() -> PointsEvent:
    return open_points(TRACKML)[0]


@pytest.fixture
def written(tmp_path: Path, event: PointsEvent) -> Path:
    """Three events as ColliderML has them: a folder for each table, two files of hits."""
    assert event.truth is not None
    folder = tmp_path / "data"
    events = [PointsEvent(event.points, number, event.truth) for number in (5, 6, 9)]
    for name, some in (("a", events[:2]), ("b", events[2:])):
        write_colliderml(tmp_path / name, some)
        for table in ("tracker_hits", "particles"):
            place = folder / f"ttbar_pu0_{table}"
            place.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / f"{table}.parquet").rename(place / f"train-{name}.parquet")
    return folder


def test_events_come_back_from_the_tables(written: Path, event: PointsEvent) -> None:
    assert event.truth is not None
    events = open_points(written)
    assert [one.event for one in events] == [5, 6, 9]
    assert events.detector == "odd"
    for one in events:
        assert one.truth is not None
        assert one.points == event.points
        for name in ("particle", "volume", "layer", "module"):
            found, expected = (getattr(x.points, name) for x in (one.truth, event.truth))
            np.testing.assert_array_equal(found, expected)
        mine, theirs = one.truth.particles, event.truth.particles
        np.testing.assert_array_equal(mine.primary, theirs.primary)
        np.testing.assert_array_equal(mine.charge, theirs.charge)
        np.testing.assert_allclose(mine.momentum, theirs.momentum, rtol=1e-6)
        np.testing.assert_allclose(mine.position, theirs.position, rtol=1e-6)


def rewrite(path: Path, **columns: object) -> None:
    """Replace columns of a file; None: take it away."""
    table = pq.read_table(path)
    for name, values in columns.items():
        table = table.drop_columns([name]) if name in table.column_names else table
        table = table if values is None else table.append_column(name, pa.array(values))
    pq.write_table(table, path)


def test_hits_of_no_particle_are_noise_and_children_are_not_primary(
    tmp_path: Path, event: PointsEvent
) -> None:
    write_colliderml(tmp_path, [event])
    identifiers = pq.read_table(tmp_path / "particles.parquet")["particle_id"][0].as_py()
    n = len(event.points)
    owner = [identifiers[0]] * 3 + [10**6] * (n - 3)
    rewrite(tmp_path / "tracker_hits.parquet", particle_id=[owner])
    parents = [identifiers[1], *[-1] * (len(identifiers) - 1)]
    rewrite(tmp_path / "particles.parquet", primary=None, parent_id=[parents])
    (found,) = open_points(tmp_path)
    assert found.truth is not None
    assert found.truth.points.particle.tolist() == [0] * 3 + [-1] * (n - 3)
    assert found.truth.particles.primary.tolist() == [False] + [True] * (len(identifiers) - 1)


def test_a_damaged_event_fails_alone(written: Path) -> None:
    path = written / "ttbar_pu0_tracker_hits" / "train-a.parquet"
    x = pq.read_table(path)["x"].to_pylist()
    x[1][4] = float("nan")
    rewrite(path, x=x)
    events = open_points(written)
    assert len(events[0].points) == len(events[2].points)
    with pytest.raises(EventError, match="not finite") as caught:
        events[1]
    assert (caught.value.event, caught.value.column, caught.value.row) == (6, "x", 4)


def test_tables_that_lack_a_column_or_repeat_an_event_are_refused(written: Path) -> None:
    path = written / "ttbar_pu0_tracker_hits" / "train-b.parquet"
    rewrite(path, event_id=[5])
    with pytest.raises(InputError, match="same number"):
        open_points(written)
    rewrite(path, event_id=[9], surface_id=None)
    with pytest.raises(InputError, match="columns are missing"):
        open_points(written)


def test_a_model_of_another_detector_refuses_the_events(written: Path) -> None:
    with pytest.raises(ModelError, match="another detector"):
        ExatrkxPipeline.from_model(detector=open_points(written).detector)


lists = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=4), max_size=4)


@given(st.dictionaries(st.integers(0, 9), lists, max_size=3))
def test_predictions_have_a_row_for_each_point_of_a_candidate(
    found: dict[int, list[list[int]]],
) -> None:
    events = {
        number: TrackCandidates(
            Ragged.of([np.array(row, np.int32) for row in rows], np.int32),
            np.ones(len(rows), np.float32),
        )
        for number, rows in found.items()
    }
    back: dict[int, dict[int, list[int]]] = {}
    for row in predictions_of(events.items()).to_pylist():
        tracks = back.setdefault(row["event_id"], {})
        tracks.setdefault(row["track_id"], []).append(row["hit_id"])
    expected = {n: dict(enumerate(rows)) for n, rows in found.items() if rows}
    assert back == expected


def test_its_own_scorer_agrees_with_our_matching(tmp_path: Path, event: PointsEvent) -> None:
    """On candidates that have lost points, and on some that are nobody's."""
    metrics = pytest.importorskip("colliderml.tasks.tracking.metrics")
    assert event.truth is not None
    particle = event.truth.points.particle
    rng = np.random.default_rng(1)
    lists = [points[rng.random(len(points)) < 0.8] for points in true_candidates(event, 5).points]
    noise = [rng.choice(len(particle), 7, replace=False) for _ in range(20)]
    rows = [row.astype(np.int32) for row in (*lists, *noise) if len(row)]
    candidates = TrackCandidates(Ragged.of(rows, np.int32), np.ones(len(rows), np.float32))
    truth = pa.table(
        {
            "event_id": np.zeros(len(particle), np.int64),
            "hit_id": np.arange(len(particle)),
            "particle_id": particle,
        }
    )
    predictions = predictions_of([(0, candidates)])
    points = candidates.points
    matches = match_candidates(points.offsets, points.values, particle)
    share = matches.shared / points.counts
    assert not np.any(share == 0.5)  # theirs takes a half as a majority
    expected = np.mean(matches.particle < 0)
    assert metrics.fake_rate(predictions, truth) == pytest.approx(expected, abs=1e-6)
    good = matches.shared[matches.double].sum() / len(points.values)
    score = metrics.trackml_weighted_efficiency(predictions, truth)
    assert score == pytest.approx(good, abs=1e-6)


def test_an_event_without_truth_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no truth"):
        write_colliderml(tmp_path, [PointsEvent(SpacePoints.empty())])
    with pytest.raises(InputError, match="no events"):
        write_colliderml(tmp_path, [])
    assert not list(tmp_path.glob("*.parquet"))
