"""The training of the learned tracker: its events, its losses, and its continuation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import command
from hypothesis import given
from hypothesis import strategies as st
from true_tracks import an_event, helices

from trackserve import ExatrkxPipeline
from trackserve.edm.points import GENERIC_PIXELS
from trackserve.errors import ConditionsError, InputError
from trackserve.io import open_points
from trackserve.io.points_directory import write_points
from trackserve.physics.points.metrics import match_points_events, summarize_points
from trackserve.physics.points.truth import PIXELS
from trackserve.trackers.exatrkx.architecture import Cuts, Features
from trackserve.trackers.exatrkx.model import Description, Model, load_model
from trackserve.trackers.exatrkx.modules import make_modules, model_of
from trackserve.trackers.exatrkx.training import doublets, stages
from trackserve.trackers.exatrkx.training.config import (
    Schedule,
    TrainingConfig,
    find_preset,
    parse_config,
    read_config,
)
from trackserve.trackers.exatrkx.training.curves import Curves
from trackserve.trackers.exatrkx.training.data import SCALES, Data, choose_window, make_sample
from trackserve.trackers.exatrkx.training.graphs import Graph
from trackserve.trackers.exatrkx.training.loop import fit, learning_rate
from trackserve.trackers.exatrkx.training.losses import edge_loss, pair_loss
from trackserve.trackers.exatrkx.training.physics import Found
from trackserve.trackers.exatrkx.training.scan import WorkingPoint, choose, together
from trackserve.trackers.exatrkx.training.start import Start
from trackserve.trackers.exatrkx.training.train import train


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread of PyTorch: events are small, so more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Three small events on disk."""
    write_points(tmp_path / "events", [helices(12, seed, seed) for seed in range(3)])
    return tmp_path / "events"


def quick(steps: int, **changes: Any) -> TrainingConfig:
    schedule = Schedule(steps, rate=5e-3, warm_up=10, validate_every=max(steps // 2, 1))
    default = TrainingConfig(validation_events=1)
    small = {
        "embedding": dataclasses.replace(
            default.embedding, schedule=schedule, widths=(32, 32), efficiency=1.0
        ),
        "filter": dataclasses.replace(
            default.filter, schedule=schedule, widths=(32,), efficiency=1.0
        ),
        "gnn": dataclasses.replace(default.gnn, schedule=schedule, hidden=16, steps=3, points=60),
    }
    return dataclasses.replace(default, **{**small, **changes})


def random_model_of(config: TrainingConfig) -> Model:
    """A model of the networks of ``config`` with random weights."""
    description = Description(
        "start",
        "generic",
        "outward",
        Features(SCALES),
        stages.embedding_spec(config),
        stages.filter_spec(config),
        stages.gnn_spec(config),
        Cuts(0.5, 0.3, 0.3, 3, "paths"),
    )
    torch.manual_seed(2)
    return model_of(description, make_modules(description))


def nothing(*_: Any) -> None:
    """Ignore the progress."""


def test_points_of_a_particle_follow_each_other_from_its_start() -> None:
    """Points come in any order, with an overlap of modules (2.0, 2.1), noise and a lone point."""
    x = np.array([3.0, 9.0, 1.0, 2.1, 5.0, 2.0, 4.0])
    particle = np.array([0, -1, 0, 0, 1, 0, 0])
    momentum = np.array([[3.0, 0, 0], [0.2, 0, 0]])
    event = an_event(
        np.stack([x, 0 * x, 0 * x], axis=1), particle, np.arange(7), momentum, np.ones(2)
    )
    sample = make_sample(event)
    place = sample.event.points.position[:, 0]
    assert place.tolist() == sorted(place.tolist())
    pairs = {(round(float(place[a]), 1), round(float(place[b]), 1)) for a, b in sample.pairs.T}
    assert pairs == {(1.0, 2.0), (2.0, 2.1), (2.1, 3.0), (3.0, 4.0)}

    outer, inner = np.array([1, 2, 3, 5]), np.array([0, 0, 2, 4])
    # 2.0-1.0 and 3.0-2.1 follow each other; 2.1-1.0 leaves one out; 5.0-4.0 are of two particles
    assert sample.consecutive(outer, inner).tolist() == [True, False, True, False]
    assert sample.same_particle(outer, inner).tolist() == [True, True, True, False]
    assert not sample.same_particle(np.array([6]), np.array([6])).any()  # noise
    assert sample.wanted.tolist() == [True] * 5 + [False] * 2
    assert sample.pt[[0, 5, 6]] == pytest.approx([3.0, 0.2, 0.0])


@given(n_points=st.integers(1, 120), seed=st.integers(0, 99))
def test_a_window_is_a_region_with_all_its_pairs_and_edges(n_points: int, seed: int) -> None:
    sample = make_sample(helices(12, seed % 3))
    rows = choose_window(sample, n_points, np.random.default_rng(seed))
    assert len(rows) == min(n_points, len(sample))
    assert (np.diff(rows) > 0).all()
    window = sample.take(rows)
    assert (window.event.points.position == sample.event.points.position[rows]).all()
    assert (window.particle == sample.particle[rows]).all()
    inside = np.isin(sample.pairs, rows).all(axis=0)
    assert (rows[window.pairs] == sample.pairs[:, inside]).all()

    source, target = np.random.default_rng(seed).integers(0, len(sample), (2, 50), dtype=np.int32)
    nothing_known = np.zeros(50, bool)
    graph = Graph(source, target, nothing_known, nothing_known, np.arange(50, dtype=np.float32))
    part = graph.within(rows, len(sample))
    kept = np.isin(source, rows) & np.isin(target, rows)
    assert (rows[part.source] == source[kept]).all()
    assert (rows[part.target] == target[kept]).all()
    assert (part.weight == np.flatnonzero(kept)).all()


def test_directories_take_turns_and_show_all_their_events(events: Path, tmp_path: Path) -> None:
    write_points(tmp_path / "more", [helices(3, seed, seed) for seed in range(6)])
    data = Data([events, tmp_path / "more"], quick(1))
    steps = [data.at_step(step) for step in range(20)]
    assert [directory for directory, _ in steps] == [0, 1] * 10
    for directory, n_training in ((0, 2), (1, 5)):
        numbers = [number for where, number in steps if where == directory]
        assert sorted(numbers[:n_training]) == list(range(n_training))


def test_soft_particles_count_little_or_not_at_all_and_fast_ones_more() -> None:
    momentum = np.array([[0.3, 0, 0], [0.8, 0, 0], [2.0, 0, 0], [7.0, 0, 0]])
    position = np.arange(1.0, 6)[:, None] * [1, 0, 0]
    event = an_event(position, np.array([0, 1, 2, 3, -1]), np.arange(5), momentum, np.ones(4))
    config = TrainingConfig(soft_pt=0.5, wanted_pt=0.9, soft_weight=0.25, fast_pt=5, fast_weight=4)
    weight = stages.point_weights(make_sample(event), config)
    assert weight.tolist() == [0, 0.25, 1, 4, 0]


def test_the_pair_loss_moves_only_what_is_on_the_wrong_side() -> None:
    squared = torch.tensor([0.1, 1.0, 4.0], requires_grad=True)
    pair_loss(squared, True, 0.1, None).backward()
    assert squared.grad is not None
    inside, border, outside = squared.grad.tolist()
    assert inside < 1e-3 < border < outside
    weight = torch.tensor([0.0, 1.0, 0.0])
    assert pair_loss(squared, False, 0.1, weight).item() == pytest.approx(np.log(2))
    assert pair_loss(squared[:0], False, 0.1, None).item() == 0


def test_edges_of_no_weight_have_no_gradient() -> None:
    logit = torch.tensor([2.0, -1.0, 0.5], requires_grad=True, dtype=torch.float64)
    true = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    weight = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: edge_loss(x, true, weight), logit)
    edge_loss(logit, true, weight).backward()
    assert logit.grad is not None
    assert logit.grad[2] == 0
    assert (logit.grad[:2] < 0).all()


@pytest.mark.parametrize("detector", [None, "generic"])
def test_a_tiny_training_finds_every_track(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, detector: str | None
) -> None:
    """Training leads from files to a model folder that the pipeline loads.

    The validation event is not trained on. The scan judges cuts as the pipeline then does:
    candidates are finished where the surfaces of the detector are known.
    """
    events = tmp_path / "events"
    write_points(events, [helices(12, seed, seed) for seed in range(3)], detector)
    monkeypatch.setattr(doublets, "SEGMENTS_PER_CELL", 100)
    trained = train([events], tmp_path / "model", quick(150), nothing)
    model = load_model(tmp_path / "model")
    event = open_points(events)[2]
    summary = summarize_points(match_points_events([event], ExatrkxPipeline(model).run([event])))
    assert summary.efficiency.double.value >= 0.9
    assert summary.efficiency == trained.summary.efficiency
    point = trained.working_points["events"]
    assert point.cuts == model.description.cuts
    assert (point.cuts.finish is not None) == (detector is not None)
    assert point.efficiency == summary.efficiency_eta_3.double.value
    assert point.fakes == summary.fake_rate.single.value
    folder = tmp_path / "model" / "training"
    assert {"curves.csv", "scan-events.csv", "gnn.pt"} <= {path.name for path in folder.iterdir()}
    assert model.description.record["validation"]["events"] == 1
    assert model.description.doublets is not None


def test_a_model_is_trained_further(events: Path, tmp_path: Path) -> None:
    """Networks that stay keep their bits; the other one starts from the model's weights."""
    model = random_model_of(quick(1, soft_pt=0.6))
    start = Start(model, ["gnn"])
    still = dataclasses.replace(quick(1).gnn, schedule=Schedule(1, rate=1e-12, validate_every=1))
    trained = train([events], tmp_path / "still", quick(1, gnn=still), nothing, start=start).model
    for name, value in model.weights.items():
        if name.startswith("gnn."):
            np.testing.assert_allclose(trained.weights[name], value, rtol=1e-5, atol=1e-6)
        else:
            assert (trained.weights[name] == value).all()
    assert trained.description.cuts.radius <= model.description.cuts.radius
    assert trained.description.doublets is None  # as in the model whose filter stays
    with pytest.raises(InputError, match="no such networks"):
        Start(model, ["gnm"])
    other = dataclasses.replace(model.description, order="given")
    with pytest.raises(InputError, match="did not make this model"):
        train([events], tmp_path / "x", quick(1), nothing, start=Start(Model(other, model.weights)))
    with pytest.raises(InputError, match="start"):
        train([events], tmp_path / "still", quick(1, gnn=still), nothing, resume=True)


@pytest.mark.parametrize("stage", ["embedding", "gnn"])
def test_an_interrupted_training_continues_bit_for_bit(
    events: Path, tmp_path: Path, stage: str
) -> None:
    config = quick(20)
    data = Data([events], config)
    schedule = Schedule(20, rate=5e-3, warm_up=3, validate_every=6)

    def fresh() -> stages.Stage[torch.nn.Module]:
        torch.manual_seed(4)
        embedding = stages.EmbeddingStage(config, data, "cpu")
        if stage == "embedding":
            return embedding
        return stages.GnnStage(
            config, data, "cpu", stages.radius_graph(config, embedding.network, 0.05, None)
        )

    def run(name: str, stop_at: int | None) -> stages.Stage[torch.nn.Module]:
        def stop(_: str, step: int, *__: Any) -> None:
            if step == stop_at:
                raise KeyboardInterrupt

        one = fresh()
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        fit(one, schedule, 3, folder / "checkpoint.pt", Curves(folder), stop)
        return one

    whole = run("whole", None)
    with pytest.raises(KeyboardInterrupt):
        run("parts", 15)  # the last checkpoint is of step 12
    parts = run("parts", None)
    for mine, theirs in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    curves = [(tmp_path / name / "curves.csv").read_text() for name in ("whole", "parts")]
    assert curves[0] == curves[1]


def test_a_training_that_finds_nothing_says_so_and_fails(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal its progress has the loss, from the first step on."""
    monkeypatch.setattr("trackserve.cli.common._SECONDS_PER_LINE", 0.0)
    config = tmp_path / "train.toml"
    config.write_text(
        "validation_events = 1\n"
        "[embedding]\nwidths = [8]\nefficiency = 1\nschedule = {steps = 40}\n"
        "[filter]\nwidths = [4]\nefficiency = 1\nschedule = {steps = 1}\n"
        "[gnn]\nhidden = 4\nsteps = 1\nschedule = {steps = 1}\n"
    )
    monkeypatch.setattr("trackserve.trackers.exatrkx.training.scan.EDGE_CUTS", (0.999,))
    arguments = ("train", "exatrkx", "--data", events, "--preset", "small", "--config", config)
    said = command(*arguments, "--out", tmp_path / "model", "--threads", 1, status=1)
    assert "finds no particle" in said.out
    assert load_model(tmp_path / "model").description.name == "small"
    first = next(line for line in said.err.splitlines() if line.startswith("embedding: 1 of 40"))
    assert re.search(r"loss [\d.]+$", first)


def test_a_network_without_any_track_is_worse_than_one_with_fakes() -> None:
    nothing, fakes = Found(0.0, float("nan"), float("nan")), Found(0.1, 0.9, 0.1)
    assert stages.merit(nothing, 0.02) < stages.merit(fakes, 0.02)
    cuts = Cuts(radius=1.0, filter=0.1, edge=0.5)
    points = [WorkingPoint(cuts, *found, 10, 3) for found in (nothing, fakes, nothing)]
    assert choose(points, 0.02) is points[1]


def test_events_without_a_particle_to_find_are_refused(tmp_path: Path) -> None:
    soft = [helices(3, number, number, pt_range=(0.2, 0.4)) for number in range(2)]
    write_points(tmp_path / "soft", soft)
    with pytest.raises(InputError, match=r"no particle that counts.*directory soft"):
        train([tmp_path / "soft"], tmp_path / "model", quick(4), nothing)


@pytest.mark.parametrize(("told", "least"), [({}, 0.9), ({"least_pt": 0.4}, 0.4)])
def test_what_counts_in_the_pixels_alone(
    told: dict[str, float], least: float, tmp_path: Path
) -> None:
    write_points(tmp_path, [helices(12, seed, seed) for seed in range(3)], GENERIC_PIXELS)
    config = parse_config({**told, "validation_events": 1}, "test")
    assert Data([tmp_path], config).wanted == dataclasses.replace(PIXELS, min_pt=least)


def test_an_embedding_that_learned_nothing_ends_the_training(
    events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackserve.trackers.exatrkx.training.train.MAX_EDGES_PER_POINT", 1)
    with pytest.raises(InputError, match="the embedding has learned nothing"):
        train([events], tmp_path / "model", quick(1), nothing)


def test_presets() -> None:
    assert find_preset("default") == TrainingConfig()
    small = parse_config({"gnn": {"hidden": 8}}, "train.toml", find_preset("small"))
    assert (small.gnn.hidden, small.gnn.steps) == (8, find_preset("small").gnn.steps)
    with pytest.raises(InputError, match="no such preset"):
        find_preset("tiny")


def test_a_training_is_not_overwritten(events: Path, tmp_path: Path) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([events], tmp_path / "model", quick(4), stop)
    with pytest.raises(InputError, match="--resume"):
        train([events], tmp_path / "model", quick(4), nothing)
    with pytest.raises(InputError, match="another training"):
        train([events], tmp_path / "model", quick(5), nothing, resume=True)


def test_too_few_events(events: Path) -> None:
    with pytest.raises(InputError, match="too few events"):
        Data([events], TrainingConfig(validation_events=3))


def test_events_of_different_detectors(events: Path, tmp_path: Path) -> None:
    write_points(tmp_path / "others", [helices(3, 1, i) for i in range(3)], "another")
    with pytest.raises(InputError, match="different detectors"):
        Data([events, tmp_path / "others"], TrainingConfig(validation_events=1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sead": 1}, "unknown key"),
        ({"gnn": {"schedule": {"speed": 1}}}, "at gnn.schedule"),
        ({"seed": 1.5}, "at seed"),
        ({"soft_pt": -1}, "wrong value"),
        ({"embedding": {"widths": [64, "64"]}}, "at embedding.widths"),
        ({"embedding": {"activation": "sin"}}, "relu"),
        ({"filter": 3}, "not a table"),
    ],
)
def test_a_wrong_configuration_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_config(values, "train.toml")


def test_a_configuration_says_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text("soft_pt = 1\n[embedding]\nwidths = [64]\n[gnn.schedule]\nsteps = 7\n")
    config = read_config(path)
    assert (config.soft_pt, config.embedding.widths, config.gnn.schedule.steps) == (1.0, (64,), 7)
    assert config.gnn.schedule.rate == TrainingConfig().gnn.schedule.rate
    path.write_text("seed = ")
    with pytest.raises(InputError, match="not a TOML file"):
        read_config(path)
    path.unlink()
    with pytest.raises(ConditionsError, match="file is missing"):
        read_config(path)


def test_the_learning_rate_rises_and_falls() -> None:
    schedule = Schedule(steps=100, rate=1.0, warm_up=10)
    rates = [learning_rate(schedule, step) for step in range(100)]
    assert np.argmax(rates) == 9
    assert rates[0] < 0.11
    assert rates[-1] < 0.001


def test_the_chosen_cuts_keep_fakes_low() -> None:
    cuts = Cuts(radius=1.0, filter=0.1, edge=0.5)
    points = [
        WorkingPoint(cuts, 0.99, 0.05, 0.001, 10, 3),
        WorkingPoint(cuts, 0.98, 0.01, 0.001, 10, 3),
        WorkingPoint(cuts, 0.98, 0.01, 0.001, 20, 3),
        WorkingPoint(cuts, 0.90, 0.001, 0.001, 10, 3),
        WorkingPoint(cuts, 0.985, 0.019, 0.002, 10, 3),
    ]
    assert choose(points, 0.02) is points[1]
    assert choose(points, 0.0005) is points[3]


def test_the_default_cuts_are_a_compromise() -> None:
    """Cuts that have too many fakes anywhere are not taken."""
    loose, tight = Cuts(radius=1.0, filter=0.1, edge=0.1), Cuts(radius=1.0, filter=0.1, edge=0.5)
    light = [
        WorkingPoint(loose, 0.875, 0.01, 0.001, 6, 2),
        WorkingPoint(tight, 0.75, 0.0, 0.0, 6, 2),
    ]
    dense = [
        WorkingPoint(loose, 0.625, 0.04, 0.001, 10, 4),
        WorkingPoint(tight, 0.5, 0.01, 0.0, 10, 4),
    ]
    first, second = together([light, dense])
    assert first == WorkingPoint(loose, 0.75, 0.04, 0.001, 8, 3)
    assert choose([first, second], 0.02).cuts == tight
