"""The learned pipeline: exact where there is a reference, and right for any input."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from exatrkx_models import (
    LRT,
    POLAR,
    published_model,
    random_event,
    small_model,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from trackserve import ExatrkxPipeline
from trackserve.device.components import connected_components
from trackserve.edm import (
    Edges,
    PointsEvent,
    SpacePoints,
)
from trackserve.edm.columns import Array
from trackserve.errors import EventError, InputError, LimitExceeded, MalformedEvent, ModelError
from trackserve.trackers.exatrkx.architecture import (
    EDGE_INPUTS,
    AttentionGnn,
    Cuts,
    Embedding,
    Features,
    Filter,
    InteractionGnn,
)
from trackserve.trackers.exatrkx.event import FeaturesEvent
from trackserve.trackers.exatrkx.features import (
    edge_inputs,
    node_inputs,
    outward_order,
    scale_points,
)
from trackserve.trackers.exatrkx.limits import ExatrkxLimits
from trackserve.trackers.exatrkx.model import load_model, save_model
from trackserve.trackers.exatrkx.networks import CpuNetworks, scores_of
from trackserve.trackers.exatrkx.perceptrons import NetworkGraph
from trackserve.trackers.exatrkx.radius import Pairs, find_pairs
from trackserve.trackers.exatrkx.result import GRAPH_STAGES, ExatrkxResult
from trackserve.trackers.exatrkx.segmentation import keep_best_edges, make_candidates
from trackserve.trackers.exatrkx.stages import STAGES
from trackserve.trackers.exatrkx.torch_networks import TorchNetworks


@pytest.fixture(scope="module")
def lrt() -> dict[str, Array]:
    with np.load(LRT / "lrt_in_e1000_reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def pipeline() -> ExatrkxPipeline:
    return ExatrkxPipeline(small_model())


def pairs_of(coordinates: Array, radius: float, max_edges: int) -> Pairs:
    """All pairs within the radius."""
    return find_pairs(coordinates, radius, max_edges, 0)


def groups(labels: Array) -> set[frozenset[int]]:
    """The sets of points with one label."""
    return {frozenset(np.flatnonzero(labels == label)) for label in np.unique(labels)}


class TestPublishedEvent:
    """The answer of a running Triton with the published model to a published event."""

    def test_same_edges_from_the_embedding(self, lrt: dict[str, Array]) -> None:
        source, target = pairs_of(lrt["embedding"], 1.6, 10_000)
        published = set(zip(*lrt["frnn_edges"].tolist(), strict=True))
        assert len(source) == 2334
        assert set(zip(source.tolist(), target.tolist(), strict=True)) == published

    def test_same_edges_after_the_filter(self, lrt: dict[str, Array]) -> None:
        kept = scores_of(lrt["filter_logits"]) > np.float32(0.21)
        assert (lrt["frnn_edges"][:, kept] == lrt["filtered_edges"]).all()

    @pytest.mark.parametrize("make", [CpuNetworks, lambda model: TorchNetworks(model, "cpu")])
    def test_same_logits_of_the_graph_network(self, lrt: dict[str, Array], make: object) -> None:
        source, target = lrt["filtered_edges"].astype(np.int32)
        none = np.empty((len(source), 0), np.float32)
        graph = NetworkGraph(lrt["features"], source, target, none)
        logits = make(published_model()).gnn(graph)  # type: ignore[operator]
        assert np.abs(logits - lrt["gnn_logits"]).max() < 2e-4

    def test_same_components(self, lrt: dict[str, Array]) -> None:
        kept = scores_of(lrt["gnn_logits"]) > np.float32(0.75)
        source, target = lrt["filtered_edges"][:, kept]
        labels = connected_components(len(lrt["features"]), source, target)
        assert len(labels) == 314  # the published service returns 313 here
        assert labels.max() + 1 == 37
        mine = {group for group in groups(labels) if len(group) > 1}
        assert len(mine) == 32
        assert len(mine & groups(lrt["wcc_labels_313"])) == 31

    def test_whole_pipeline(self, lrt: dict[str, Array]) -> None:
        """Every stage takes edges from the stage before it; each pair of points has one edge."""
        pipeline = ExatrkxPipeline(published_model())
        (result,) = pipeline.run([FeaturesEvent(lrt["features"], 7)], GRAPH_STAGES)
        assert not isinstance(result, EventError)
        stages = [result.radius_edges, result.filter_edges, result.track_edges]
        pairs = []
        for edges in stages:
            assert edges is not None
            assert (edges.source > edges.target).all()
            pairs.append(set(zip(edges.source.tolist(), edges.target.tolist(), strict=True)))
            assert len(pairs[-1]) == len(edges) > 0
        assert pairs[2] < pairs[1] <= pairs[0]
        assert len(result.labels) == 314


def brute_force(coordinates: Array, radius: float) -> Pairs:
    squared = np.zeros((len(coordinates),) * 2, np.float32)
    for x in coordinates.T:
        difference = x[:, None] - x[None]
        squared += difference * difference
    source, target = np.nonzero(np.tril(squared < np.float32(radius) * np.float32(radius), -1))
    return Pairs(source, target)


class TestRadius:
    @given(
        st.integers(0, 200),
        st.integers(1, 17),
        st.sampled_from([1e-3, 0.3, 1.0, 4.0, 1e4]),
        st.sampled_from([0.0, 0.1, 1e4]),
        st.booleans(),
        st.integers(0, 2**32 - 1),
    )
    @settings(max_examples=60)
    def test_as_brute_force(
        self, n: int, n_dimensions: int, radius: float, far: float, on_grid: bool, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        points = random.normal(0, 1, (n, n_dimensions)) + far * random.integers(0, 2, (n, 1))
        if on_grid:  # many equal points, and many at exactly the radius
            points = np.round(points) * radius
        points = points.astype(np.float32)
        source, target = pairs_of(points, radius, n * n)
        expected = brute_force(points, radius)
        assert (source == expected[0]).all()
        assert (target == expected[1]).all()

    def test_a_pair_at_the_radius_is_none(self) -> None:
        points = np.array([[0, 0], [0.5, 0], [0.25, 0]], np.float32)
        source, target = pairs_of(points, 0.5, 10)
        assert (source.tolist(), target.tolist()) == ([2, 2], [0, 1])

    def test_no_cap_on_neighbours(self) -> None:
        points = np.zeros((2000, 8), np.float32)
        assert len(pairs_of(points, 0.1, 10**7).source) == 2000 * 1999 // 2

    def test_too_many_pairs_is_an_error(self) -> None:
        points = np.zeros((100, 8), np.float32)
        with pytest.raises(LimitExceeded) as error:
            find_pairs(points, 0.1, 4949, 3)
        assert error.value.fields == {"event": 3, "limit": "radius_edges", "bound": 4949}
        assert len(pairs_of(points, 0.1, 4950).source) == 4950

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_embedding_that_is_not_finite(self, bad: float) -> None:
        points = np.zeros((4, 2), np.float32)
        points[2, 1] = bad
        with pytest.raises(EventError, match="embedding of a point is not finite") as error:
            find_pairs(points, 0.1, 100, 0)
        assert error.value.point == 2


def random_graph(n: int, n_edges: int, seed: int) -> Edges:
    random = np.random.default_rng(seed)
    source = random.integers(1, n, n_edges).astype(np.int32)
    target = (source * random.random(n_edges)).astype(np.int32)
    pairs = np.unique(np.stack([source, target]), axis=1)
    score = random.choice(np.linspace(0.1, 1, 5), pairs.shape[1]).astype(np.float32)
    return Edges(pairs[0], pairs[1], score)


class TestSegmentation:
    @given(st.integers(2, 80), st.integers(0, 120), st.integers(0, 2**32 - 1))
    def test_components(self, n: int, n_edges: int, seed: int) -> None:
        edges = random_graph(n, n_edges, seed)
        source, target = edges.source, edges.target
        labels = connected_components(n, source, target)
        assert len(labels) == n
        expected = np.arange(n)  # the smallest point that each one can reach
        for _ in range(n):
            least = np.minimum(expected[source], expected[target])
            np.minimum.at(expected, source, least)
            np.minimum.at(expected, target, least)
        assert (labels == np.unique(expected, return_inverse=True)[1]).all()

    @given(st.integers(2, 60), st.integers(0, 150), st.integers(0, 2**32 - 1))
    def test_paths(self, n: int, n_edges: int, seed: int) -> None:
        """Each point has one edge inwards and one outwards at most, and none is left that both
        of its points would rather have than what they got."""
        edges = random_graph(n, n_edges, seed)
        source, target, score = edges.source, edges.target, edges.score
        rank = np.random.default_rng(seed).permutation(n).astype(np.int32)
        kept = keep_best_edges(rank, edges)
        outer = np.where(rank[source] > rank[target], source, target)
        inner = source + target - outer
        for ends in (outer, inner):
            assert np.bincount(ends[kept], minlength=n).max() <= 1
        for e in np.flatnonzero(~kept):
            rivals = (outer == outer[e]) | (inner == inner[e])
            rivals[e] = False
            step = rank[outer] - rank[inner]
            better = (score > score[e]) | ((score == score[e]) & (step < step[e]))
            assert (rivals & better).any()

    def test_candidates_run_from_the_inside_out(self) -> None:
        labels = np.array([0, 1, 0, 0, 2, 2])
        rank = np.array([3, 5, 1, 2, 4, 0], np.int32)
        edges = Edges(
            source=np.array([2, 3, 5], np.int32),
            target=np.array([0, 0, 4], np.int32),
            score=np.array([0.5, 1, 0.25], np.float32),
        )
        found = make_candidates(labels, rank, edges, 2)
        assert [found.points[i].tolist() for i in range(len(found))] == [[2, 3, 0], [5, 4]]
        assert found.score.tolist() == [0.75, 0.25]
        assert len(make_candidates(labels, rank, edges, 4)) == 0


class TestFeatures:
    def test_phi_has_no_seam_between_points(self) -> None:
        """A pair across +-pi looks as the same pair elsewhere."""
        spec = Features((1000.0, math.pi, 1000.0))
        seen = []
        for turn in (0.0, math.pi):
            phi = np.array([0.01, -0.02]) + turn
            r = np.array([300.0, 200.0])
            position = np.stack([r * np.cos(phi), r * np.sin(phi), [500.0, 400.0]], 1)
            scaled = scale_points(position.astype(np.float32), spec)
            one = np.array([0], np.int32), np.array([1], np.int32)
            seen.append(edge_inputs(EDGE_INPUTS, scaled, spec, *one)[0])
        dr, dphi, dz, _, phi_slope, z0, distance = seen[0]
        assert np.allclose(seen[0], seen[1], atol=1e-4)
        assert dr == pytest.approx(0.1, rel=1e-4)
        assert dphi == pytest.approx(0.03 / math.pi, rel=1e-4)
        assert dz == pytest.approx(0.1, rel=1e-4)
        assert phi_slope == pytest.approx(0.3, rel=1e-3)
        assert z0 == pytest.approx(2.0, rel=1e-3)
        assert distance == pytest.approx(0.1415, rel=1e-2)

    def test_points_on_the_axis_or_equal_are_finite(self) -> None:
        spec = Features((1000.0, math.pi, 1000.0))
        scaled = scale_points(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 9]], np.float32), spec)
        pairs = np.array([1, 2], np.int32), np.array([0, 1], np.int32)
        assert np.isfinite(node_inputs(("eta", "x"), scaled, spec)).all()
        assert np.isfinite(edge_inputs(EDGE_INPUTS, scaled, spec, *pairs)).all()


def test_outward_order_does_not_depend_on_the_order_of_the_points() -> None:
    """Points at one distance, as those of a symmetric detector, are told apart by place."""
    spec = Features((1000.0, math.pi, 1000.0))
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
    position = np.concatenate([signs * 100, signs * 50])
    shuffle = np.random.default_rng(0).permutation(len(position))
    first, second = (scale_points(p, spec) for p in (position, position[shuffle]))
    rows = outward_order(first, spec)
    assert (np.sort(rows) == np.arange(16)).all()
    assert (rows[:8] >= 8).all()
    assert (shuffle[outward_order(second, spec)] == rows).all()


@pytest.mark.parametrize(
    ("embedding", "filter_", "gnn"),
    [
        (
            Embedding(POLAR, (33, 17), 3),
            Filter(POLAR, (9, 30, 8), ("dphi",), "silu", False),
            InteractionGnn("interaction", POLAR, ("dr",), 10, 2, 3, True, "silu"),
        ),
        (
            Embedding(("x",), (4,), 1, "silu", True),
            Filter(("eta", "z"), (5,), (), "tanh"),
            InteractionGnn("interaction", ("z",), (), 16, 1, 2, False, "tanh"),
        ),
        (Embedding(POLAR, (8,), 2), Filter(POLAR, (8,)), AttentionGnn("attention", POLAR, 9, 2, 3)),
    ],
)
def test_compiled_networks_equal_the_modules(
    embedding: Embedding, filter_: Filter, gnn: InteractionGnn | AttentionGnn
) -> None:
    """Compiled loops and PyTorch agree; the bits of a row do not depend on the rows beside it."""
    model = small_model(embedding=embedding, filter=filter_, gnn=gnn)
    random = np.random.default_rng(2)
    n, m = 150, 400

    def normal(rows: int, names: tuple[str, ...]) -> Array:
        return random.normal(0, 1, (rows, len(names))).astype(np.float32)

    source = np.sort(random.integers(1, n, m)).astype(np.int32)
    target = (source * random.random(m)).astype(np.int32)
    cpu, plain = CpuNetworks(model), TorchNetworks(model, "cpu")
    nodes = normal(n, embedding.inputs)
    assert np.abs(cpu.embed(nodes) - plain.embed(nodes)).max() < 2e-6
    assert (cpu.embed(nodes[57:90]) == cpu.embed(nodes)[57:90]).all()
    for spec, name in ((filter_, "filter"), (gnn, "gnn")):
        inputs = normal(n, spec.inputs), source, target, normal(m, spec.edge_inputs)
        mine, theirs = (getattr(one, name)(NetworkGraph(*inputs)) for one in (cpu, plain))
        assert np.abs(mine - theirs).max() < 5e-6
    nodes, edges = normal(n, filter_.inputs), normal(m, filter_.edge_inputs)
    whole = cpu.filter(NetworkGraph(nodes, source, target, edges))
    part = slice(91, 300)
    some = cpu.filter(NetworkGraph(nodes, source[part], target[part], edges[part]))
    assert (some == whole[part]).all()


def scaled(event: PointsEvent, pipeline: ExatrkxPipeline) -> FeaturesEvent:
    """The same event, as a client of the published service has it."""
    features = scale_points(event.points.position, pipeline.model.description.features)
    return FeaturesEvent(features, event.event)


class TestBatches:
    SIZES = (0, 1, 2, 127, 128, 129, 700, 0, 300)

    def events(self) -> list[PointsEvent]:
        return [random_event(n, seed, 10 + seed) for seed, n in enumerate(self.SIZES)]

    @pytest.mark.parametrize("make", [small_model, published_model])
    def test_batch_threads_and_features_give_the_same_bits(self, make: object) -> None:
        model = make()  # type: ignore[operator]
        events = self.events()
        one = ExatrkxPipeline(model)
        single = [one.reconstruct(event, GRAPH_STAGES) for event in events]
        assert sum(len(result.candidates) for result in single) > 10
        assert [len(result.labels) for result in single] == list(self.SIZES)
        assert one.run(events, GRAPH_STAGES) == single
        assert ExatrkxPipeline(model, threads=3).run(events, GRAPH_STAGES) == single
        assert one.run([scaled(event, one) for event in events], GRAPH_STAGES) == single
        mixed = [*events[:4], *(scaled(event, one) for event in events[4:])]
        assert one.run(mixed, GRAPH_STAGES) == single

    def test_one_graph_of_a_batch_has_no_edges_between_events(self) -> None:
        """The plain modules, on one graph: the same as event by event, within rounding."""
        model, events = small_model(), self.events()
        plain = ExatrkxPipeline(model, device="cpu:0").run(events, GRAPH_STAGES)
        for mine, theirs in zip(ExatrkxPipeline(model).run(events), plain, strict=True):
            assert not isinstance(mine, EventError)
            assert not isinstance(theirs, EventError)
            assert mine.event == theirs.event
            assert mine.counts == theirs.counts
            assert mine.labels == theirs.labels
            assert np.abs(mine.candidates.score - theirs.candidates.score).max(initial=0) < 1e-5

    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_a_reduced_precision_moves_scores_a_little(self, precision: str) -> None:
        events = self.events()
        full, reduced = (
            [
                result.track_edges
                for result in ExatrkxPipeline(small_model(), device="cpu:0", precision=p).run(
                    events, ["track_edges"]
                )
                if isinstance(result, ExatrkxResult)
            ]
            for p in ("fp32", precision)
        )
        moved = 0.0
        for mine, theirs in zip(full, reduced, strict=True):
            assert mine is not None
            assert theirs is not None
            ours = dict(zip(zip(mine.source, mine.target, strict=True), mine.score, strict=True))
            pairs = zip(theirs.source, theirs.target, strict=True)
            common = [
                abs(ours[pair] - score)
                for pair, score in zip(pairs, theirs.score, strict=True)
                if pair in ours
            ]
            assert len(common) >= 0.9 * len(mine)
            moved = max(moved, *common, 0.0)
        assert 0 < moved < 0.1

    def test_stages_are_timed(self, pipeline: ExatrkxPipeline) -> None:
        laps: list[str] = []
        pipeline.run([random_event(50)], lap=laps.append)
        assert laps == list(STAGES)

    def test_order_of_the_points_does_not_matter(self, pipeline: ExatrkxPipeline) -> None:
        event = random_event(500)
        order = np.random.default_rng(1).permutation(500)
        shuffled = PointsEvent(SpacePoints(event.points.position[order]))
        mine, theirs = pipeline.run([event, shuffled])
        assert not isinstance(mine, EventError)
        assert not isinstance(theirs, EventError)

        def found(candidates: object, rows: Array) -> set[tuple[tuple[int, ...], float]]:
            return {
                (tuple(rows[candidates.points[i]].tolist()), float(candidates.score[i]))  # type: ignore[index,attr-defined]
                for i in range(len(candidates))  # type: ignore[arg-type]
            }

        assert found(mine.candidates, np.arange(500)) == found(theirs.candidates, order)


class TestBadInput:
    def test_few_points_are_right_answers(self, pipeline: ExatrkxPipeline) -> None:
        for n in (0, 1, 2):
            result = pipeline.reconstruct(random_event(n), GRAPH_STAGES)
            assert result.counts.points == n == len(result.labels)
            assert len(result.candidates) == 0

    @pytest.mark.parametrize(
        ("cuts", "counts"),
        [
            (Cuts(1e-6, 0.0, 0.0), "radius_edges"),
            (Cuts(0.1, 0.999999, 0.0), "filter_edges"),
            (Cuts(0.1, 0.0, 0.999999), "track_edges"),
        ],
    )
    def test_no_edge_left(self, cuts: Cuts, counts: str) -> None:
        result = ExatrkxPipeline(small_model(cuts=cuts)).reconstruct(random_event(300))
        assert getattr(result.counts, counts) == 0
        assert (result.labels.component == np.arange(300)).all()
        assert result.counts.components == 300

    def test_duplicate_points(self, pipeline: ExatrkxPipeline) -> None:
        position = np.repeat(random_event(100).points.position, 3, axis=0)
        result = pipeline.reconstruct(PointsEvent(SpacePoints(position)))
        assert len(result.labels) == 300

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
    def test_point_that_is_not_finite(self, pipeline: ExatrkxPipeline, bad: float) -> None:
        good, event = random_event(50, event=1), random_event(50, event=2)
        event.points.position[13, 1] = bad
        first, error, last = pipeline.run([good, event, good])
        assert first == last == pipeline.reconstruct(good)
        assert isinstance(error, EventError)
        assert (error.event, error.point) == (2, 13)

    def test_point_beyond_what_the_model_knows(self, pipeline: ExatrkxPipeline) -> None:
        """This happens where features were scaled for another model."""
        event = scaled(random_event(50, event=4), pipeline)
        event.features[7, 2] = np.float32(3.5)
        (error,) = pipeline.run([event])
        assert isinstance(error, EventError)
        assert (error.event, error.point, error.feature) == (4, 7, "z")
        assert (error.found, error.bound) == (3.5, [-3.0, 3.0])
        unknown = dataclasses.replace(small_model().description.features, low=None, high=None)
        (result,) = ExatrkxPipeline(small_model(features=unknown)).run([event])
        assert not isinstance(result, EventError)

    @pytest.mark.parametrize(
        "points",
        [
            np.zeros((4, 3)),
            np.zeros((4, 2), np.float32),
            np.zeros(12, np.float32),
            np.zeros((4, 3), np.int32),
        ],
    )
    def test_wrong_type_or_shape(self, pipeline: ExatrkxPipeline, points: Array) -> None:
        (error,) = pipeline.run([PointsEvent(SpacePoints(points), 3)])
        assert isinstance(error, MalformedEvent)
        assert (error.event, error.field) == (3, "points")
        with pytest.raises(InputError, match="wrong type or shape"):
            pipeline.reconstruct(FeaturesEvent(points))

    def test_more_edges_than_allowed(self) -> None:
        pipeline = ExatrkxPipeline(small_model())
        big, small = random_event(500, event=1), random_event(10, event=2)
        error, result = pipeline.run([big, small], limits=ExatrkxLimits(radius_edges=100))
        assert isinstance(error, LimitExceeded)
        assert (error.event, error.bound) == (1, 100)
        assert result == ExatrkxPipeline(small_model()).reconstruct(small)

    def test_unknown_names(self, pipeline: ExatrkxPipeline) -> None:
        with pytest.raises(InputError, match="part to keep"):
            pipeline.run([], keep=["edges"])
        with pytest.raises(InputError, match="no such device"):
            ExatrkxPipeline(small_model(), device="abacus")
        if not torch.cuda.is_available():
            with pytest.raises(InputError, match="no such device"):
                ExatrkxPipeline(small_model(), device="cuda")
        with pytest.raises(InputError, match="no such precision"):
            ExatrkxPipeline(small_model(), precision="fp8")
        with pytest.raises(InputError, match="cpu:0"):
            ExatrkxPipeline(small_model(), precision="fp16")


class TestModelFolder:
    def test_round_trip(self, tmp_path: Path) -> None:
        points = {"loose": Cuts(0.2, 0.1, 0.1)}
        model = small_model(working_points=points, record={"events": 20, "cuts": "by a scan"})
        save_model(model, tmp_path)
        read = load_model(tmp_path)
        assert read.description == model.description
        assert all((read.weights[name] == array).all() for name, array in model.weights.items())
        assert read.at("loose").description.cuts == points["loose"]
        with pytest.raises(InputError, match="no such working point"):
            read.at("tight")
        loose = load_model(f"{tmp_path}@loose").description
        assert loose.cuts == points["loose"]
        assert loose.gnn == model.description.gnn
        for wrong in (f"{tmp_path}@tight", f"{tmp_path}x@loose", "@loose"):
            with pytest.raises(InputError):
                load_model(wrong)

    def test_another_detector(self, tmp_path: Path) -> None:
        save_model(small_model(), tmp_path)
        ExatrkxPipeline.from_model(tmp_path, detector="generic")
        with pytest.raises(ModelError, match="another detector"):
            ExatrkxPipeline.from_model(tmp_path, detector="itk")

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such model"):
            load_model(tmp_path / "none")

    @pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
    def test_file_is_missing_or_broken(self, tmp_path: Path, name: str) -> None:
        save_model(small_model(), tmp_path)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(ModelError) as error:
            load_model(tmp_path)
        assert error.value.file == str(tmp_path / name)
        (tmp_path / name).unlink()
        with pytest.raises(ModelError, match="file is missing"):
            load_model(tmp_path)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 2}, "wrong value"),
            ({"colour": "red"}, "unknown key"),
            ({"cuts": {"radius": 0.1, "filter": 0.1}}, "key is missing"),
            ({"cuts": {"radius": -1.0, "filter": 0.1, "edge": 0.5}}, "wrong value"),
            ({"cuts": {"radius": "wide", "filter": 0.1, "edge": 0.5}}, "wrong value"),
            ({"features": {"scales": [1000.0, 3.14]}}, "wrong value"),
            ({"gnn": {"kind": "magic"}}, "no such kind"),
            ({"embedding": {"inputs": ["mass"], "widths": [20], "dimensions": 5}}, "wrong value"),
            ({"embedding": {"inputs": ["r"], "widths": [20], "dimensions": 5}}, "do not fit"),
        ],
    )
    def test_wrong_description(
        self, tmp_path: Path, change: dict[str, object], message: str
    ) -> None:
        save_model(small_model(), tmp_path)
        values = json.loads((tmp_path / "model.json").read_text())
        (tmp_path / "model.json").write_text(json.dumps(values | change))
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path)

    def test_weights_of_another_model(self, tmp_path: Path) -> None:
        save_model(published_model(), tmp_path / "other")
        save_model(small_model(), tmp_path)
        (tmp_path / "other" / "weights.safetensors").rename(tmp_path / "weights.safetensors")
        with pytest.raises(ModelError, match="do not fit"):
            load_model(tmp_path)
