"""The learned tracker's CUDA kernels against the CPU, without a GPU, with PyTorch on a CPU.

Events as one thread (see one_thread.py), a few points with many threads in Numba's simulator,
which accepts what PTX refuses: see test_ptx.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exatrkx_models import published_model, random_event, small_model, wide_model
from hypothesis import given, settings
from hypothesis import strategies as st
from one_thread import OneThread
from toy_tracks import RULES, SURFACES, Toy
from toy_tracks import SCALES as TOY_SCALES
from true_tracks import helices

from trackserve import ExatrkxPipeline
from trackserve.device.components import connected_components
from trackserve.edm import (
    GEV_PER_T_MM,
    Edges,
    Helices,
    PointsEvent,
    SpacePoints,
)
from trackserve.edm.columns import Array, Ragged
from trackserve.errors import EventError, LimitExceeded, encode
from trackserve.trackers.exatrkx import packing
from trackserve.trackers.exatrkx import perceptrons as on_cpu
from trackserve.trackers.exatrkx.architecture import Cuts, Doublets, Features, Finish, Perceptron
from trackserve.trackers.exatrkx.cuda import (
    CudaExatrkx,
    features,
    finish,
    perceptrons,
    radius,
    segmentation,
)
from trackserve.trackers.exatrkx.cuda.edges import BatchEdges
from trackserve.trackers.exatrkx.cuda.triplets import find_triplets
from trackserve.trackers.exatrkx.doublets import bounds_of, cuts_of
from trackserve.trackers.exatrkx.event import FeaturesEvent
from trackserve.trackers.exatrkx.features import outward_order, scale_points, sector_order
from trackserve.trackers.exatrkx.finish import (
    WORST,
    Demands,
    assemble,
    good_part,
    locate,
    make_cloud,
)
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
from trackserve.trackers.exatrkx.model import Model, load_model
from trackserve.trackers.exatrkx.radius import Pairs, find_pairs
from trackserve.trackers.exatrkx.result import GRAPH_STAGES, ExatrkxResult
from trackserve.trackers.exatrkx.segmentation import keep_best_edges, make_candidates
from trackserve.trackers.exatrkx.stages import STAGES
from trackserve.trackers.exatrkx.training.doublets import with_doublets
from trackserve.trackers.exatrkx.triplets import find_triplets as host_triplets

CPU = torch.device("cpu")
DOUBLETS = Doublets(
    (100.0,), (50.0,), (), z0=(900.0, 300.0) * 2, phi_slope=(0.1, 0.02) * 2, dphi=(2.0, 1.0) * 2
)
"""Cuts that keep some of the pairs of random points."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread_of_pytorch() -> Iterator[None]:
    """Use one thread of PyTorch: more threads wait for each other on a busy machine."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


def on_one_thread(model: Model, precision: str = "fp32", device: Any = None) -> CudaExatrkx:
    """The stages of a GPU, run by one thread."""
    return CudaExatrkx(model, CPU, precision=precision, device=device or OneThread())


def assert_same(found: Any, expected: Any, closely: float = 1e-6) -> None:
    """Check that results are equal except for the last bits of scores, and errors are equal."""
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        if isinstance(theirs, EventError):
            assert encode(mine) == encode(theirs)
            continue
        assert isinstance(mine, ExatrkxResult), mine
        assert (mine.event, mine.counts) == (theirs.event, theirs.counts)
        assert mine.stopped_by == theirs.stopped_by
        assert mine.labels == theirs.labels
        assert_close(mine.helices, theirs.helices)
        for part in ("candidates", *GRAPH_STAGES):
            a, b = getattr(mine, part), getattr(theirs, part)
            assert (a is None) == (b is None)
            if a is not None:
                for name, column in vars(a).items():
                    other = getattr(b, name)
                    if isinstance(column, Ragged):
                        assert column == other
                        continue
                    assert (column.dtype, column.shape) == (other.dtype, other.shape)
                    most = closely if "score" in name else 0
                    assert np.abs(column - other).max(initial=0) <= most, (part, name)


def assert_close(found: Helices, expected: Helices) -> None:
    """Check that helices are equal except for the last bits."""
    for name, column in vars(found).items():
        np.testing.assert_allclose(column, getattr(expected, name), rtol=1e-4, atol=1e-6)


def events() -> list[PointsEvent]:
    """Events of many points, one, none, some far from each other, and many again."""
    far = random_event(5, 3, 3)
    return [*(random_event(n, n, n) for n in (300, 1, 0)), far, random_event(800, 7, 7)]


def test_a_batch_with_doublet_cuts() -> None:
    model = with_doublets(small_model(), DOUBLETS)
    found = on_one_thread(model).run(events(), GRAPH_STAGES)
    assert_same(found, ExatrkxPipeline(model).run(events(), GRAPH_STAGES), 5e-5)
    before = ExatrkxPipeline(small_model()).run(events())
    pairs = [sum(one.counts.radius_edges for one in some) for some in (found, before)]  # type: ignore[union-attr]
    assert 0 < pairs[0] < 0.9 * pairs[1]


@pytest.mark.parametrize("segmentation", ["components", "paths"])
@pytest.mark.parametrize("order", ["given", "outward"])
@pytest.mark.parametrize("make", [small_model, published_model])
def test_a_batch(make: Any, order: Any, segmentation: Any) -> None:
    model = make()
    d = model.description
    cuts = dataclasses.replace(d.cuts, segmentation=segmentation)
    model = dataclasses.replace(model, description=dataclasses.replace(d, order=order, cuts=cuts))
    kernels = on_one_thread(model)
    found = kernels.run(events(), GRAPH_STAGES)
    assert sum(len(result.candidates) for result in found) > 3  # type: ignore[union-attr]
    assert_same(found, ExatrkxPipeline(model, device="cpu:0").run(events(), GRAPH_STAGES))
    assert_same(found, ExatrkxPipeline(model).run(events(), GRAPH_STAGES), 5e-5)
    alone = [result for event in events() for result in kernels.run([event], GRAPH_STAGES)]
    assert_same(alone, found, 5e-5 if make is published_model else 0)


@pytest.mark.slow
def test_finished_candidates_of_a_batch() -> None:
    """Pieces of a batch are followed, and compete for points, as on a CPU."""
    toys = [Toy(30, 1), Toy(0, 2), Toy(50, 3, least_pt=0.6)]
    lists = [
        [toy.piece(i, *some) for i in range(len(toy.particles)) for some in ((0, 1, 2), (5, 6, 7))]
        for toy in toys
    ]
    lists[2] += [np.concatenate([a[:2], b[1:]]) for a, b in itertools.pairwise(lists[2])]
    device = OneThread()
    points = on_device(device, [toy.scaled() for toy in toys], features_=TOY_SCALES)
    rows = [piece for some in lists for piece in some]
    counts = np.zeros((len(toys) + 1, 6), np.int32)
    counts[1:, 4] = np.cumsum([len(some) for some in lists])
    counts[1:, 5] = np.cumsum([sum(map(len, some)) for some in lists])
    flat = Ragged.of(rows, np.int32)
    given = finish.Pieces(
        flat.offsets.astype(np.int32), flat.values, np.zeros(len(rows), np.float32)
    )
    unit, least = GEV_PER_T_MM * RULES.field, 5
    taken, surfaces = np.zeros(points.n, np.bool_), device.table(SURFACES)
    cloud = finish.sort_points(device, points, surfaces, taken)
    one, demands = finish.Pass("", given, counts, counts), Demands(least, SURFACES.least, WORST)
    tracks = finish.finish(device, points, one, cloud, surfaces, unit, demands, taken)
    columns = {name: array[:n] for name, (array, n) in finish.to_download(tracks, one).items()}
    first = np.cumsum([0, *(len(toy.points) for toy in toys)])
    for e, (toy, some) in enumerate(zip(toys, lists, strict=True)):
        mine = finish.of_event(columns, one, e, int(first[e]))
        score = np.linspace(0.5, 1, len(some)).astype(np.float32)
        part = good_part(mine, score, demands)
        candidates, helices = assemble([part], toy.rank(), unit)
        expected = toy.finish(some, least)
        assert candidates == expected[0]
        on_tracks = np.flatnonzero(taken[first[e] : first[e + 1]])
        assert (np.unique(candidates.points.values) == on_tracks).all()
        assert_close(helices, expected[1])
        assert len(candidates) >= 0.9 * len(toy.particles)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.floats(0, 0.5),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=30)
def test_triplets_of_a_batch(sizes: list[int], share_taken: float, seed: int) -> None:
    random, device = np.random.default_rng(seed), OneThread()
    toys = [Toy(size, seed + e, least_pt=0.3) for e, size in enumerate(sizes)]
    points = on_device(device, [toy.scaled() for toy in toys], features_=TOY_SCALES)
    taken = random.random(points.n) < share_taken
    parts, row_of = [], np.argsort(points.row[: points.n])
    for toy in toys:
        one, other = np.nonzero(np.tril(random.random((len(toy.points),) * 2) < 0.3, -1))
        parts.append(
            Edges(
                one.astype(np.int32),
                other.astype(np.int32),
                random.random(len(one)).astype(np.float32),
            )
        )
    first = np.cumsum([0, *(len(toy.points) for toy in toys)])
    columns = [
        np.concatenate([row_of[first[e] + getattr(part, name)] for e, part in enumerate(parts)])
        for name in ("source", "target")
    ]
    start = np.cumsum([0, *map(len, parts)]).astype(np.int32)
    source, target, score = (
        np.append(a, 0).astype(kind)
        for a, kind in zip(
            (*columns, np.concatenate([part.score for part in parts])),
            (np.int32, np.int32, np.float32),
            strict=True,
        )
    )
    edges = BatchEdges(start, source, target, score, n_events=len(toys), n=int(start[-1]))
    unit = GEV_PER_T_MM * RULES.field
    surfaces = device.table(SURFACES)
    cloud = finish.sort_points(device, points, surfaces, taken)
    most = np.full(len(toys), 10_000)
    found, n_found = find_triplets(device, points, edges, taken, cloud, unit, most)
    for e, (toy, part) in enumerate(zip(toys, parts, strict=True)):
        free = ~taken[first[e] : first[e + 1]]
        mine = locate(toy.scaled(), TOY_SCALES, SURFACES)
        expected = host_triplets(
            part.take(free[part.source] & free[part.target]),
            toy.rank(),
            make_cloud(mine, SURFACES, free),
            unit,
            lambda n: None,
        )
        rows = found.rows(e)
        assert rows.stop - rows.start == len(expected) == n_found[e]
        offset = found.pieces.offset[rows]
        assert (found.pieces.offset[rows.start + 1 : rows.stop + 1] == offset + 3).all()
        points_of = found.pieces.point[offset[:, None] + np.arange(3)]
        assert (points_of.reshape(-1) == expected.points.values).all()
        assert (found.pieces.score[rows] == expected.score).all()


@pytest.mark.slow
def test_both_passes_of_finishing_on_a_device() -> None:
    """Tracks of both passes, of events of one batch, are those of a CPU."""
    shipped = load_model("default")
    batch = [helices(30, 1, 1), PointsEvent(SpacePoints.empty(), 2), helices(60, 3, 3)]

    def model_of(sure: float | None, edge: float) -> Model:
        d = shipped.description
        cuts = dataclasses.replace(d.cuts, edge=edge, finish=Finish(2.0, sure_edge=sure))
        return Model(dataclasses.replace(d, cuts=cuts), shipped.weights)

    judged = ExatrkxPipeline(model_of(None, 0.01)).reconstruct(batch[2], ["track_edges"])
    assert judged.track_edges is not None
    sure = float(np.quantile(judged.track_edges.score, 0.7))  # which few edges are
    found = on_one_thread(model_of(sure, 0.01)).run(batch)
    expected = ExatrkxPipeline(model_of(sure, 0.01)).run(batch)
    first = ExatrkxPipeline(model_of(None, sure)).run(batch)
    for mine, theirs, few in zip(found, expected, first, strict=True):
        assert not isinstance(mine, EventError)
        assert not isinstance(theirs, EventError)
        assert not isinstance(few, EventError)
        assert mine.candidates.points == theirs.candidates.points
        assert mine.counts == theirs.counts
        np.testing.assert_allclose(mine.candidates.score, theirs.candidates.score, atol=5e-5)
        assert_close(mine.helices, theirs.helices)
        assert (mine.counts.candidates > few.counts.candidates) == (mine.counts.points > 0)


def test_features_and_stages() -> None:
    """Features and positions are in one batch, as on a server."""
    model = small_model()
    kernels, plain = on_one_thread(model), ExatrkxPipeline(model)
    spec = model.description.features
    batch = [
        event if e == 1 else FeaturesEvent(scale_points(event.points.position, spec), event.event)
        for e, event in enumerate(events())
    ]
    laps: list[str] = []
    found = kernels.run(batch, ["track_edges"], laps.append)
    assert_same(found, plain.run(batch, ["track_edges"]), 5e-5)
    assert_same(found, kernels.run(events(), ["track_edges"]), 0)
    assert laps == list(STAGES)
    assert kernels.run([], GRAPH_STAGES) == []


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_reduced_precision(precision: str) -> None:
    model = small_model()
    plain = ExatrkxPipeline(model, device="cpu:0", precision=precision)
    expected = plain.run(events(), GRAPH_STAGES)
    assert_same(on_one_thread(model, precision).run(events(), GRAPH_STAGES), expected)


@pytest.mark.parametrize("name", ExatrkxLimits.names())
def test_events_beyond_a_limit_are_the_same_as_on_a_cpu(name: str) -> None:
    cuts = small_model().description.cuts
    if name == "pieces":
        cuts = Cuts(0.1, 0.45, 0.4, 4, "paths", Finish(2.0, sure_edge=0.6))
    model = small_model(cuts=cuts)
    batch = [random_event(n, n, n) for n in (30, 300, 100, 0, 250)]
    most = vars(ExatrkxPipeline(model).reconstruct(batch[2]).counts)[name]
    for beyond in ("error", "partial"):
        limits = ExatrkxLimits(**{name: most}, beyond=beyond)
        found = on_one_thread(model).run(batch, GRAPH_STAGES, limits=limits)
        expected = ExatrkxPipeline(model).run(batch, GRAPH_STAGES, limits=limits)
        assert_same(found, expected, 5e-5)
        assert sum(isinstance(r, EventError) or bool(r.stopped_by) for r in expected) == 2


def test_an_event_at_fault_fails_alone() -> None:
    model, good = small_model(), random_event(300)
    nan, outside = random_event(50, 1, 1), random_event(50, 2, 2)
    nan.points.position[13, 1] = np.nan
    outside.points.position[7, 2] = 3500
    dense = PointsEvent(SpacePoints(np.repeat(good.points.position[:9], 50, axis=0)), 4)
    batch = [good, nan, dense, outside, good]
    most = ExatrkxPipeline(model).reconstruct(good).counts.radius_edges
    limits = ExatrkxLimits(radius_edges=most)
    found = on_one_thread(model).run(batch, GRAPH_STAGES, limits=limits)
    expected = ExatrkxPipeline(model).run(batch, GRAPH_STAGES, limits=limits)
    assert isinstance(found[2], LimitExceeded)
    assert_same(found, expected, 5e-5)


def test_an_embedding_that_is_not_finite() -> None:
    unknown = dataclasses.replace(small_model().description.features, low=None, high=None)
    model = small_model(features=unknown)
    good, bad = (scale_points(random_event(n).points.position, unknown) for n in (300, 50))
    bad[13] = 1e38
    lone = np.full((1, 3), 1e38, np.float32)
    batch = [FeaturesEvent(part, e) for e, part in enumerate((good, bad, lone, good))]
    expected = ExatrkxPipeline(model).run(batch, GRAPH_STAGES)
    assert isinstance(expected[1], EventError)
    assert isinstance(expected[2], ExatrkxResult)
    assert_same(on_one_thread(model).run(batch, GRAPH_STAGES), expected, 5e-5)


def test_no_edge_is_left() -> None:
    for cuts in (Cuts(1e-6, 0.0, 0.0), Cuts(0.1, 0.999999, 0.0), Cuts(0.1, 0.0, 0.999999)):
        model = small_model(cuts=cuts)
        found = on_one_thread(model).run(events(), GRAPH_STAGES)
        assert_same(found, ExatrkxPipeline(model).run(events(), GRAPH_STAGES), 5e-5)


def test_how_often_the_host_waits_and_how_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    kernels = on_one_thread(model)
    device = kernels.device
    expected = ExatrkxPipeline(model).run(events(), GRAPH_STAGES)

    def waits(n: int) -> None:
        before = device.synchronisations
        assert_same(kernels.run(events(), GRAPH_STAGES), expected, 5e-5)
        assert device.synchronisations == before + n

    waits(4)
    monkeypatch.setattr("trackserve.trackers.exatrkx.cuda.pipeline.MAX_BATCH_POINTS", 306)
    waits(8)
    monkeypatch.setattr("trackserve.trackers.exatrkx.cuda.pipeline.MAX_BATCH_POINTS", 10_000)
    n_edges = sum(result.counts.radius_edges for result in expected)  # type: ignore[union-attr]
    monkeypatch.setattr("trackserve.trackers.exatrkx.cuda.pipeline.MAX_BATCH_EDGES", n_edges - 1)
    waits(2 + 4 + 4)


def test_a_batch_that_memory_does_not_hold_is_halved() -> None:
    model = small_model()
    expected = ExatrkxPipeline(model).run(events(), GRAPH_STAGES)
    most = max(result.counts.radius_edges for result in expected)  # type: ignore[union-attr]

    class Small(OneThread):
        room: float = math.inf
        """Rows; weights have their place before events come."""

        def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
            if shape[0] > self.room:
                raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
            return super()._allocate(shape, dtype)

    device = Small()
    kernels = on_one_thread(model, device=device)
    device.room = most + most // 4 + 4
    assert_same(kernels.run(events(), GRAPH_STAGES), expected, 5e-5)
    assert device.synchronisations > 8
    device.release()
    device.room = 100
    (error,) = kernels.run(events()[:1])
    assert isinstance(error, EventError)
    assert "not enough memory" in error.message


def random_perceptron(
    inputs: int, widths: list[int], output: int | None, activation: Any, norm: bool, seed: int
) -> tuple[Perceptron, dict[str, Array]]:
    shape = Perceptron(inputs, tuple(widths), output, activation, norm)
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, size[-1] ** -0.5, size).astype(np.float32)
        for name, size in shape.shapes().items()
    }
    return shape, weights


@given(
    st.integers(1, perceptrons.MOST_INPUTS),
    st.lists(st.integers(1, perceptrons.WIDEST), min_size=1, max_size=3),
    st.one_of(st.none(), st.integers(1, 20)),
    st.sampled_from(["relu", "tanh", "silu"]),
    st.booleans(),
    st.integers(0, 200),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_perceptrons_on_rows(
    inputs: int,
    widths: list[int],
    output: int | None,
    activation: str,
    norm: bool,
    n: int,
    seed: int,
) -> None:
    """Rows equal the CPU's; a row has the same bits alone."""
    shape, weights = random_perceptron(inputs, widths, output, activation, norm, seed)
    assert perceptrons.fits(shape)
    packed, device = packing.pack(shape, weights, ""), OneThread()
    rows = np.random.default_rng(seed).normal(0, 1, (n, inputs)).astype(np.float32)
    expected = np.empty((n, output or widths[-1]), np.float32)
    on_cpu.run_rows(packed, rows, expected)
    wider = np.full((n + 1, expected.shape[1] + 2), np.nan, np.float32)
    perceptrons.run_rows(device, packed, rows, n, wider)
    found = wider[:n, : expected.shape[1]]
    assert np.abs(found - expected).max(initial=0) < 2e-5
    assert (wider[:n, expected.shape[1] :] == 0).all()
    assert np.isnan(wider[n]).all()
    if n:
        alone = np.empty((1, expected.shape[1]), np.float32)
        perceptrons.run_rows(device, packed, rows[n // 2 :], 1, alone)
        assert (alone[0] == found[n // 2]).all()


@given(
    st.integers(1, 20),
    st.integers(0, 9),
    st.lists(st.integers(1, perceptrons.NARROW), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 200),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_perceptrons_on_edges(
    n_node: int, n_own: int, widths: list[int], norm: bool, m: int, seed: int
) -> None:
    """Rows equal the CPU's, from an edge on, and added to an output."""
    shape, weights = random_perceptron(2 * n_node + n_own, widths, 3, "silu", norm, seed)
    assert perceptrons.fits(shape, n_node)
    packed, device = packing.pack_edge(shape, weights, "", n_node), OneThread()
    random, n = np.random.default_rng(seed), 30
    nodes = random.normal(0, 1, (n, n_node)).astype(np.float32)
    own = random.normal(0, 1, (m, n_own)).astype(np.float32)
    source, target = random.integers(0, n, (2, m)).astype(np.int32)
    expected = np.empty((m, 3), np.float32)
    on_cpu.run_edges(packed, on_cpu.NetworkGraph(nodes, source, target, own), expected)
    uploaded, first = perceptrons.upload_on_edges(device, packed), m // 3
    out = np.ones((m, 3), np.float32)
    graph = perceptrons.NetworkGraph(
        nodes, n, source[first:], target[first:], own[first:], m - first
    )
    perceptrons.run_edges(device, uploaded, graph, out, add=True)
    assert np.abs(out[: m - first] - 1 - expected[first:]).max(initial=0) < 2e-5
    assert (out[m - first :] == 1).all()


def test_what_is_too_wide_is_left_to_pytorch() -> None:
    spec = dataclasses.replace(small_model().description.filter, widths=(perceptrons.NARROW + 1,))
    model = small_model(filter=spec)
    kernels = on_one_thread(model)
    assert kernels.networks.in_kernels == ("embedding", "gnn")
    assert_same(kernels.run(events()), ExatrkxPipeline(model).run(events()), 5e-5)


SCALES = Features((1000.0, 3.0, 1000.0))


def on_device(
    device: OneThread, some: list[Array], outward: bool = True, features_: Features = SCALES
) -> features.BatchPoints:
    scales = device.resident(np.array(features_.scales, np.float32))
    return features.order_points(device, some, features_, scales, outward)


@given(st.lists(st.sampled_from([0, 1, 2, 40, 1500, 3000]), min_size=1, max_size=4), st.data())
@settings(max_examples=15)
def test_order_of_points(sizes: list[int], data: st.DataObject) -> None:
    """Some points are at the same distance, some are equal."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n_values = data.draw(st.sampled_from([1, 2, 5, 1000]))
    some = [(random.integers(-n_values, n_values, (n, 3)) / n_values).astype("f4") for n in sizes]
    points = on_device(OneThread(), some)
    for e, scaled in enumerate(some):
        rows = slice(*points.start[e : e + 2])
        rank = np.argsort(outward_order(scaled, SCALES))
        order = sector_order(scaled, SCALES, rank)
        assert (points.rank[rows] == rank).all()
        assert (points.row[rows] - points.start[e] == order).all()
        assert (points.place[rows] == rank[order]).all()
        assert (points.scaled[rows] == scaled[order]).all()
        assert (points.event[rows] == e).all()


@given(
    st.lists(st.integers(0, 150), min_size=1, max_size=5),
    st.integers(3, 17),
    st.sampled_from([1e-3, 0.3, 1.0, 4.0, 1e4]),
    st.sampled_from([0.0, 0.1, 1e4, 1e12]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_pairs_of_a_batch(
    sizes: list[int],
    n_dimensions: int,
    near: float,
    far: float,
    on_grid: bool,
    cut: bool,
    seed: int,
) -> None:
    """Points are far from the origin, and exactly one radius apart; all pairs, or doublets."""
    random, device = np.random.default_rng(seed), OneThread()
    n, n_events = sum(sizes), len(sizes)
    coordinates = random.normal(0, 1, (n, n_dimensions)) + far * random.integers(0, 2, (n, 1))
    if on_grid:
        coordinates = np.round(coordinates * 3) * near
    coordinates = coordinates.astype(np.float32)
    bounds = bounds_of(DOUBLETS if cut else None)
    scaled = random.normal(0, 0.1, (n, 3)).astype(np.float32)
    starts = np.cumsum([0, *sizes])
    events = [slice(first, last) for first, last in itertools.pairwise(starts)]
    points = on_device(device, [scaled[rows] for rows in events], False)
    array = device.array("coordinates", n, np.float32, n_dimensions)
    array[:n] = coordinates
    search = radius.sort_by_cell(device, points, array, near, device.table(bounds))
    pairs = radius.count_pairs(device, points, search, 10**9)
    expected = [
        find_pairs(
            coordinates[rows],
            near,
            10**9,
            0,
            cuts_of(bounds, points.scaled[rows], SCALES),
        )
        for rows in events
    ]
    counts = [len(part.source) for part in expected if isinstance(part, Pairs)]
    assert pairs.found[:n_events].tolist() == counts
    m = int(pairs.found[:n_events].sum())
    edges = radius.fill_pairs(device, points, search, pairs, m)
    for e, (source, target) in enumerate(expected):
        rows = slice(*edges.start[e : e + 2])
        assert (edges.source[rows] - starts[e] == source).all()
        assert (edges.target[rows] - starts[e] == target).all()


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
    st.floats(0, 3),
    st.sampled_from([1, 2, 1000]),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([None, 0.5]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_candidates_of_a_batch(
    sizes: list[int],
    degree: float,
    n_scores: int,
    paths: bool,
    min_points: int,
    sure: float | None,
    seed: int,
) -> None:
    """The batch has edges of one score, isolated points and events without edges; some edges do
    not count."""
    random, device = np.random.default_rng(seed), OneThread()
    some = [random.uniform(-1, 1, (size, 3)).astype(np.float32) for size in sizes]
    n_events, starts = len(sizes), np.cumsum([0, *sizes])
    points = on_device(device, some)
    parts, n_before = [], [0]
    for e, size in enumerate(sizes):
        source, target = np.nonzero(np.tril(random.random((size, size)) * size < degree, -1))
        parts.append((source + starts[e], target + starts[e]))
        n_before.append(n_before[-1] + len(source))
    source, target = (
        np.concatenate(column).astype(np.int32) for column in zip(*parts, strict=True)
    )
    m = len(source)
    score = (random.integers(1, n_scores + 1, m) / n_scores).astype(np.float32)
    rows = [np.append(a, 0).astype(a.dtype) for a in (source, target, score)]
    edges = BatchEdges(np.array(n_before, np.int32), *rows, n_events=n_events, n=m)
    rules = None if sure is None else Finish(2.0, min_points, sure)
    cuts = Cuts(1, 0, 0, min_points, "paths" if paths else "components", rules)
    found = segmentation.find_components(device, points, edges, cuts)
    made = segmentation.make_candidates(device, points, edges, found)
    counts = segmentation.find_counts(device, points, (edges,) * 3, found)
    for e in range(n_events):
        first, mine = starts[e], slice(n_before[e], n_before[e + 1])
        row = points.row[first : starts[e + 1]] - first
        own = Edges(row[source[mine] - first], row[target[mine] - first], score[mine])
        wanted = own.score > (sure or 0)
        own = own.take(wanted)
        rank = points.rank[first : starts[e + 1]]
        if paths:
            kept = keep_best_edges(rank, own)
            assert (found.used[mine][wanted] == kept).all()
            own = own.take(kept)
        assert found.used[mine].sum() == len(own)
        labels = connected_components(sizes[e], own.source, own.target)
        expected = make_candidates(labels, rank, own, min_points)
        assert (made.label[first : starts[e + 1]] == labels).all()
        c, p = slice(*counts[e : e + 2, 4]), slice(*counts[e : e + 2, 5])
        assert (made.offset[c] - counts[e, 5] == expected.points.offsets[:-1]).all()
        assert (made.point[p] == expected.points.values).all()
        assert (made.score[c] == expected.score).all()


@pytest.mark.slow
def test_several_threads(tmp_path: Path) -> None:
    """Numba's simulator runs several threads."""
    some = [random_event(60, 1, 1), random_event(0), random_event(30, 2, 2)]
    given, found = tmp_path / "events.pickle", tmp_path / "results.pickle"
    given.write_bytes(pickle.dumps(some))
    script = Path(__file__).with_name("simulate_exatrkx.py")
    env = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    env |= {"NUMBA_OPT": "0", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script, given, found], check=True, env=env)
    expected = ExatrkxPipeline(wide_model()).run(some, GRAPH_STAGES)
    assert_same(pickle.loads(found.read_bytes()), expected, 5e-5)


def test_an_embedding_of_two_dimensions() -> None:
    embedding = dataclasses.replace(small_model().description.embedding, dimensions=2)
    model = small_model(embedding=embedding, cuts=Cuts(0.0101, 0.3, 0.3))
    found = on_one_thread(model).run(events(), GRAPH_STAGES)
    assert_same(found, ExatrkxPipeline(model).run(events(), GRAPH_STAGES), 5e-5)
