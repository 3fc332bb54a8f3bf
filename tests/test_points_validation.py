"""Validation of trackers of space points: each known defect must be counted as what it is."""

import json
import math
import re
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackserve.edm import (
    Edges,
    Particles,
    PointLabels,
    PointsEvent,
    PointsTruth,
    Ragged,
    SpacePoints,
    TrackCandidates,
    TruePoints,
)
from trackserve.edm.points import GENERIC_PIXELS
from trackserve.errors import EventError, InputError, ModelError
from trackserve.io import open_points, write_points
from trackserve.physics.points.graph import GraphQuality, graph_quality
from trackserve.physics.points.matching import duplicates, match_candidates
from trackserve.physics.points.metrics import (
    PointsResult,
    PointsSummary,
    match_points_event,
    match_points_events,
    summarize_points,
)
from trackserve.physics.points.truth import next_points, true_paths
from trackserve.physics.statistics import Fraction
from trackserve.report import points_figures as figures
from trackserve.report.points import PointsValidation
from trackserve.report.validation import as_json, tables, write_validation
from trackserve.trackers.exatrkx.result import ExatrkxCounts, ExatrkxResult

N_LAYERS = 6
NOISE = 4


def hand_made(
    n_particles: int = 2,
    pt: float = 3.0,
    eta: float = 0.5,
    start: float = 0.0,
    charge: int = 1,
    primary: bool = True,
    n_layers: int = N_LAYERS,
) -> PointsEvent:
    """Straight particles with one point on each layer, one after the other, and then noise."""
    phi = np.linspace(0.1, 2.9, n_particles)
    across = np.stack([np.cos(phi), np.sin(phi), np.full(n_particles, math.sinh(eta))], axis=1)
    radius = 50.0 * (1 + np.arange(n_layers))
    points = (across[:, None, :] * radius[None, :, None]).reshape(-1, 3)
    noise = np.stack([np.linspace(30, 300, NOISE)] * 3, axis=1) * [-1, -1, 1]
    particle = np.repeat(np.arange(n_particles), n_layers)
    layer = np.tile(np.arange(n_layers), n_particles)
    n_points = len(points) + NOISE
    truth = TruePoints(
        np.append(particle, np.full(NOISE, -1)).astype(np.int32),
        np.full(n_points, 8, np.int16),
        np.append(layer, np.zeros(NOISE)).astype(np.int16),
        np.zeros(n_points, np.int32),
        np.append(np.full(len(points), 1 / len(points)), np.zeros(NOISE)).astype(np.float32),
    )
    particles = Particles(
        np.zeros(n_particles, np.int32),
        np.full(n_particles, 211, np.int32),
        np.full(n_particles, charge, np.int8),
        np.tile([start / 10, 0, 0], (n_particles, 1)),
        pt * across,
        np.full(n_particles, primary),
    )
    position = np.concatenate([points, noise]).astype(np.float32)
    return PointsEvent(SpacePoints(position), 0, PointsTruth(truth, particles))


def particle_points(particle: int) -> list[int]:
    return list(range(N_LAYERS * particle, N_LAYERS * (particle + 1)))


def noise_points(event: PointsEvent) -> list[int]:
    return list(range(len(event.points) - NOISE, len(event.points)))


def candidates_of(groups: list[list[int]]) -> TrackCandidates:
    offsets = np.cumsum([0, *map(len, groups)]).astype(np.int64)
    points = np.array([point for group in groups for point in group], np.int32)
    return TrackCandidates(Ragged(offsets, points), np.ones(len(groups), np.float32))


def result_of(event: PointsEvent, groups: list[list[int]], **edges: Edges) -> ExatrkxResult:
    """The groups as candidates and as components; every other point is a component."""
    group_of = np.arange(len(event.points)) + len(groups)
    for number, group in enumerate(groups):
        group_of[group] = number
    _, first, labels = np.unique(group_of, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first))[labels]
    counts = ExatrkxCounts(points=len(event.points), candidates=len(groups))
    return ExatrkxResult(event.event, counts, PointLabels(labels), candidates_of(groups), **edges)


def edges_of(pairs: list[tuple[int, int]]) -> Edges:
    source, target = np.array(pairs, np.int32).reshape(-1, 2).T
    return Edges(source, target, np.ones(len(pairs), np.float32))


def summarize(
    events: Iterable[PointsEvent], results: Iterable[PointsResult | EventError]
) -> PointsSummary:
    return summarize_points(match_points_events(events, results))


def judge(event: PointsEvent, groups: list[list[int]]) -> PointsSummary:
    return summarize([event], [result_of(event, groups)])


def test_perfect_candidates_are_perfect() -> None:
    event = hand_made(5)
    summary = judge(event, [particle_points(i) for i in range(5)])
    everything = Fraction(5, 5)
    assert summary.efficiency.single == summary.efficiency.double == everything
    assert summary.efficiency_eta_3.double == everything
    assert summary.efficiency_by_pt["2-5"].double == everything
    assert summary.fake_rate.single == summary.fake_rate.double == Fraction(0, 5)
    assert summary.duplicate_rate == summary.other_rate == Fraction(0, 5)
    assert summary.trackml_score == pytest.approx(1)
    assert summary.left == {"components": everything, "candidates": everything}


def test_track_of_noise_or_of_two_halves_is_a_fake() -> None:
    event = hand_made(2)
    half_and_half = [0, 1, 2, 6, 7, 8]
    summary = judge(event, [noise_points(event), half_and_half])
    assert summary.fake_rate.single == summary.fake_rate.double == Fraction(2, 2)
    assert summary.efficiency.single == Fraction(0, 2)
    assert summary.trackml_score == 0


def test_noise_counts_against_the_majority() -> None:
    event = hand_made(1)
    assert judge(event, [[0, 1, *noise_points(event)[:1]]]).fake_rate.single == Fraction(0, 1)
    assert judge(event, [[0, 1, *noise_points(event)[:2]]]).fake_rate.single == Fraction(1, 1)


def test_short_track_matches_singly_but_not_doubly() -> None:
    """Three of six points are not more than half."""
    event = hand_made(1)
    summary = judge(event, [[0, 1, 2]])
    assert (summary.efficiency.single, summary.efficiency.double) == (
        Fraction(1, 1),
        Fraction(0, 1),
    )
    assert (summary.fake_rate.single, summary.fake_rate.double) == (Fraction(0, 1), Fraction(1, 1))
    assert judge(event, [[0, 1, 2, 3]]).efficiency.double == Fraction(1, 1)


def test_split_track_is_one_found_and_one_duplicate() -> None:
    event = hand_made(2)
    summary = judge(event, [[4, 5, *noise_points(event)[:1]], [0, 1, 2, 3]])
    assert summary.efficiency.double == Fraction(1, 2)
    assert summary.duplicate_rate == Fraction(1, 2)
    assert summary.fake_rate.single == Fraction(0, 2)
    assert summary.fake_rate.double == Fraction(1, 2)
    assert summary.trackml_score == pytest.approx(4 / 12)


def test_the_shorter_one_is_the_duplicate_wherever_it_stands() -> None:
    particle = np.zeros(6, np.int32)
    for groups, expected in (
        ([[0, 1, 2], [2, 3, 4, 5]], [True, False]),
        ([[2, 3, 4, 5], [0, 1, 2]], [False, True]),
        ([[0, 1, 2], [3, 4, 5], [0, 1, 2, 3]], [True, True, False]),
    ):
        candidates = candidates_of(groups)
        matches = match_candidates(candidates.points.offsets, candidates.points.values, particle)
        assert duplicates(matches).tolist() == expected


def test_pair_of_points_makes_no_duplicate_of_a_track() -> None:
    event = hand_made(1)
    summary = judge(event, [[0, 1], [2, 3, *noise_points(event)[:1]]])
    assert summary.duplicate_rate == Fraction(0, 1)


def test_merged_track_finds_the_particle_that_dominates() -> None:
    event = hand_made(2)
    summary = judge(event, [[*particle_points(0), 6, 7, 8]])
    assert summary.efficiency.double == Fraction(1, 2)
    assert summary.fake_rate.single == Fraction(0, 1)
    both = judge(event, [[*particle_points(0), *particle_points(1)]])
    assert both.efficiency.single == Fraction(0, 2)
    assert both.left["components"] == Fraction(0, 2)
    assert both.fake_rate.single == Fraction(1, 1)


def test_component_of_two_points_is_no_track() -> None:
    event = hand_made(2)
    summary = judge(event, [particle_points(0), [6, 7]])
    assert summary.tracks == 1
    assert summary.efficiency.single == Fraction(1, 2)


@pytest.mark.parametrize(
    ("what", "eta_4", "eta_3"),
    [
        ({}, 1, 1),
        ({"pt": 0.9}, 0, 0),
        ({"eta": -3.5}, 1, 0),
        ({"eta": 4.1}, 0, 0),
        ({"start": 2.5}, 0, 0),
        ({"charge": 0}, 0, 0),
        ({"primary": False}, 0, 0),
        ({"n_layers": 4}, 0, 0),
        ({"n_layers": 5}, 1, 1),
    ],
)
def test_who_is_reconstructable(what: dict[str, float], eta_4: int, eta_3: int) -> None:
    """A track of any other particle is neither found nor fake."""
    event = hand_made(1, **what)  # type: ignore[arg-type]
    n_points = len(event.points) - NOISE
    summary = judge(event, [list(range(n_points))])
    assert summary.efficiency.double == Fraction(eta_4, eta_4)
    assert summary.efficiency_eta_3.double == Fraction(eta_3, eta_3)
    assert summary.other_rate == Fraction(1 - eta_4, 1)
    assert summary.fake_rate.double == Fraction(0, 1)


@pytest.mark.parametrize(
    ("what", "counts"),
    [
        ({"pt": 0.95, "n_layers": 3}, 1),
        ({"pt": 0.85, "n_layers": 3}, 0),
        ({"pt": 0.95, "n_layers": 2}, 0),
        ({"pt": 0.95, "eta": 3.9}, 1),
        ({"pt": 0.95, "eta": 4.1}, 0),
    ],
)
def test_in_the_pixels_alone_softer_and_shorter_particles_count(
    what: dict[str, float], counts: int, tmp_path: Path
) -> None:
    event = hand_made(1, **what)  # type: ignore[arg-type]
    write_points(tmp_path, [event], GENERIC_PIXELS)
    validation = PointsValidation()
    groups = [list(range(len(event.points) - NOISE))]
    matches = validation.match(open_points(tmp_path), [result_of(event, groups)])
    assert validation.summary(matches).efficiency.double == Fraction(counts, counts)
    assert next(iter(validation.summary(matches).efficiency_by_pt)) == "0.9-2"
    (text,) = (s.text for s in validation.sections({"": matches}) if s.title == "Efficiency")
    assert "pT > 0.9 GeV" in text
    assert "at least 3 layers" in text


def test_layers_are_distinct_and_of_their_volume() -> None:
    event = hand_made(1)
    assert event.truth is not None
    points = event.truth.points
    overlapping = replace(points, layer=np.minimum(points.layer, 3))
    paths = true_paths(PointsTruth(overlapping, event.truth.particles))
    assert (paths.n_layers.tolist(), paths.n_points.tolist()) == ([4], [6])
    volumes = replace(overlapping, volume=np.arange(len(points), dtype=np.int16))
    paths = true_paths(PointsTruth(volumes, event.truth.particles))
    assert paths.n_layers.tolist() == [6]


def test_points_follow_each_other_from_where_the_particle_starts() -> None:
    event = hand_made(2)
    expected = [1, 2, 3, 4, 5, -1, 7, 8, 9, 10, 11, -1, *[-1] * NOISE]
    assert next_points(event).tolist() == expected
    assert event.truth is not None
    outside = np.tile(event.points.position[5] * 1.1 / 10, (2, 1))
    particles = replace(event.truth.particles, position=outside)
    inward = replace(event, truth=PointsTruth(event.truth.points, particles))
    assert next_points(inward).tolist()[:6] == [-1, 0, 1, 2, 3, 4]


def random_event(seed: int) -> PointsEvent:
    """Particles of 3 to 12 points at random places, a fifth of noise, random weights."""
    rng = np.random.default_rng(seed)
    n_particles = 50
    length = rng.integers(3, 13, n_particles)
    particle = np.append(np.repeat(np.arange(n_particles), length), np.full(length.sum() // 4, -1))
    particle = rng.permutation(particle).astype(np.int32)
    n_points = len(particle)
    truth = TruePoints(
        particle,
        rng.integers(7, 10, n_points).astype(np.int16),
        rng.integers(1, 8, n_points).astype(np.int16),
        np.zeros(n_points, np.int32),
        np.where(particle >= 0, rng.random(n_points), 0).astype(np.float32),
    )
    particles = Particles(
        np.zeros(n_particles, np.int32),
        np.full(n_particles, 211, np.int32),
        np.ones(n_particles, np.int8),
        np.zeros((n_particles, 3)),
        rng.normal(0, 2, (n_particles, 3)),
        np.ones(n_particles, np.bool_),
    )
    position = rng.normal(0, 300, (n_points, 3)).astype(np.float32)
    return PointsEvent(SpacePoints(position), 0, PointsTruth(truth, particles))


def test_true_tracks_of_any_event_are_perfect_and_shifted_ones_are_not() -> None:
    """Candidates whose points are all one row off are those of no particle."""
    events = [random_event(seed) for seed in range(5)]
    perfect, shifted = [], []
    for event in events:
        assert event.truth is not None
        particle = event.truth.points.particle
        groups = [np.flatnonzero(particle == i) for i in range(50)]
        perfect.append(result_of(event, [group.tolist() for group in groups]))
        off = [((group + 1) % len(particle)).tolist() for group in groups]
        shifted.append(result_of(event, off))
    summary = summarize(events, perfect)
    assert summary.efficiency.double.total > 50
    assert summary.efficiency.double.value == 1
    assert summary.fake_rate.double.value == summary.duplicate_rate.value == 0
    assert summary.trackml_score == pytest.approx(1)
    summary = summarize(events, shifted)
    assert summary.efficiency.double.value < 0.05
    assert summary.fake_rate.single.value > 0.9
    assert summary.trackml_score < 0.05


def permuted(event: PointsEvent, order: np.ndarray) -> PointsEvent:
    assert event.truth is not None
    truth = PointsTruth(event.truth.points.take(order), event.truth.particles)
    return replace(event, points=event.points.take(order), truth=truth)


@given(st.integers(0, 2**32 - 1))
def test_numbers_do_not_depend_on_any_order(seed: int) -> None:
    """Points, candidates, edges and the two ends of an edge come in any order."""
    rng = np.random.default_rng(seed)
    event = hand_made(6)
    n_points = len(event.points)
    mixed_up = np.arange(n_points)
    swapped = rng.choice(n_points, 12, replace=False)
    mixed_up[swapped] = rng.permutation(swapped)
    cuts = np.sort(rng.choice(np.arange(1, n_points), 7, replace=False))
    groups = [group.tolist() for group in np.split(mixed_up, cuts)]
    pairs = [(int(a), int(b)) for a, b in rng.integers(0, n_points, (40, 2)) if a != b]
    pairs += [(i, i + 1) for i in range(0, 30, 2)]

    order = rng.permutation(n_points)
    where = np.argsort(order)
    shuffled = [[int(where[i]) for i in rng.permutation(group)] for group in groups]
    rng.shuffle(shuffled)
    turned = [(int(where[b]), int(where[a])) for a, b in rng.permutation(pairs)]
    straight = as_json(summarize([event], [result_of(event, groups, radius_edges=edges_of(pairs))]))
    mixed = permuted(event, order)
    again = as_json(summarize([mixed], [result_of(mixed, shuffled, radius_edges=edges_of(turned))]))
    for summary in (straight, again):
        summary["trackml_score"] = round(summary["trackml_score"], 6)
    assert straight == again


def test_graph_of_all_true_edges_is_perfect() -> None:
    event = hand_made(3)
    pairs = [(6 * p + i + 1, 6 * p + i) for p in range(3) for i in range(5)]
    assert graph_quality(event, edges_of(pairs)) == GraphQuality(
        edges=15,
        points=len(event.points),
        efficiency=Fraction(15, 15),
        purity=Fraction(15, 15),
        same_particle=Fraction(15, 15),
        recoverable=Fraction(3, 3),
    )


def test_graph_is_judged_edge_by_edge_and_particle_by_particle() -> None:
    """The first particle keeps four of six points, over a skipped one; the second three."""
    event = hand_made(2)
    first = [(0, 1), (1, 3), (3, 4)]
    second = [(6, 7), (8, 7), (10, 11)]
    wrong = [(2, 8), (5, len(event.points) - 1), (len(event.points) - 1, len(event.points) - 2)]
    quality = graph_quality(event, edges_of(first + second + wrong))
    assert quality.efficiency == Fraction(5, 10)
    assert quality.purity == Fraction(5, 9)
    assert quality.same_particle == Fraction(6, 9)
    assert quality.recoverable == Fraction(1, 2)
    assert quality.edges_per_point == pytest.approx(9 / 16)


def test_same_edge_twice_is_found_once() -> None:
    event = hand_made(1)
    quality = graph_quality(event, edges_of([(0, 1), (1, 0)]))
    assert quality.efficiency == Fraction(1, 5)
    assert quality.purity == Fraction(2, 2)


def test_path_through_a_stranger_does_not_join_a_particle() -> None:
    """A perfect later stage would cut it."""
    event = hand_made(2)
    chain = [(0, 1), (1, 2), (2, 8), (8, 3), (3, 4), (4, 5)]
    assert graph_quality(event, edges_of(chain)).recoverable == Fraction(0, 2)


def test_waterfall_says_where_each_particle_is_lost() -> None:
    """Five particles: one is lost in the radius graph, one in the filter, one in the network, one
    is merged."""
    event = hand_made(5)
    whole = [[(6 * p + i, 6 * p + i + 1) for i in range(5)] for p in range(5)]
    radius = [pair for p in (1, 2, 3, 4) for pair in whole[p]]
    kept = [pair for p in (2, 3, 4) for pair in whole[p]]
    track = [pair for p in (3, 4) for pair in whole[p]]
    merged = [*track, (23, len(event.points) - 1)]
    noise = noise_points(event)
    groups = [[*particle_points(3), *noise, 0, 1], particle_points(4)]
    result = result_of(
        event,
        groups,
        radius_edges=edges_of(radius),
        filter_edges=edges_of(kept),
        track_edges=edges_of(merged),
    )
    summary = summarize([event], [result])
    assert {stage: share.passed for stage, share in summary.left.items()} == {
        "radius": 4,
        "filter": 3,
        "gnn": 2,
        "components": 1,
        "candidates": 1,
    }
    assert list(summary.graphs) == ["radius", "filter", "gnn"]
    assert summary.graphs["gnn"].purity == Fraction(10, 11)


def test_events_are_pooled_and_failed_ones_left_out() -> None:
    events = [hand_made(2), hand_made(3), hand_made(1)]
    good = result_of(events[0], [particle_points(0)])
    failed = EventError("no", event=0)
    summary = summarize(events, iter([good, failed, result_of(events[2], [])]))
    assert summary.n_events == 2
    assert summary.efficiency.double == Fraction(1, 3)
    assert summary.points == len(events[0].points) + len(events[2].points)
    assert summary.trackml_score == pytest.approx(0.25)


def test_event_without_anything() -> None:
    nothing = PointsEvent(
        SpacePoints.empty(), 0, PointsTruth(TruePoints.empty(), Particles.empty())
    )
    none = Edges.empty()
    result = result_of(nothing, [], radius_edges=none, filter_edges=none, track_edges=none)
    summary = summarize([nothing], [result])
    assert summary.efficiency.double == Fraction(0, 0)
    assert math.isnan(summary.fake_rate.single.value)
    assert summarize([], []).n_events == 0
    matches = {"nothing": match_points_events([nothing], [result])}
    assert len(tables(PointsValidation(), matches)) == 2


def test_event_without_truth_or_with_another_result_is_refused() -> None:
    event, other = hand_made(2), hand_made(3)
    with pytest.raises(InputError, match="no truth"):
        match_points_event(replace(event, truth=None), result_of(event, []))
    with pytest.raises(InputError, match="not of this event"):
        match_points_event(event, result_of(other, []))
    with pytest.raises(InputError, match="not of this event"):
        match_points_event(replace(event, event=3), result_of(event, []))


@dataclass(frozen=True)
class OnlyCandidates:
    """The result of a tracker without graphs."""

    event: int
    candidates: TrackCandidates


def test_tracker_without_graphs_is_judged_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    event = hand_made(3)
    groups = [particle_points(0), particle_points(1)]
    validation = PointsValidation()
    matches = validation.match([event], [OnlyCandidates(0, candidates_of(groups))])
    summary = validation.summary(matches)
    assert summary.efficiency.double == Fraction(2, 3)
    assert summary.trackml_score == pytest.approx(2 / 3)
    assert list(summary.left) == ["candidates"]
    page = write_validation(tmp_path, "plain", validation, {"plain": matches}).read_text()
    assert "lost" not in page
    both = {"plain": matches, "graphs": validation.match([event], [result_of(event, groups)])}
    (table,) = tables(validation, both)
    assert "left after components" in list(table.columns[0].cells)

    sharing = OnlyCandidates(0, candidates_of([particle_points(0), particle_points(0)]))
    summary = validation.summary(validation.match([event], [sharing]))
    assert summary.duplicate_rate == Fraction(1, 2)
    assert math.isnan(summary.trackml_score)
    outside = OnlyCandidates(0, candidates_of([[len(event.points)]]))
    with pytest.raises(InputError, match="not of this event"):
        validation.match([event], [outside])


def test_track_momentum_is_that_of_its_circle() -> None:
    """1 GeV at 2 T turns with a radius of 1.668 m."""
    radius, turn = 1667.8, np.linspace(0.05, 0.4, N_LAYERS)
    path = np.stack(
        [radius * np.sin(turn), radius * (1 - np.cos(turn)), 2 * radius * np.sin(turn / 2)], axis=1
    )
    event = hand_made(1)
    position = event.points.position.copy()
    position[:N_LAYERS] = path
    bent = replace(event, points=SpacePoints(position.astype(np.float32)))
    tracks = match_points_event(bent, result_of(bent, [particle_points(0)])).tracks
    assert tracks.pt[0] == pytest.approx(1, rel=1e-3)
    assert tracks.eta[0] == pytest.approx(math.asinh(1), rel=0.01)


def test_report_is_self_contained(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    event = hand_made(5)
    edges = edges_of([(6 * p + i, 6 * p + i + 1) for p in range(5) for i in range(5)])
    groups = [particle_points(i) for i in range(4)] + [noise_points(event)]
    result = result_of(event, groups, radius_edges=edges, filter_edges=edges, track_edges=edges)
    validation = PointsValidation()
    matches = validation.match([event], [result])
    page = write_validation(tmp_path / "one", "one", validation, {"one": matches}).read_text()
    pictures = list((tmp_path / "one").glob("*.png"))
    assert page.count("data:image/png;base64,") == len(pictures) == 3
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    (summary,) = json.loads((tmp_path / "one" / "summary.json").read_text())["results"].values()
    assert summary["efficiency"]["double"]["value"] == pytest.approx(0.8)
    assert summary["trackml_score_error"] is None

    served = match_points_events([event], [result_of(event, groups)])
    write_validation(tmp_path / "served", "served", validation, {"served": served})
    both = {"a": matches, "b": matches}
    write_validation(tmp_path / "two", "two", validation, both)
    assert set(json.loads((tmp_path / "two" / "summary.json").read_text())["results"]) == {"a", "b"}
    (table,) = tables(validation, both)
    assert table.row_count > 10
    all_failed = match_points_events([event], [EventError("no", event=0)])
    for mixed in ({"a": all_failed, "b": matches}, {"a": matches, "b": all_failed}):
        assert [one.row_count for one in tables(validation, mixed)] == [table.row_count]
    write_validation(tmp_path / "failed", "failed", validation, {"failed": all_failed})
    assert summarize_points(served).graphs == {}


def test_commands_judge_and_time_a_model(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from exatrkx_models import small_model

    from trackserve.cli.main import commands
    from trackserve.trackers.exatrkx.model import save_model

    save_model(small_model(), tmp_path / "model")
    write_points(tmp_path / "events", [replace(hand_made(20), event=i) for i in range(2)])
    arguments = [str(tmp_path / "events"), "--model", str(tmp_path / "model")]

    def run(*command: str, code: int = 0) -> str:
        result = CliRunner().invoke(commands, list(command))
        assert result.exit_code == code, result.output
        return result.output

    page = run("validate", "exatrkx", *arguments, "-o", str(tmp_path / "report"))
    for words in ("efficiency", "fake rate", "TrackML score", "left after filter", "edges / point"):
        assert words in page
    (summary,) = json.loads((tmp_path / "report" / "summary.json").read_text())["results"].values()
    assert summary["n_events"] == 2
    assert summary["efficiency"]["double"]["total"] == 40
    shutil.copytree(tmp_path / "model", tmp_path / "same")
    both = run("validate", "exatrkx", *arguments, "--against", str(tmp_path / "same"))
    assert "Graphs" not in both
    run("validate", "exatrkx", *arguments, "--against", "x", "--url", "grpc://h:1", code=2)
    page = run("bench", "exatrkx", *arguments, "--threads", "1", "--rounds", "1")
    for words in ("direct, 1 thread", "gnn", "per point", "radius edges", "peak memory"):
        assert words in page

    write_points(tmp_path / "elsewhere", [hand_made(2)], "another")
    for command in ("validate", "bench", "reconstruct"):
        result = CliRunner().invoke(
            commands, [command, "exatrkx", str(tmp_path / "elsewhere"), *arguments[1:]]
        )
        assert isinstance(result.exception, ModelError)
        assert "another detector" in str(result.exception)

    without = [replace(hand_made(2), truth=None)]
    write_points(tmp_path / "untrue", without)
    result = CliRunner().invoke(
        commands, ["validate", "exatrkx", str(tmp_path / "untrue"), *arguments[1:]]
    )
    assert isinstance(result.exception, InputError)


def test_figures_fit_where_an_efficiency_is_one() -> None:
    """Matplotlib warns of an axis whose ends are the same."""
    event, groups = hand_made(20), [particle_points(i) for i in range(20)]
    matches = match_points_events([event], [result_of(event, groups)])
    assert summarize_points(matches).efficiency.double.value == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawn = [figures.efficiency_figure(matches), figures.stage_figure(matches)]
        drawn.append(figures.compared_efficiency_figure({"a": matches, "b": matches}))
        for figure in drawn:
            figure.canvas.draw()
    for axes in drawn[0].axes:
        low, high = axes.get_ylim()
        assert low <= 0.9
        assert high > 1
