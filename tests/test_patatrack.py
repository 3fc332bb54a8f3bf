"""The pipeline against the C++ program, itself and plain formulas."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helices import fit_points, helix_points
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.raw_words import split, stream
from trackserve import PatatrackPipeline
from trackserve.edm import (
    VAR_ZIP,
    VARIANCES,
    Digis,
    Hits,
    RawEvent,
    Tracks,
)
from trackserve.edm.columns import Array
from trackserve.edm.limits import MOST
from trackserve.io import read_conditions, read_events, read_reference_counts
from trackserve.trackers.laps import Laps
from trackserve.trackers.patatrack.clusterize import clusterize
from trackserve.trackers.patatrack.config import DEFAULT, REFERENCE, PatatrackConfig
from trackserve.trackers.patatrack.connect import connect_cells
from trackserve.trackers.patatrack.doublets import find_doublets, order_by_phi
from trackserve.trackers.patatrack.fit import fit_broken_lines
from trackserve.trackers.patatrack.hits import make_position_tables, phi_in_units
from trackserve.trackers.patatrack.ntuplets import MAX_CELLS, Ntuplets, find_ntuplets
from trackserve.trackers.patatrack.result import PatatrackResult
from trackserve.trackers.patatrack.strategies import vertices_of
from trackserve.trackers.patatrack.unpack import stream_words
from trackserve.trackers.registry import find_tracker

MORE_DATA = os.environ.get("TRACKSERVE_TEST_DATA", "")
"""A folder of further pixel data directories, where there is one."""


def check_reference_counts(directory: Path) -> None:
    counts = read_reference_counts(directory)
    assert counts is not None
    pipeline = PatatrackPipeline.from_directory(directory, "reference")
    results = pipeline.run(list(read_events(directory)))
    ours = np.array([r.counts.as_array() for r in results])  # type: ignore[union-attr]
    modules, words, clusters, _, ntuplets, _, vertices = ours.T
    np.testing.assert_array_equal(modules, counts.modules)
    np.testing.assert_array_equal(words, counts.digis)
    np.testing.assert_array_equal(clusters, counts.clusters)
    np.testing.assert_allclose(ntuplets, counts.ntuplets, rtol=0.012)
    np.testing.assert_allclose(vertices, counts.vertices, atol=1)


def test_counts_are_those_of_the_reference(sample_directory: Path) -> None:
    check_reference_counts(sample_directory)


@pytest.mark.skipif(not MORE_DATA, reason="TRACKSERVE_TEST_DATA names no folder")
@pytest.mark.parametrize("name", ["patatrack-light", "patatrack-dense"])
def test_counts_at_other_occupancies(name: str) -> None:
    check_reference_counts(Path(MORE_DATA) / name)


@pytest.mark.parametrize("size", [1, 7, 10])
@pytest.mark.parametrize("threads", [1, 2])
def test_batch_and_threads_change_no_bit(
    sample_directory: Path,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    size: int,
    threads: int,
) -> None:
    pipeline = PatatrackPipeline.from_directory(sample_directory, threads=threads)
    order = [7, 2, 9, 0, 4, 1, 8, 3, 6, 5]
    keep = ("digis", "clusters", "hits", "doublets", "ntuplets")
    for start in range(0, 10, size):
        chosen = order[start : start + size]
        results = pipeline.run([sample_events[i] for i in chosen], keep)
        assert results == [sample_results[i] for i in chosen]


@settings(max_examples=5)
@given(seed=st.integers(0, 1000))
def test_order_of_feds_changes_no_bit(
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
    seed: int,
) -> None:
    feds = split(sample_events[2])
    np.random.default_rng(seed).shuffle(feds)
    event = replace(stream(feds, 2), beam_spot=sample_events[2].beam_spot)
    assert pipeline.reconstruct(event, ("hits",)) == replace(
        sample_results[2], digis=None, clusters=None, doublets=None, ntuplets=None
    )


def test_intermediate_objects_come_only_when_asked_for(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    assert pipeline.reconstruct(sample_events[0]).hits is None
    kept = pipeline.reconstruct(sample_events[0], keep=("hits",))
    assert kept.hits is not None
    assert kept.digis is None


def test_nouns_refer_to_each_other(sample_results: list[PatatrackResult]) -> None:
    for result in sample_results:
        digis, clusters, hits, doublets = (
            *(result.digis, result.clusters, result.hits, result.doublets),
        )
        assert digis is not None
        assert clusters is not None
        assert hits is not None
        assert doublets is not None
        inside = digis.cluster >= 0
        charge = np.bincount(digis.cluster[inside], digis.charge[inside], len(clusters))
        np.testing.assert_array_equal(charge, clusters.charge)
        np.testing.assert_array_equal(clusters.module, hits.module)
        assert (np.diff(hits.module.astype(int)) >= 0).all()
        assert (hits.r[doublets.outer] >= hits.r[doublets.inner]).all()
        for track_hits, n in zip(result.tracks.hits, result.tracks.n_hits, strict=True):
            assert (track_hits[:n] >= 0).all()
            assert (track_hits[n:] == -1).all()
        assert result.tracks.vertex.max() == len(result.vertices) - 1
        assert (np.diff(result.vertices.sum_pt2) <= 0).all()


def test_beam_spot_moves_the_hits(
    pipeline: PatatrackPipeline,
    sample_events: list[RawEvent],
    sample_results: list[PatatrackResult],
) -> None:
    event = sample_events[0]
    moved = replace(event.beam_spot, z=event.beam_spot.z + 1)
    hits = pipeline.reconstruct(replace(event, beam_spot=moved), ("hits",)).hits
    assert hits is not None
    assert sample_results[0].hits is not None
    np.testing.assert_allclose(hits.z, sample_results[0].hits.z - 1, atol=1e-5)


@given(st.floats(-20, 20, width=32), st.floats(-20, 20, width=32))
def test_phi_is_within_a_unit(x: float, y: float) -> None:
    if math.hypot(x, y) < 1e-3:
        return
    exact = math.atan2(y, x) * 32768 / math.pi
    found = phi_in_units(np.float32(y), np.float32(x))
    assert -32768 <= found <= 32767
    assert abs((found - exact + 32768) % 65536 - 32768) <= 1.01


pixels = st.lists(
    st.tuples(st.integers(0, 1), st.integers(75, 84), st.integers(48, 56)), max_size=60
)


@given(pixels=pixels)
def test_clusters_are_the_connected_pixels(pixels: list[tuple[int, int, int]]) -> None:
    """Against labels propagated until nothing changes; a pixel may come twice."""
    pixels = sorted(pixels, key=lambda pixel: pixel[0])
    module, row, col = np.array(pixels, np.uint16).reshape(-1, 3).T.copy()
    charge = np.full(len(pixels), 5000, np.uint16)
    digis = Digis(module, row, col, charge, np.empty(len(pixels), np.int32))
    held, _, n_modules, _ = clusterize(digis.arrays(), REFERENCE.clusters, MOST, MOST)
    clusters = held.value
    label = np.arange(len(pixels))
    place = np.array(pixels, int).reshape(-1, 3)
    step = np.abs(place[:, None] - place[None])
    touch = (step[..., 0] == 0) & (step[..., 1] <= 1) & (step[..., 2] <= 1)
    for _ in pixels:
        label = np.where(touch, label[None], len(pixels)).min(axis=1, initial=len(pixels))
    expected = np.unique(label, return_inverse=True)[1] if len(pixels) else label
    np.testing.assert_array_equal(digis.cluster, expected)
    assert n_modules == len(np.unique(module))
    for k in range(len(clusters.module)):
        mine = expected == k
        assert clusters.min_row[k] == row[mine].min()
        assert clusters.max_col[k] == col[mine].max()
        assert clusters.charge_min_row[k] == charge[mine & (row == clusters.min_row[k])].sum()


def test_cluster_charge_cut_is_strict() -> None:
    def charges_kept(module: int, charge: int) -> int:
        one = np.array([1], np.uint16)
        digis = Digis(
            *(one * module, one, one, one * charge, np.empty(1, np.int32)),
        )
        return clusterize(digis.arrays(), REFERENCE.clusters, MOST, MOST)[1]

    assert [charges_kept(95, 2000), charges_kept(95, 2001)] == [0, 1]
    assert [charges_kept(96, 4000), charges_kept(96, 4001)] == [0, 1]


def test_a_charge_beyond_31_bits_does_not_vanish() -> None:
    """More than a module has pixels: each may come twice."""
    n = 40_000
    one = np.ones(n, np.uint16)
    digis = Digis(one, one, one, one * 65_535, np.empty(n, np.int32))
    clusters, n, *_ = clusterize(digis.arrays(), REFERENCE.clusters, MOST, MOST)
    assert n == 1
    assert (digis.cluster == 0).all()
    for name in ("charge", "charge_min_row", "charge_max_row", "charge_min_col", "charge_max_col"):
        assert getattr(clusters.value, name).tolist() == [2**31 - 1]


def random_hits(rng: np.random.Generator, n: int) -> Hits:
    """Hits near the seam at phi = pi, on the first three barrel layers and a disk."""
    module = np.sort(rng.choice([3, 100, 330, 1190], n)).astype(np.uint16)
    r = np.select(
        [module == 3, module == 100, module == 330], [2.9, 6.8, 10.9], rng.uniform(5, 15, n)
    ).astype(np.float32)
    phi = np.pi + rng.normal(0, 0.08, n)
    z = np.where(module == 1190, 32, rng.uniform(-25, 25, n)).astype(np.float32)
    x, y = (r * np.cos(phi)).astype(np.float32), (r * np.sin(phi)).astype(np.float32)
    units = np.array([phi_in_units(b, a) for a, b in zip(x, y, strict=True)], np.int16)
    f, i = np.zeros(n, np.float32), np.zeros(n, np.int16)
    size_y = rng.integers(-40, 60, n).astype(np.int16)
    return Hits(module, f, f, f, f, x, y, z, r, units, f.astype(np.int32), i, size_y)


def brute_force_doublets(hits: Hits, config: PatatrackConfig) -> set[tuple[int, int]]:
    """Every pair of hits by the facts' table of cuts, with no ordering and no window."""
    layer = np.searchsorted([96, 320, 672, 1184, 1296], hits.module, side="right")
    cut = config.doublets
    found = set()
    for pair in config.layer_pairs:
        for i in np.flatnonzero(layer == pair["inner"]):
            for o in np.flatnonzero(layer == pair["outer"]):
                zi, ri, si = hits.z[i], hits.r[i], int(hits.size_y[i])
                zo, ro, so = hits.z[o], hits.r[o], int(hits.size_y[o])
                dphi = (int(hits.phi[o]) - int(hits.phi[i]) + 32768) % 65536 - 32768
                dr = ro - ri
                if abs(dphi) > pair["phi"] or not pair["min_z"] <= zi <= pair["max_z"]:
                    continue
                if dr > pair["max_dr"] or dr < 0 or abs(zi * ro - ri * zo) > cut.max_z0 * dr:
                    continue
                angle = dphi * np.pi / 32768
                if angle**2 * (4 * cut.min_radius**2 - ri * ro) > dr**2:
                    continue
                if config is DEFAULT:
                    barrel = (si, so) if pair["outer"] < 4 else (si,)
                    length = abs(zo - zi) * np.float32(15.2)
                    skips = pair["outer"] < 4 and pair["outer"] > pair["inner"] + 1
                    short, long = (3, 18) if skips else (6, 28)
                    known = [np.float32(s) for s in barrel if s > 0]
                    if any(length > (s + short) * dr or length < (s - long) * dr for s in known):
                        continue
                if pair["outer"] < 4:
                    limit = 28 if pair["inner"] == 0 else 20
                    if si > 0 and so > 0 and abs(so - si) > limit:
                        continue
                else:
                    if pair["inner"] == 0 and 0 < si < 36:
                        continue
                    if pair["inner"] == 1 and 0 < si < 28:
                        continue
                    predicted = int(abs((zi - zo) / (ri - ro)) * 15.2 + 0.5)
                    if si > 0 and abs(si - predicted) > 20:
                        continue
                found.add((int(i), int(o)))
    return found


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000), n=st.integers(0, 60), config=st.sampled_from([REFERENCE, DEFAULT])
)
def test_doublets_are_all_compatible_pairs(seed: int, n: int, config: PatatrackConfig) -> None:
    hits = random_hits(np.random.default_rng(seed), n)
    ordered = order_by_phi(hits.arrays()).value
    cells = find_doublets(ordered, config.layer_pairs, config.doublets, MOST)[0].value
    pairs = zip(ordered.order[cells.inner], ordered.order[cells.outer], strict=True)
    found = [(int(i), int(o)) for i, o in pairs]
    assert len(found) == len(set(found))
    assert set(found) == brute_force_doublets(hits, config)


@pytest.mark.parametrize(
    ("modules", "dca", "connected"),
    [
        ((3, 100, 330), 0.14, True),
        ((3, 100, 330), 0.16, False),
        ((3, 100, 700), 0.03, True),
        ((3, 100, 700), 0.05, False),
        ((3, 330, 700), 0.05, False),
        ((100, 330, 700), 0.24, True),
        ((100, 330, 700), 0.26, False),
    ],
)
def test_a_triplet_comes_near_the_beam_line(
    modules: tuple[int, ...], dca: float, connected: bool
) -> None:
    """Nearer if it lacks a layer and cannot get longer; cm."""
    radius = np.array([{3: 2.9, 100: 6.8, 330: 10.9, 700: 16.0}[m] for m in modules])
    turn, far = 200.0, 200.0 + dca  # radius of the circle, and its centre's distance
    angle = np.arccos((far**2 + radius**2 - turn**2) / (2 * far * radius))
    x, y = (radius * np.cos(angle)).astype(np.float32), (radius * np.sin(angle)).astype(np.float32)
    f, i = np.zeros(3, np.float32), np.zeros(3, np.int16)
    units = np.array([phi_in_units(b, a) for a, b in zip(x, y, strict=True)], np.int16)
    r = radius.astype(np.float32)
    module = np.array(modules, np.uint16)
    hits = Hits(module, f, f, f, f, x, y, f, r, units, f.astype(np.int32), i, i)
    ordered = order_by_phi(hits.arrays())
    cells, n_cells = find_doublets(ordered, DEFAULT.layer_pairs, DEFAULT.doublets, MOST)
    assert n_cells >= 2
    graph, *_ = connect_cells(ordered, cells, DEFAULT.connections, MOST, MOST)
    assert len(graph.value.neighbour) == connected


def test_room_is_made_for_any_number_of_cells_and_ntuplets() -> None:
    """Hits in bunches on three layers, along one track: all pairs and triplets are found."""
    k = 64
    module = np.repeat([3, 100, 330], k).astype(np.uint16)
    r = np.repeat([2.9, 6.8, 10.9], k).astype(np.float32)
    phi = r / 200  # a circle of 100 cm through the beam line
    x, y = r * np.cos(phi), r * np.sin(phi)
    units = (phi * 32768 / np.pi).astype(np.int16)
    f, i = np.zeros(3 * k, np.float32), np.zeros(3 * k, np.int16)
    hits = Hits(module, f, f, f, f, x, y, f, r, units, f.astype(np.int32), i, i)
    ordered = order_by_phi(hits.arrays())
    cells, n_cells = find_doublets(ordered, REFERENCE.layer_pairs, REFERENCE.doublets, MOST)
    graph, *_ = connect_cells(ordered, cells, REFERENCE.connections, MOST, MOST)
    ntuplets, n_ntuplets = find_ntuplets(graph, REFERENCE.layer_pairs, REFERENCE.ntuplets, MOST)
    assert n_cells == len(cells.value.inner) == 3 * k**2
    assert len(graph.value.neighbour) == k**3
    assert len(np.unique(ntuplets.value.hits, axis=0)) == n_ntuplets == k**3


def test_dead_and_noisy_columns_drop_out(
    sample_directory: Path, sample_events: list[RawEvent], sample_results: list[PatatrackResult]
) -> None:
    conditions = read_conditions(sample_directory)
    digis = sample_results[0].digis
    assert digis is not None
    gain = conditions.gain.copy()
    bad = np.unique(digis.module)[5:7]
    for module, flag in zip(bad, ("dead", "noisy"), strict=True):
        first, last = gain["module"]["first"][module], gain["module"]["last"][module]
        gain["values"][first // 2 : last // 2, 1] = gain[flag]
    left = (
        PatatrackPipeline(replace(conditions, gain=gain))
        .reconstruct(sample_events[0], ("digis",))
        .digis
    )
    assert left is not None
    kept = digis.take(~np.isin(digis.module, bad))
    for name in ("module", "row", "col", "charge"):
        np.testing.assert_array_equal(getattr(left, name), getattr(kept, name))


@settings(max_examples=100)
@given(
    pt=st.floats(0.5, 20),
    charge=st.sampled_from([-1, 1]),
    phi=st.floats(-3.1, 3.1),
    tip=st.floats(-0.2, 0.2),
    cot_theta=st.floats(-2, 2),
    zip_=st.floats(-10, 10),
    n=st.sampled_from([3, 4, 5]),
    config=st.sampled_from([REFERENCE, DEFAULT]),
)
def test_fit_finds_an_exact_helix(
    pt: float,
    charge: int,
    phi: float,
    tip: float,
    cot_theta: float,
    zip_: float,
    n: int,
    config: PatatrackConfig,
) -> None:
    points = helix_points(pt, charge, phi, tip, cot_theta, zip_, n)
    normals = points * [1, 1, 0] / np.hypot(*points[:, :2].T)[:, None]
    (found,), (covariance,), (chi2,) = fit_points(points[None], normals, config.fit)
    assert abs((found[0] - phi + math.pi) % (2 * math.pi) - math.pi) < 1e-4
    assert found[1] == pytest.approx(tip, abs=1e-4)
    assert found[2] == pytest.approx(charge / pt, rel=1e-3, abs=1e-4)
    assert found[3] == pytest.approx(cot_theta, abs=1e-4)
    assert found[4] == pytest.approx(zip_, abs=1e-4)
    assert 0 <= chi2 < 0.05
    assert (covariance[list(VARIANCES)] > 0).all()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 70))
def test_no_track_depends_on_those_beside_it_in_the_fit(
    sample_directory: Path, sample_results: list[PatatrackResult], seed: int, n: int
) -> None:
    """Some ntuplets of an event, in any order, are the same bits as among all of it."""
    hits, all_of_it = sample_results[0].hits, sample_results[0].ntuplets
    assert hits is not None
    assert all_of_it is not None
    ordered = order_by_phi(hits.arrays()).value
    place = np.empty(len(hits), np.int32)
    place[ordered.order] = np.arange(len(hits), dtype=np.int32)
    some = all_of_it.take(np.random.default_rng(seed).integers(0, len(all_of_it), n))
    rows = np.where(some.hits < 0, -1, place[some.hits])
    # arrays as the pipeline's, for which its loop is compiled
    cells = rows[:, :MAX_CELLS].copy()
    ntuplets = Ntuplets(some.n_hits, cells, rows, np.zeros(n, np.bool_))
    tables = make_position_tables(read_conditions(sample_directory))
    fitted = fit_broken_lines(ntuplets, ordered, hits.arrays(), tables, DEFAULT.fit).value
    assert fitted.state.tobytes() == some.state.tobytes()
    assert fitted.covariance.tobytes() == some.covariance.tobytes()
    assert fitted.chi2.tobytes() == some.chi2.tobytes()


def tracks_at(z: Array, sigma: float, pt: float = 1.0) -> Tracks:
    n = len(z)
    state = np.zeros((n, 5), np.float32)
    state[:, 2] = 1 / pt
    state[:, 4] = z
    covariance = np.zeros((n, 15), np.float32)
    covariance[:, VAR_ZIP] = sigma**2
    one = np.ones(n, np.float32)
    hits = np.zeros((n, 5), np.int32)
    integer = np.full(n, 4)
    quality, n_hits = integer.astype(np.uint8), integer.astype(np.int8)
    return Tracks(state, covariance, one, n_hits, quality, n_hits, hits, np.zeros(n, np.int16))


def test_two_collisions_are_two_vertices() -> None:
    rng = np.random.default_rng(4)
    z = np.concatenate([rng.normal(-1.0, 0.004, 12), rng.normal(2.0, 0.004, 8), [9.0]])
    vertices, vertex = vertices_of(tracks_at(z, 0.004), REFERENCE.vertices)
    np.testing.assert_allclose(vertices.z, [-1.0, 2.0], atol=0.005)
    assert vertex.tolist() == [0] * 12 + [1] * 8 + [-1]
    np.testing.assert_allclose(vertices.sum_pt2, [12, 8])
    np.testing.assert_allclose(vertices.ndof, [11, 7])


def test_a_wide_vertex_is_split() -> None:
    z = np.array([0.0, 0.001, 0.002, 0.02, 0.038, 0.039, 0.04])
    vertices, _ = vertices_of(tracks_at(z, 0.009), REFERENCE.vertices)
    assert len(vertices) == 1
    vertices, _ = vertices_of(tracks_at(z, 0.005), REFERENCE.vertices)
    assert len(vertices) == 2


@settings(max_examples=30)
@given(seed=st.integers(0, 1000))
def test_order_of_tracks_does_not_move_vertices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = np.concatenate([rng.normal(c, 0.005, 6) for c in rng.uniform(-8, 8, 10)])
    order = rng.permutation(len(z))
    tracks = tracks_at(z, 0.005)
    straight, vertex = vertices_of(tracks, REFERENCE.vertices)
    shuffled, vertex_shuffled = vertices_of(tracks.take(order), REFERENCE.vertices)
    np.testing.assert_allclose(np.sort(shuffled.z), np.sort(straight.z), atol=1e-6)
    assert (vertex_shuffled >= 0).sum() == (vertex >= 0).sum()


def test_triplets_and_soft_tracks_make_no_vertex() -> None:
    z = np.zeros(5)
    vertices, vertex = vertices_of(tracks_at(z, 0.005, pt=0.4), REFERENCE.vertices)
    assert len(vertices) == 0
    assert vertex.tolist() == [-1] * 5


def test_a_second_start_compiles_nothing(
    sample_directory: Path, sample_results: list[PatatrackResult]
) -> None:
    """A new process takes every loop from the cache on disk."""
    code = f"""
import importlib, pkgutil
import trackserve.trackers.patatrack as patatrack
from trackserve import PatatrackPipeline
from trackserve.io import read_events
pipeline = PatatrackPipeline.from_directory({str(sample_directory)!r})
pipeline.reconstruct(next(read_events({str(sample_directory)!r})))
modules = [importlib.import_module(f"trackserve.trackers.patatrack.{{m.name}}")
           for m in pkgutil.iter_modules(patatrack.__path__)]
kernels = {{id(v): v for m in modules for v in vars(m).values() if hasattr(v, "stats")}}
stats = [k.stats for k in kernels.values() if k.targetoptions.get("nogil")]
print(sum(len(s.cache_hits) for s in stats) > 10, sum(len(s.cache_misses) for s in stats))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "0"]


def test_every_stage_ends_once_and_in_order(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent]
) -> None:
    ended: list[str] = []
    pipeline.run(sample_events[:1], lap=ended.append)
    assert tuple(ended) == find_tracker("patatrack").stages


@pytest.mark.parametrize("clock", [time.perf_counter, time.thread_time])
def test_stopwatch_has_the_times_of_stages_in_one_call(
    pipeline: PatatrackPipeline, sample_events: list[RawEvent], clock: Callable[[], float]
) -> None:
    names: list[str] = []
    pipeline.run(sample_events[:1], lap=names.append)
    begin = clock()
    laps = Laps(clock)
    pipeline.run(sample_events[:1], lap=laps)
    spent = clock() - begin
    assert list(laps.seconds) == names
    assert min(laps.seconds.values()) > 0
    assert 0.5 * spent < sum(laps.seconds.values()) <= spent


def test_events_that_may_be_written_to_need_no_code_of_their_own(
    sample_events: list[RawEvent],
) -> None:
    """Numba would compile all stages once more for them, after the warm-up."""
    data = sample_events[0].data.copy()
    assert not stream_words(replace(sample_events[0], data=data)).flags.writeable
    assert data.flags.writeable
