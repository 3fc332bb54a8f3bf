"""The default configuration: honest errors, and what they buy."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from helices import fit_points, helix_points
from hypothesis import given, settings
from hypothesis import strategies as st
from last_stages import plain_shapes
from test_patatrack import tracks_at

from trackserve import PatatrackPipeline
from trackserve.edm import VARIANCES, RawEvent, Tracks
from trackserve.edm.columns import Array
from trackserve.errors import InputError
from trackserve.io import open_pixel
from trackserve.physics.pixel.metrics import PixelSummary, summarize_pixel
from trackserve.trackers.patatrack.config import DEFAULT, REFERENCE, PatatrackConfig
from trackserve.trackers.patatrack.fit import Fitted, Sizes
from trackserve.trackers.patatrack.ntuplets import MAX_CELLS, Ntuplets
from trackserve.trackers.patatrack.resolve import resolve_tracks
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.patatrack.shape import HitShapes
from trackserve.trackers.patatrack.strategies import vertices_of
from trackserve.trackers.patatrack.tracker import TRACKER


@pytest.fixture(scope="module")
def summary(sample_results: list[PatatrackResult], sample_directory: Path) -> PixelSummary:
    events = open_pixel(sample_directory)
    return summarize_pixel(TRACKER.validation().match(events, sample_results))


def test_it_is_the_default(pipeline: PatatrackPipeline) -> None:
    assert pipeline.config is DEFAULT


def test_efficiency_and_fakes(summary: PixelSummary) -> None:
    bounds = {"0.5-0.7": 0.95, "0.7-1": 0.985, "1-2": 0.99, "2-5": 0.99, "> 5": 0.97}
    low = {name: share for name, share in summary.efficiency.items() if share.value < bounds[name]}
    assert not low
    assert summary.fake_rate.value < 0.045
    assert summary.fake_rate_long.value < 0.002
    assert summary.duplicate_rate.value < 0.001


def test_errors_are_honest(summary: PixelSummary) -> None:
    assert not {name: pull for name, pull in summary.pull.items() if not 0.9 < pull.value < 1.1}


def test_vertices(summary: PixelSummary) -> None:
    assert summary.vertex_efficiency.value > 0.9
    assert summary.vertex_efficiency_isolated.value > 0.95
    assert summary.false_vertices.value < 0.003


def test_vertices_are_nearly_all_that_perfect_tracks_would_make(summary: PixelSummary) -> None:
    attainable = summary.vertex_efficiency_perfect
    assert attainable is not None
    assert 0.9 < summary.vertex_efficiency.value / attainable.value < 1.05


def scattered_track(rng: np.random.Generator, cot_theta: float, pt: float, x0: float) -> Array:
    """Points on a straight barrel track along x that scatters in each layer, smeared."""
    radii = np.array([2.9, 6.8, 10.9, 16.0])
    p = pt * np.hypot(1, cot_theta)
    x = x0 * np.hypot(1, cot_theta)
    beta = p / np.hypot(p, 0.13957)
    theta = 0.0136 / (p * beta) * np.sqrt(x) * (1 + 0.038 * np.log(x))
    points = np.zeros((4, 3))
    y = z = 0.0
    slope_y, slope_z = 0.0, cot_theta
    before = 0.0
    for i, r in enumerate(radii):
        y += slope_y * (r - before)
        z += slope_z * (r - before)
        points[i] = r, y + rng.normal(0, 1e-3), z + rng.normal(0, 2e-3)
        slope_y += rng.normal(0, theta) * np.hypot(1, cot_theta)
        slope_z += rng.normal(0, theta) * (1 + cot_theta**2)
        before = r
    return points


@pytest.mark.parametrize("n", [3, 4])
@pytest.mark.parametrize(("cot_theta", "pt"), [(0.0, 0.6), (1.5, 0.6), (0.5, 5.0)])
def test_pulls_of_scattered_tracks(n: int, cot_theta: float, pt: float) -> None:
    """A straight track of known momentum stands for one in a weak field: q/pT is 0."""
    rng = np.random.default_rng(5)
    constants = DEFAULT.fit._replace(max_pt=pt, triplet_chi2=np.inf, scattering=0.0136**2)
    truth = [0, 0, 0, cot_theta, 0]
    points = np.array([scattered_track(rng, cot_theta, pt, 0.02) for _ in range(1500)])
    fits = fit_points(points[:, :n], np.array([1, 0, 0]), constants)
    pulls = (fits.state - truth) / np.sqrt(fits.covariance[:, list(VARIANCES)])
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=0.08)
    assert np.mean(fits.chi2) == pytest.approx(2 * n - 5, rel=0.1)


def test_five_hits_are_fitted_with_all_five() -> None:
    points = helix_points(1.0, 1, 0.3, 0.0, 0.5, 0.0, 5)
    points[4, 2] += 0.5
    fits = fit_points(points[None], np.array([1, 0, 0]), DEFAULT.fit)
    assert not fits.chi2[0] < 50


def resolve(
    hits: list[list[int]], chi2: list[float], tip: list[float], shapes: HitShapes | None = None
) -> Array:
    """Quality of ntuplets with these hits, chi2 and tip, cm, in the default configuration."""
    n = len(hits)
    rows = np.full((n, 5), -1, np.int32)
    for row, some in zip(rows, hits, strict=True):
        row[: len(some)] = some
    length = np.array([len(some) for some in hits], np.int8)
    state = np.zeros((n, 5), np.float32)
    state[:, 1], state[:, 2] = tip, 1.0
    covariance = np.full((n, 15), 1e-4, np.float32)
    cells = rows[:, :MAX_CELLS].copy()
    ntuplets = Ntuplets(length, cells, rows, np.zeros(n, np.bool_))
    fitted = Fitted(ntuplets, state, covariance, np.array(chi2, np.float32), length)
    n_hits = int(rows.max()) + 1
    sizes = Sizes(n_hits=n_hits, n_cells=0)
    return resolve_tracks(fitted, shapes or plain_shapes(n_hits), sizes, DEFAULT.quality)


def test_longer_then_better_tracks_keep_their_hits() -> None:
    hits = [[0, 1, 2], [0, 1, 2, 3], [4, 5, 6], [4, 7, 8], [9, 10, 11]]
    chi2 = [0.1, 3.0, 2.0, 1.0, 99.0]
    quality = resolve(hits, chi2, [0.0] * 5)
    assert quality.tolist() == [
        Tracks.DUPLICATE,
        Tracks.LOOSE,
        Tracks.DUPLICATE,
        Tracks.LOOSE,
        Tracks.BAD,
    ]


def test_two_long_tracks_may_share_one_hit() -> None:
    hits = [[0, 1, 2, 3], [0, 4, 5, 6], [0, 1, 7, 8]]
    quality = resolve(hits, [1.0, 2.0, 3.0], [0.0] * 3)
    assert quality.tolist() == [Tracks.LOOSE, Tracks.LOOSE, Tracks.DUPLICATE]


def test_only_a_good_track_may_share_a_hit() -> None:
    hits = [[0, 1, 2, 3], [0, 4, 5, 6]]
    quality = resolve(hits, [1.0, 40.0], [0.0] * 2)
    assert quality.tolist() == [Tracks.LOOSE, Tracks.DUPLICATE]


def straight_shapes(size_x: int) -> HitShapes:
    """Hits of a track along x on barrel modules, whose charge drifts over two pitches along x."""
    shapes = plain_shapes(3)
    ordered, positions = shapes.ordered, shapes.tables.positions
    module = ordered.module
    ordered.x[:], ordered.y[:], shapes.size_x[:] = [3, 7, 11], 0, size_x
    positions.surface[module, :9] = [0, 1, 0, 0, 0, 1, 1, 0, 0]
    positions.surface[module, 11] = -2 * positions.pitch_x
    shapes.tables.layer[module] = [0, 1, 2]
    return shapes


@pytest.mark.parametrize(("pitches", "expected"), [(2.5, Tracks.LOOSE), (1, Tracks.BAD)])
def test_clusters_shorter_than_a_track_makes_them_are_not_of_it(
    pitches: float, expected: int
) -> None:
    shapes = straight_shapes(int(8 * pitches))
    assert resolve([[0, 1, 2]], [1.0], [0.0], shapes).tolist() == [expected]
    shapes = straight_shapes(-int(8 * pitches))  # at the edge of a module they may be cut
    assert resolve([[0, 1, 2]], [1.0], [0.0], shapes).tolist() == [Tracks.LOOSE]


@pytest.mark.parametrize(("end", "expected"), [(20.0, Tracks.BAD), (-20.0, Tracks.LOOSE)])
def test_a_triplet_that_crosses_a_fourth_layer_unseen_must_fit_better(
    end: float, expected: int
) -> None:
    shapes = straight_shapes(20)
    shapes.tables.spans[3] = 16.0, -20.0, end
    assert resolve([[0, 1, 2]], [13.5], [0.0], shapes).tolist() == [expected]
    assert resolve([[0, 1, 2]], [1.0], [0.0], shapes).tolist() == [Tracks.LOOSE]


def test_triplets_must_come_from_the_beam_spot_and_long_tracks_need_not() -> None:
    hits = [[0, 1, 2], [3, 4, 5, 6]]
    quality = resolve(hits, [1.0, 1.0], [0.2, 0.2])
    assert quality.tolist() == [Tracks.BAD, Tracks.LOOSE]
    quality = resolve(hits, [np.nan, 1.0], [0.0, np.nan])
    assert quality.tolist() == [Tracks.BAD, Tracks.BAD]


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), gap=st.floats(0.15, 2.0))
def test_mixture_finds_separate_collisions(seed: int, gap: float) -> None:
    rng = np.random.default_rng(seed)
    true = gap * np.arange(6) - 2
    spread = [NormalDist(0, 0.01).inv_cdf((k + 0.5) / 8) for k in range(8)]
    z = rng.permutation(np.add.outer(true, spread).ravel())
    order = rng.permutation(len(z))
    vertices, vertex = vertices_of(tracks_at(z, 0.01), DEFAULT.vertices)
    shuffled, vertex_shuffled = vertices_of(tracks_at(z[order], 0.01), DEFAULT.vertices)
    np.testing.assert_allclose(np.sort(vertices.z), true, atol=0.02)
    np.testing.assert_allclose(np.sort(shuffled.z), np.sort(vertices.z), atol=1e-6)
    np.testing.assert_allclose(shuffled.z[vertex_shuffled], vertices.z[vertex][order], atol=1e-6)
    assert (np.diff(vertices.sum_pt2) <= 0).all()


def test_mixture_separates_what_overlaps_only_if_tracks_are_precise() -> None:
    rng = np.random.default_rng(1)
    z = np.concatenate([rng.normal(0, 0.005, 10), rng.normal(0.03, 0.005, 10)])
    assert len(vertices_of(tracks_at(z, 0.005), DEFAULT.vertices)[0]) == 2
    assert len(vertices_of(tracks_at(z, 0.05), DEFAULT.vertices)[0]) == 1


def test_mixture_of_nothing_and_of_one_track() -> None:
    for n in (0, 1):
        vertices, vertex = vertices_of(tracks_at(np.zeros(n), 0.01), DEFAULT.vertices)
        assert len(vertices) == 0
        assert vertex.tolist() == [-1] * n


def test_constants_may_be_any_numbers_of_their_value(
    sample_directory: Path, sample_events: list[RawEvent]
) -> None:
    def with_connections(**values: Any) -> PatatrackConfig:
        return replace(DEFAULT, connections=DEFAULT.connections._replace(**values))

    plain = PatatrackPipeline.from_directory(sample_directory, DEFAULT)
    expected = plain.reconstruct(sample_events[0])
    for values in ({"min_pt": 0.9}, {"min_pt": np.float64(0.9), "both_charges": 1}):
        pipeline = PatatrackPipeline.from_directory(sample_directory, with_connections(**values))
        assert str(pipeline.identity) == str(plain.identity)
        assert pipeline.reconstruct(sample_events[0]) == expected
    for wrong in ({"min_pt": "0.9"}, {"both_charges": 2}, {"both_charges": math.nan}):
        with pytest.raises(InputError, match=f"section connections, constant {next(iter(wrong))}"):
            with_connections(**wrong)
    with pytest.raises(InputError, match="no such layer pairs"):
        replace(DEFAULT, layer_pairs=np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("section", "constant", "value"),
    [
        ("fit", "max_hits", -1),
        ("vertices", "step", 0.0),
        ("vertices", "step", 1e-7),
        ("vertices", "max_error", math.inf),
        ("vertices", "noise", math.nan),
        ("doublets", "max_z0", math.nan),
    ],
)
def test_constants_that_would_hang_or_crash_are_refused(
    section: str, constant: str, value: float
) -> None:
    changed = getattr(DEFAULT, section)._replace(**{constant: value})
    with pytest.raises(InputError, match=f"out of bounds.*section {section}, constant {constant}"):
        replace(DEFAULT, **{section: changed})


def test_vertices_of_one_track_are_never_split() -> None:
    with pytest.raises(InputError, match="split_min_ndof"):
        replace(REFERENCE, vertices=REFERENCE.vertices._replace(split_min_ndof=0))


@pytest.mark.parametrize(
    ("column", "value"), [("inner", 10), ("outer", -1), ("phi", -500), ("phi", 32766)]
)
def test_layer_pairs_that_are_none_are_refused(column: str, value: int) -> None:
    pairs = DEFAULT.layer_pairs.copy()
    pairs[column][3] = value
    with pytest.raises(InputError, match=f"constant {column}, row 3"):
        replace(DEFAULT, layer_pairs=pairs)
    with pytest.raises(InputError, match="too many layer pairs"):
        replace(DEFAULT, layer_pairs=np.resize(DEFAULT.layer_pairs, 256))
