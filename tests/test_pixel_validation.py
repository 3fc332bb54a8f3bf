"""Validation against truth: perfect input must look perfect, known defects must be counted."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackserve.detectors.phase1.layout import PT_PER_RADIUS
from trackserve.edm import (
    VARIANCES,
    Collisions,
    Hits,
    Particles,
    PixelTruth,
    ReadoutErrors,
    Tracks,
    TrueHits,
    Vertices,
    momentum_of,
)
from trackserve.errors import ConditionsError, EventError, InputError
from trackserve.io import ReferenceCounts, open_pixel, read_truth
from trackserve.physics.pixel.matching import (
    HIT_WINDOW,
    match_hits,
    match_tracks,
    match_vertices,
)
from trackserve.physics.pixel.metrics import match_pixel_events, summarize_pixel
from trackserve.physics.pixel.truth import layers_crossed, perigee, reconstructable
from trackserve.physics.statistics import Fraction
from trackserve.report.page import write_report
from trackserve.report.pixel import PixelValidation
from trackserve.report.validation import tables, write_validation
from trackserve.trackers.patatrack.result import PatatrackCounts, PatatrackResult
from trackserve.trackers.patatrack.tracker import TRACKER

SIGMA = np.array([2e-3, 5e-3, 0.01, 2e-3, 0.01])
ORIGIN = np.zeros(3)


@pytest.fixture(scope="module")
def truth(sample_directory: Path) -> list[PixelTruth]:
    return read_truth(sample_directory)


@pytest.fixture(scope="module")
def perfect(truth: list[PixelTruth]) -> list[PatatrackResult]:
    rng = np.random.default_rng(1)
    return [perfect_result(number, event, rng) for number, event in enumerate(truth)]


def make_hits(truth: TrueHits, rng: np.random.Generator) -> Hits:
    columns = {name: np.zeros(len(truth), c.dtype) for name, c in Hits.schema().items()}
    columns["module"] = truth.module.astype(np.uint16)
    columns["x_local"] = (truth.x_local + rng.normal(0, 10e-4, len(truth))).astype(np.float32)
    columns["y_local"] = (truth.y_local + rng.normal(0, 20e-4, len(truth))).astype(np.float32)
    return Hits(**columns)


def make_tracks(state: np.ndarray, hits: np.ndarray) -> Tracks:
    n = len(state)
    covariance = np.zeros((n, 15), np.float32)
    covariance[:, list(VARIANCES)] = SIGMA**2
    return Tracks(
        state=state.astype(np.float32),
        covariance=covariance,
        chi2=np.ones(n, np.float32),
        ndof=np.ones(n, np.int8),
        quality=np.full(n, Tracks.LOOSE, np.uint8),
        n_hits=(hits >= 0).sum(axis=1).astype(np.int8),
        hits=hits.astype(np.int32),
        vertex=np.full(n, -1, np.int16),
    )


def make_vertices(z: np.ndarray) -> Vertices:
    n = len(z)
    error, one = np.full(n, 50e-4, np.float32), np.ones(n, np.float32)
    return Vertices(z.astype(np.float32), error, one, np.ones(n, np.int32), one)


def make_result(
    event: int, tracks: Tracks, vertices: Vertices, hits: Hits | None
) -> PatatrackResult:
    nothing = ReadoutErrors.empty()
    return PatatrackResult(event, PatatrackCounts(), tracks, vertices, nothing, hits=hits)


def perfect_result(number: int, event: PixelTruth, rng: np.random.Generator) -> PatatrackResult:
    """Result of an ideal reconstruction: every particle of three hits or more."""
    rows = np.full((len(event.particles), 5), -1)
    length = np.zeros(len(event.particles), int)
    for hit, particle in enumerate(event.hits.particle):
        if particle >= 0 and length[particle] < 5:
            rows[particle, length[particle]] = hit
            length[particle] += 1
    state = perigee(event.particles, event.beam_spot) + rng.normal(size=(len(rows), 5)) * SIGMA
    z = (event.collisions.position - event.beam_spot)[:, 2]
    vertices = z + rng.normal(0, 50e-4, len(event.collisions))
    return make_result(
        number,
        make_tracks(state[length >= 3], rows[length >= 3]),
        make_vertices(vertices),
        make_hits(event.hits, rng),
    )


def particles_of(
    pt: np.ndarray, eta: np.ndarray, phi: np.ndarray, charge: np.ndarray, start: np.ndarray
) -> Particles:
    return Particles(
        collision=np.zeros(len(pt), np.int32),
        pdg=(-13 * charge).astype(np.int32),
        charge=charge.astype(np.int8),
        position=start,
        momentum=momentum_of(pt, eta, phi),
        primary=np.ones(len(pt), bool),
    )


def two_particles() -> tuple[PixelTruth, PatatrackResult]:
    """Two particles of four hits each, on different modules of four layers; no tracks yet."""
    particle = np.repeat(np.array([0, 1], np.int32), 4)
    hits = TrueHits(particle, np.arange(8, dtype=np.int32), np.zeros(8), np.zeros(8))
    direction = np.array([1.5, 1.5]), np.array([0.2, -0.3]), np.array([1.0, -2.0])
    particles = particles_of(*direction, np.array([1, -1]), np.zeros((2, 3)))
    layer = np.tile(np.arange(4, dtype=np.int32), 2)
    event = PixelTruth(particles, hits, Collisions(np.zeros((1, 3))), ORIGIN, layer)
    reco = make_hits(hits, np.random.default_rng(2))
    return event, make_result(0, Tracks.empty(), Vertices.empty(), reco)


def with_tracks(hits: list[list[int]]) -> tuple[PixelTruth, PatatrackResult]:
    event, empty = two_particles()
    assert empty.hits is not None
    tracks = make_tracks(np.ones((len(hits), 5)), np.array(hits))
    return event, make_result(0, tracks, empty.vertices, empty.hits)


def test_perfect_tracks_are_perfect(
    truth: list[PixelTruth], perfect: list[PatatrackResult]
) -> None:
    summary = summarize_pixel(match_pixel_events(truth, perfect))
    assert summary.n_events == len(truth)
    for efficiency in (*summary.efficiency.values(), *summary.efficiency_long.values()):
        assert efficiency.total > 20
        assert efficiency.value > 0.99
    assert summary.fake_rate.value < 0.005
    assert summary.duplicate_rate.value < 0.005
    assert summary.charge_correct.value > 0.999
    for name, pull in summary.pull.items():
        assert pull.value == pytest.approx(1, abs=0.1), name
    assert summary.resolution["phi"].value == pytest.approx(2e-3, rel=0.05)
    assert summary.resolution["tip"].value == pytest.approx(50e-4, rel=0.05)
    assert summary.hit_resolution["barrel x"].value == pytest.approx(10e-4, rel=0.05)
    assert summary.hit_resolution["endcap y"].value == pytest.approx(20e-4, rel=0.05)
    assert summary.vertex_efficiency.value > 0.9


def test_perfect_tracks_are_true_but_for_the_errors_of_found_ones(
    truth: list[PixelTruth], perfect: list[PatatrackResult]
) -> None:
    found, event = perfect[0], truth[0]
    given = []

    def keep(tracks: Tracks) -> Vertices:
        given.append(tracks)
        return make_vertices(np.arange(3.0))

    summary = summarize_pixel(match_pixel_events([event], [found], find_vertices=keep))
    tracks = given[0]
    wanted = reconstructable(event) & (layers_crossed(event) >= 4) & (event.particles.pt >= 0.4)
    assert len(tracks) == wanted.sum() > 100
    true = perigee(event.particles, event.beam_spot)[wanted]
    pull = (tracks.state - true)[:, 1:] / SIGMA[1:]
    np.testing.assert_allclose(pull.std(axis=0), 1, atol=0.2)
    assert summary.vertex_efficiency_perfect is not None
    assert summary.vertex_efficiency_perfect.total == summary.vertex_efficiency.total
    assert summary.vertex_efficiency_perfect.passed <= 3 < summary.vertex_efficiency.passed
    nothing = make_result(0, Tracks.empty(), Vertices.empty(), perfect[0].hits)
    match_pixel_events([event], [nothing], find_vertices=keep)
    assert len(given[1]) == 0


def test_pulls_are_told_bin_by_bin(truth: list[PixelTruth], perfect: list[PatatrackResult]) -> None:
    summary = summarize_pixel(match_pixel_events(truth, perfect))
    (one,) = (b for b in summary.pull_of_bin if (b.eta, b.pt) == ("0.8-1.5", "0.7-1"))
    assert one.pull["tip"].value == pytest.approx(1, abs=0.15)
    total = sum(b.pull["tip"].count for b in summary.pull_of_bin)
    assert 0 < one.pull["tip"].count < total < summary.pull["tip"].count
    rows = TRACKER.validation().blocks({"": match_pixel_events(truth, perfect)})["Pulls"].rows
    assert "GeV)" in rows[-1][1]


def test_efficiency_counts_what_is_lost(
    truth: list[PixelTruth], perfect: list[PatatrackResult]
) -> None:
    halved = [
        make_result(r.event, r.tracks.take(np.arange(0, len(r.tracks), 2)), r.vertices, r.hits)
        for r in perfect
        if r.hits is not None
    ]
    summary = summarize_pixel(match_pixel_events(truth, halved))
    assert summary.efficiency["1-2"].value == pytest.approx(0.5, abs=0.03)


def test_track_of_two_particles_is_a_fake() -> None:
    event, result = with_tracks([[0, 1, 6, 7, -1]])
    summary = summarize_pixel(match_pixel_events([event], [result]))
    assert summary.fake_rate == Fraction(1, 1)
    assert summary.efficiency["1-2"] == Fraction(0, 2)


def test_three_of_four_hits_are_enough_and_two_of_three_are_not() -> None:
    event, result = with_tracks([[0, 1, 2, 7, -1], [4, 5, 2, -1, -1]])
    matches = match_pixel_events([event], [result])
    assert matches.tracks.matched.tolist() == [True, False]


def test_background_hits_make_a_fake() -> None:
    event, result = with_tracks([[0, 1, 2, 3, -1]])
    event.hits.particle[:4] = -1
    assert summarize_pixel(match_pixel_events([event], [result])).fake_rate == Fraction(1, 1)


def test_second_track_of_a_particle_is_a_duplicate() -> None:
    event, result = with_tracks([[0, 1, 2, 3, -1], [0, 1, 2, -1, -1], [4, 5, 6, 7, -1]])
    matches = match_pixel_events([event], [result])
    assert matches.tracks.duplicate.tolist() == [False, True, False]
    summary = summarize_pixel(matches)
    assert summary.fake_rate == Fraction(0, 3)
    assert summary.efficiency["1-2"] == Fraction(2, 2)
    assert summary.charge_correct == Fraction(2, 3)


def test_hit_far_from_all_true_hits_has_none() -> None:
    event, result = two_particles()
    assert result.hits is not None
    result.hits.x_local[3] += 2 * HIT_WINDOW
    assert match_hits(result.hits, event.hits).tolist() == [0, 1, 2, -1, 4, 5, 6, 7]


def test_nearest_true_hit_wins() -> None:
    hits = TrueHits(
        np.arange(3, dtype=np.int32),
        np.zeros(3, np.int32),
        np.array([0.0, 0.02, 0.03]),
        np.zeros(3),
    )
    _, result = two_particles()
    assert result.hits is not None
    hit = result.hits.take(np.array([0]))
    hit.x_local[:] = 0.021
    assert match_hits(hit, hits).tolist() == [1]


def test_merged_vertex_finds_one_collision() -> None:
    z = np.array([0.0, 0.06, 5.0])
    assert match_vertices(make_vertices(np.array([0.02, 9.0])), z).tolist() == [0, -1, -1]


def test_perigee_does_not_change_along_the_helix() -> None:
    rng = np.random.default_rng(3)
    n = 200
    charge = rng.choice([-1, 1], n).astype(np.int8)
    pt, phi, eta = rng.uniform(0.2, 30, n), rng.uniform(-3, 3, n), rng.uniform(-2.5, 2.5, n)
    start = rng.normal(0, 0.02, (n, 3))
    radius = pt / PT_PER_RADIUS
    path = rng.uniform(-0.5, 5, n)
    turned = phi - charge * path / radius
    moved = start + np.stack(
        [
            charge * radius * (np.sin(phi) - np.sin(turned)),
            charge * radius * (np.cos(turned) - np.cos(phi)),
            path * np.sinh(eta),
        ],
        axis=1,
    )
    spot = np.array([0.1, -0.2, 0.3])
    before = perigee(particles_of(pt, eta, phi, charge, start + spot), spot)
    after = perigee(particles_of(pt, eta, turned, charge, moved + spot), spot)
    np.testing.assert_allclose(perigee(particles_of(pt, eta, phi, charge, start), ORIGIN), before)
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_perigee_of_a_particle_from_the_beam_spot_is_its_own_direction() -> None:
    event, _ = two_particles()
    expected = [[1.0, 0, 1 / 1.5, np.sinh(0.2), 0], [-2.0, 0, -1 / 1.5, np.sinh(-0.3), 0]]
    np.testing.assert_allclose(perigee(event.particles, ORIGIN), expected, atol=1e-12)


def test_tip_is_positive_where_the_beam_spot_lies_to_the_left() -> None:
    """Both charges: along +x at y = -1 mm."""
    start = np.full((2, 3), [0.0, -0.1, 0.0])
    straight = particles_of(np.full(2, 1e4), np.zeros(2), np.zeros(2), np.array([1, -1]), start)
    np.testing.assert_allclose(perigee(straight, ORIGIN)[:, 1], 0.1, atol=1e-6)


def test_reconstructed_parameters_have_the_signs_of_the_truth(
    truth: list[PixelTruth], sample_results: list[PatatrackResult]
) -> None:
    """Displaced particles of both charges tell a tip of the wrong sign."""
    found, expected = [], []
    for result, event in zip(sample_results, truth, strict=True):
        assert result.hits is not None
        true_hit = match_hits(result.hits, event.hits)
        hit_particle = np.where(true_hit < 0, -1, event.hits.particle[true_hit])
        particle = match_tracks(result.tracks, hit_particle)
        found.append(result.tracks.state[particle >= 0])
        expected.append(perigee(event.particles, event.beam_spot)[particle[particle >= 0]])
    state, true_state = np.concatenate(found), np.concatenate(expected)
    displaced = np.abs(true_state[:, 1]) > 0.03
    for charge in (-1, 1):
        chosen = displaced & (np.sign(true_state[:, 2]) == charge)
        assert chosen.sum() > 30
        for parameter in range(5):
            correlation = np.corrcoef(state[chosen, parameter], true_state[chosen, parameter])[0, 1]
            assert correlation > 0.8, parameter


def test_event_without_anything_counts_as_inefficiency() -> None:
    event, empty = two_particles()
    nothing = make_result(0, Tracks.empty(), Vertices.empty(), Hits.empty())
    for result in (empty, nothing):
        summary = summarize_pixel(match_pixel_events([event], [result]))
        assert summary.efficiency["1-2"] == Fraction(0, 2)
        assert np.isnan(summary.fake_rate.value)
    nouns = (Particles.empty(), TrueHits.empty(), Collisions.empty())
    void = PixelTruth(*nouns, ORIGIN, event.module_layer)
    summary = summarize_pixel(match_pixel_events([void], [nothing]))
    assert summary.efficiency["1-2"] == Fraction(0, 0)
    assert summarize_pixel(match_pixel_events([], [])).n_events == 0


def test_results_without_hits_or_truth_are_refused() -> None:
    event, result = two_particles()
    nothing = Tracks.empty(), Vertices.empty(), ReadoutErrors.empty()
    bare = PatatrackResult(0, PatatrackCounts(), *nothing)
    with pytest.raises(InputError, match="keep"):
        match_pixel_events([event], [bare])
    with pytest.raises(InputError, match="no truth"):
        match_pixel_events([], [result])


def test_fraction_error_is_not_zero_at_one() -> None:
    all_found = Fraction(100, 100)
    assert all_found.interval[1] == pytest.approx(1)
    assert 0.001 < all_found.error < 0.01
    assert Fraction(50, 100).error == pytest.approx(0.05, rel=0.02)


def test_counts_are_compared_event_by_event() -> None:
    event, result = two_particles()
    counts = PatatrackCounts(modules=3, words=10, clusters=5, ntuplets=4, vertices=1)
    ours = [
        PatatrackResult(i, counts, result.tracks, result.vertices, result.readout_errors)
        for i in (0, 1)
    ]
    reference = ReferenceCounts(
        *(np.array(c, np.uint32) for c in ([3, 3], [10, 11], [5, 5], [4, 5], [1, 2]))
    )
    ours = [replace(one, hits=result.hits) for one in ours]
    truth = [event, event]
    comparison = match_pixel_events(truth, ours, reference).reference
    assert comparison is not None
    assert (comparison.modules, comparison.words, comparison.clusters) == (2, 1, 2)
    assert comparison.ntuplets == (8, 9)
    assert comparison.vertices == (2, 3)
    with pytest.raises(InputError, match="reference"):
        match_pixel_events([event] * 8, [replace(ours[0], event=7)], reference)


def test_truth_that_cannot_be_read_names_the_file(sample_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ConditionsError, match=r"missing.*truth\.npz"):
        read_truth(tmp_path)
    path = tmp_path / "truth.npz"
    path.write_bytes(b"not a zip")
    with pytest.raises(ConditionsError, match=r"truth\.npz"):
        read_truth(tmp_path)
    with np.load(sample_directory / "truth.npz") as file:
        arrays = dict(file)
    np.savez(path, **{name: array for name, array in arrays.items() if name != "hits"})
    with pytest.raises(ConditionsError, match="hits"):
        read_truth(tmp_path)
    arrays["hits"][0, 1] = 10**6
    np.savez(path, **arrays)
    with pytest.raises(ConditionsError, match="particle of a hit"):
        read_truth(tmp_path)


@pytest.mark.parametrize("output", [3, None, "a\0b", b"\xff"])
def test_a_report_needs_a_place_and_something_to_say(tmp_path: Path, output: Any) -> None:
    with pytest.raises(InputError, match="not a path"):
        write_report(output, "title", [])
    with pytest.raises(InputError, match="nothing was compared"):
        write_validation(tmp_path, "title", PixelValidation(), {})


def test_report_is_self_contained(
    sample_directory: Path, perfect: list[PatatrackResult], tmp_path: Path
) -> None:
    validation = PixelValidation()
    matches = {"perfect": validation.match(open_pixel(sample_directory), iter(perfect))}
    summary = validation.summary(*matches.values())
    page = write_validation(tmp_path / "report", "perfect", validation, matches).read_text()
    pictures = sorted((tmp_path / "report").glob("*.png"))
    assert len(pictures) >= 5
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "default-src 'none'" in page  # its script fetches nothing
    assert f"{summary.efficiency['1-2'].value:.3f}" in page  # type: ignore[union-attr]
    (table,) = tables(validation, matches)
    assert table.row_count > 15
    written = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert written["title"] == "perfect"
    numbers = written["results"]["perfect"]
    assert numbers["efficiency"]["1-2"]["value"] == summary.efficiency["1-2"].value  # type: ignore[union-attr]
    assert "> 5" in numbers["efficiency"]
    assert numbers["reference"]["n_events"] == 10

    both = {"a": matches["perfect"], "b": matches["perfect"]}
    page = write_validation(tmp_path / "both", "both", validation, both).read_text()
    assert "C++ program" not in page
    written = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert set(written["results"]) == {"a", "b"}


def test_isolated_and_false_vertices_are_counted(truth: list[PixelTruth]) -> None:
    z = np.array([-5.0, 0.0, 0.04, 6.0])
    collisions = Collisions(np.stack([0 * z, 0 * z, z], axis=1) + truth[0].beam_spot)
    event = replace(truth[0], collisions=collisions)
    found = np.array([-5.01, 0.001, 3.0, 6.06, 6.2], np.float32)
    error = np.array([0.001, 0.001, 0.01, 0.03, 0.03], np.float32)
    one = np.ones(5, np.float32)
    result = replace(
        perfect_result(0, truth[0], np.random.default_rng(1)),
        vertices=Vertices(found, error, one, one.astype(np.int32), one),
    )
    matches = match_pixel_events([event], [result])
    np.testing.assert_allclose(matches.collisions.isolation, [5, 0.04, 0.04, 5.96])
    assert matches.vertices.false.tolist() == [False, False, True, False, True]


@pytest.mark.slow
def test_report_of_events_that_all_failed(sample_directory: Path, tmp_path: Path) -> None:
    failed = [EventError("truncated", event=0)]
    validation = PixelValidation()
    matches = {"failed": validation.match(open_pixel(sample_directory), failed)}
    assert matches["failed"].n_events == 0
    assert write_validation(tmp_path, "failed", validation, matches).exists()


def test_report_escapes_its_title(tmp_path: Path) -> None:
    from trackserve.report.page import Section, write_report

    page = write_report(tmp_path, "a < b & c", [Section("empty")]).read_text()
    assert "<title>a &lt; b &amp; c</title>" in page
