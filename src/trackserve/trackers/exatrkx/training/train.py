"""A whole training: three networks one after the other, then the cuts, then the model folder."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from trackserve.device.heap import keep_freed_memory
from trackserve.errors import InputError, parse_json
from trackserve.physics.points.metrics import (
    FIELD,
    PointsSummary,
    match_points_events,
    summarize_points,
)
from trackserve.physics.statistics import Fraction

from ..architecture import Cuts, Doublets, Features, Finish
from ..model import Description, Model, save_model
from ..modules import TorchModules, model_of
from ..pipeline import ExatrkxPipeline
from ..result import GRAPH_STAGES
from ..surfaces import KNOWN, surfaces_of
from . import stages
from .config import Schedule, TrainingConfig
from .curves import Curves
from .data import SCALES, Data, Sample
from .doublets import choose_doublets
from .graphs import MAX_EDGES_PER_POINT, find_radius_graph
from .loop import OnStep, fit
from .physics import Finishing
from .scan import (
    WorkingPoint,
    choose,
    scan,
    together,
    write_scan,
)
from .sizes import fold_sizes
from .start import Start, continued

N = TypeVar("N", bound=torch.nn.Module)
UNFINISHED = "unfinished"
"""The working point of the model's own cuts without finishing."""
_MARGIN = 0.05
"""Share of the range of features in training by which features may be outside of it."""


@dataclass(frozen=True)
class Trained:
    """The result of a training.

    Attributes:
        model: the model that was written.
        working_points: the best working point for each directory, by its name.
        summary: what the pipeline finds in the validation events.
    """

    model: Model
    working_points: dict[str, WorkingPoint]
    summary: PointsSummary

    @property
    def found_nothing(self) -> bool:
        """Whether not one particle is found."""
        return judged(self.summary).passed == 0


def train(
    directories: Sequence[Path],
    output: Path,
    config: TrainingConfig,
    on_step: OnStep,
    *,
    device: str = "cpu",
    resume: bool = False,
    start: Start | None = None,
) -> Trained:
    """Train a model from simulated events and write its folder.

    Args:
        directories: directories of events; the last events of each are for validation. The cuts
            of the model are a compromise for all; it has a working point for each.
        output: the model folder; its folder ``training`` takes checkpoints and curves.
        config: all other settings.
        on_step: called after each step.
        device: device of PyTorch.
        resume: whether to continue the training in ``output``.
        start: the model to train further; its networks keep their sizes. None: random weights.

    Raises:
        InputError: there are too few events, or none with a particle to find; ``output`` holds a
            training already, and ``resume`` is false or the configuration is another one; training
            cannot go on from the model ``start``; or the embedding has learned nothing.
    """
    keep_freed_memory()
    folder = output / "training"
    if start is not None:
        config = continued(config, start.model)
    data = Data(directories, config)
    data.require_wanted()
    _claim(folder, directories, config, resume, start)
    curves = Curves(folder)

    def fit_stage(
        stage: stages.Stage[N], schedule: Schedule, seed: int
    ) -> tuple[N, dict[str, float]]:
        """Return the trained network and its figures; the memory of the stage is free then."""
        if start is not None:
            weights = getattr(first_modules, stage.name).state_dict()
            stage.network.load_state_dict(weights)
            if stage.name not in start.networks:
                cuts = start.model.description.cuts
                return stage.network, {"radius": cuts.radius, "cut": cuts.filter}
        checkpoint = folder / f"{stage.name}.pt"
        return stage.network, fit(stage, schedule, seed, checkpoint, curves, on_step)

    seed = config.seed
    torch.manual_seed(seed)
    first_modules = None if start is None else start.modules()
    embedding, figures = fit_stage(
        stages.EmbeddingStage(config, data, device), config.embedding.schedule, seed
    )
    radius = figures["radius"]
    edges_per_point = figures.get("edges_per_point", 0.0)  # not known where it is not trained
    if edges_per_point >= MAX_EDGES_PER_POINT:
        raise InputError(
            "the embedding has learned nothing: all points are near each other; it needs more "
            "steps, or more events",
            found=edges_per_point,
            bound=f"edges per point < {MAX_EDGES_PER_POINT}",
        )
    doublets = _doublets(config, data, start, on_step)
    near = stages.radius_graph(config, embedding, radius, doublets)
    filter_, figures = fit_stage(
        stages.FilterStage(config, data, device, near), config.filter.schedule, seed + 1
    )
    filter_cut = figures["cut"]
    kept = stages.filtered_graph(near, filter_, filter_cut)
    gnn, _ = fit_stage(stages.GnnStage(config, data, device, kept), config.gnn.schedule, seed + 2)
    curves.draw()

    finishing = None
    if data.detector in KNOWN:
        finishing = Finishing(Finish(FIELD), surfaces_of(data.detector, str(output)))
    scans = {}
    for number, name in enumerate(data.names):
        scans[name] = scan(
            TorchModules(embedding, filter_, gnn),
            data.validation_samples(number),
            lambda sample, r: find_radius_graph(
                embedding, sample, r, np.ones(len(sample), np.float32), doublets
            ),
            radius,
            filter_cut,
            finishing,
            functools.partial(on_step, f"scan {name}"),
        )
        write_scan(scans[name], folder / f"scan-{name}.csv")
    working_points = {name: choose(points, config.max_fakes) for name, points in scans.items()}
    modules = fold_sizes(embedding, filter_, gnn)
    if start is not None:
        modules = start.kept(modules)
    description = _describe(
        config,
        data,
        doublets,
        choose(together(scans.values()), config.max_fakes).cuts,
        {name: point.cuts for name, point in working_points.items()},
    )
    model = model_of(description, modules)
    summary = _judge(model, data, on_step)
    settings = dataclasses.asdict(config) | {"least_pt": data.wanted.min_pt}
    record = {"training": settings, "validation": _figures(summary)}
    model = model_of(dataclasses.replace(description, record=record), modules)
    save_model(model, output)
    return Trained(model, working_points, summary)


def _claim(
    folder: Path,
    directories: Sequence[Path],
    config: TrainingConfig,
    resume: bool,
    start: Start | None,
) -> None:
    """Make ``folder``; or check that it holds the same training, which is to continue."""
    path = folder / "training.json"
    mine: dict[str, Any] = {
        "data": [str(directory.resolve()) for directory in directories],
        "config": dataclasses.asdict(config),
    }
    if start is not None:
        mine["start"] = {"model": start.model.where, "networks": sorted(start.networks)}
    mine = json.loads(json.dumps(mine))
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(mine, indent=2) + "\n")
        return
    if not resume:
        raise InputError("there is a training already; --resume continues it", folder=str(folder))
    theirs = parse_json(path.read_bytes(), dict, file=str(path))
    if theirs != mine:
        differ = sorted(k for k in {*mine, *theirs} if mine.get(k) != theirs.get(k))
        raise InputError("the folder holds another training", folder=str(folder), differ=differ)


def _doublets(
    config: TrainingConfig, data: Data, start: Start | None, on_step: OnStep
) -> Doublets | None:
    """Return the cuts on pairs: those of the model whose filter stays, or else new ones."""
    if start is not None and "filter" not in start.networks:
        return start.model.description.doublets

    def samples() -> Iterator[Sample]:
        n = data.n_of_training(config.segment_events)
        for done, sample in enumerate(data.some_of_training(config.segment_events)):
            yield sample
            on_step("segments", done + 1, n, {})

    return choose_doublets(samples(), config.segments)


def _describe(
    config: TrainingConfig,
    data: Data,
    doublets: Doublets | None,
    cuts: Cuts,
    working_points: dict[str, Cuts],
) -> Description:
    scaled = [data.sample(key).scaled for key in data.validation]
    low = np.min([part.min(axis=0) for part in scaled], axis=0).astype(float)
    high = np.max([part.max(axis=0) for part in scaled], axis=0).astype(float)
    margin = _MARGIN * (high - low)
    if cuts.finish is not None:
        unfinished = dataclasses.replace(cuts, edge=cuts.sure, finish=None)
        working_points = {**working_points, UNFINISHED: unfinished}
    return Description(
        name=config.name,
        detector=data.detector,
        order="outward",
        features=Features(SCALES, tuple((low - margin).round(3)), tuple((high + margin).round(3))),
        embedding=stages.embedding_spec(config),
        filter=stages.filter_spec(config),
        gnn=stages.gnn_spec(config),
        cuts=cuts,
        working_points=working_points,
        doublets=doublets,
    )


def _judge(model: Model, data: Data, on_step: OnStep) -> PointsSummary:
    """Return what the pipeline finds in the validation events."""
    pipeline = ExatrkxPipeline(model)
    events = [data.sample(key).event for key in data.validation]
    results = []
    for done, event in enumerate(events):
        results += pipeline.run([event], GRAPH_STAGES)
        on_step("validation", done + 1, len(events), {})
    return summarize_points(match_points_events(events, results, data.wanted))


def judged(summary: PointsSummary) -> Fraction:
    """Return the efficiency by which a model is judged: of central particles."""
    wanted = summary.wanted
    everywhere = wanted.central_eta == wanted.max_eta
    return (summary.efficiency if everywhere else summary.efficiency_eta_3).double


def _figures(summary: PointsSummary) -> dict[str, Any]:
    """Return the figures for the record of the model."""
    return {
        "events": summary.n_events,
        "points": summary.points,
        "efficiency": judged(summary).value,
        "fakes": summary.fake_rate.single.value,
        "duplicates": summary.duplicate_rate.value,
        "left": {stage: share.value for stage, share in summary.left.items()},
        "edges_per_point": {
            stage: graph.edges_per_point for stage, graph in summary.graphs.items()
        },
    }
