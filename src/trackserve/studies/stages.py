"""The stages of the learned tracker as models of their own, for Triton's Python backend.

This is how such a pipeline is served without a custom backend: a model for each stage, and an
ensemble that passes tensors from one to the next. It gives the labels of the tracker, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from trackserve.edm import Edges, PointsEvent, SpacePoints
from trackserve.edm.columns import Array
from trackserve.errors import TrackserveError

Tensors = Mapping[str, Array]
MODEL = "trackserve-stages"
"""Name of the ensemble."""
_LOADER = """
import os
import sys

sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

from trackserve.studies.stages import StageModel as TritonPythonModel
"""


class Stage(NamedTuple):
    """A stage: the names of its inputs and outputs in the ensemble."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


STAGES = (
    Stage("embedding", ("POINTS",), ("scaled", "row", "place", "rank", "coordinates")),
    Stage("radius", ("scaled", "coordinates", "place"), ("source", "target")),
    Stage("filter", ("scaled", "source", "target"), ("f_source", "f_target")),
    Stage("gnn", ("scaled", "f_source", "f_target"), ("g_source", "g_target", "g_score")),
    Stage("components", ("row", "rank", "g_source", "g_target", "g_score"), ("LABELS",)),
)
_SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "POINTS": ("FP32", (-1, 3)),
    "scaled": ("FP32", (-1, 3)),
    "coordinates": ("FP32", (-1, -1)),
    "LABELS": ("INT64", (-1,)),
}
"""Types and shapes of tensors; the score is FP32 [-1], the others are INT32 [-1]."""


def write_ensemble(repository: Path, model: str, instances: int) -> None:
    """Add the stages and their ensemble to a model repository.

    Args:
        repository: the repository.
        model: name of a model that ships with the package, or a model folder.
        instances: number of processes of each stage.
    """
    steps = []
    for stage in STAGES:
        name = f"{MODEL}-{stage.name}"
        config = [
            f'name: "{name}"',
            'backend: "python"',
            "max_batch_size: 0",
            f"instance_group [ {{ count: {instances} kind: KIND_CPU }} ]",
            *_declared(stage.inputs, stage.outputs),
            *(
                f'parameters {{ key: "{key}" value {{ string_value: {json.dumps(value)} }} }}'
                for key, value in (("stage", stage.name), ("model", model))
            ),
        ]
        _write(repository / "models" / name, config, _LOADER)
        maps = [f'input_map {{ key: "{n}" value: "{n}" }}' for n in stage.inputs]
        maps += [f'output_map {{ key: "{n}" value: "{n}" }}' for n in stage.outputs]
        steps.append(f'step [ {{ model_name: "{name}" model_version: -1 {" ".join(maps)} }} ]')
    config = [
        f'name: "{MODEL}"',
        'platform: "ensemble"',
        "max_batch_size: 0",
        *_declared(STAGES[0].inputs, STAGES[-1].outputs),
        f"ensemble_scheduling {{ {' '.join(steps)} }}",
    ]
    _write(repository / "models" / MODEL, config, "")


def _declared(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> list[str]:
    lines = []
    for part, names in (("input", inputs), ("output", outputs)):
        for name in names:
            usual = "FP32" if name.endswith("score") else "INT32"
            kind, shape = _SHAPES.get(name, (usual, (-1,)))
            dims = ", ".join(map(str, shape))
            lines.append(f'{part} [ {{ name: "{name}" data_type: TYPE_{kind} dims: [ {dims} ] }} ]')
    return lines


def _write(folder: Path, config: list[str], code: str) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "config.pbtxt").write_text("\n".join(config) + "\n")
    (folder / "1" / "model.py").write_text(code.lstrip())


def make_stages(model: str) -> dict[str, Callable[[Tensors], dict[str, Array]]]:
    """The function of each stage, from tensors to tensors, by name.

    Raises:
        TrackserveError: the model cannot be read.
    """
    from trackserve.trackers.exatrkx.doublets import bounds_of, cuts_of
    from trackserve.trackers.exatrkx.features import (
        edge_inputs,
        features_of,
        node_inputs,
        outward_order,
        sector_order,
    )
    from trackserve.trackers.exatrkx.limits import ExatrkxLimits
    from trackserve.trackers.exatrkx.model import load_model
    from trackserve.trackers.exatrkx.networks import make_networks, scores_of
    from trackserve.trackers.exatrkx.perceptrons import NetworkGraph
    from trackserve.trackers.exatrkx.radius import find_pairs, orient
    from trackserve.trackers.exatrkx.segmentation import segment, sure_edges

    loaded = load_model(model)
    description, cuts = loaded.description, loaded.description.cuts
    scales = description.features
    bounds = bounds_of(description.doublets)
    networks = make_networks(loaded, "cpu", "fp32")

    def embedding(tensors: Tensors) -> dict[str, Array]:
        event = PointsEvent(SpacePoints(np.ascontiguousarray(tensors["POINTS"])))
        found = features_of(event, scales)
        if isinstance(found, TrackserveError):
            raise found
        numbers = np.arange(len(found), dtype=np.int32)
        rank = np.empty_like(numbers)
        rank[outward_order(found, scales)] = numbers
        place = rank if description.order == "outward" else numbers
        row = sector_order(found, scales, place)
        scaled = found[row]
        nodes = node_inputs(description.embedding.inputs, scaled, scales)
        ordered = {"scaled": scaled, "row": row, "place": place[row], "rank": rank}
        return ordered | {"coordinates": networks.embed(nodes)}

    def radius(tensors: Tensors) -> dict[str, Array]:
        most = ExatrkxLimits().radius_edges
        wanted = cuts_of(bounds, tensors["scaled"], scales)
        pairs = find_pairs(tensors["coordinates"], cuts.radius, most, 0, wanted)
        if isinstance(pairs, TrackserveError):
            raise pairs
        source, target = orient(tensors["place"], pairs)
        return {"source": source, "target": target}

    def graph(spec: Any, scaled: Array, source: Array, target: Array) -> NetworkGraph:
        return NetworkGraph(
            nodes=node_inputs(spec.inputs, scaled, scales),
            source=source,
            target=target,
            edges=edge_inputs(spec.edge_inputs, scaled, scales, source, target),
        )

    def scored(
        name: str, edges: tuple[Array, Array], logits: Array, cut: float
    ) -> dict[str, Array]:
        scores = scores_of(logits)
        kept = np.flatnonzero(scores > np.float32(cut))
        columns = (edges[0][kept], edges[1][kept], scores[kept])
        return dict(
            zip((f"{name}_source", f"{name}_target", f"{name}_score"), columns, strict=True)
        )

    def filtered(tensors: Tensors) -> dict[str, Array]:
        edges = tensors["source"], tensors["target"]
        logits = networks.filter(graph(description.filter, tensors["scaled"], *edges))
        return scored("f", edges, logits, cuts.filter)

    def gnn(tensors: Tensors) -> dict[str, Array]:
        edges = tensors["f_source"], tensors["f_target"]
        logits = networks.gnn(graph(description.gnn, tensors["scaled"], *edges))
        return scored("g", edges, logits, cuts.edge)

    def components(tensors: Tensors) -> dict[str, Array]:
        row, rank = tensors["row"], tensors["rank"]
        source, target = row[tensors["g_source"]], row[tensors["g_target"]]
        edges = Edges(source, target, tensors["g_score"])
        labels, _ = segment(rank, sure_edges(edges, cuts), cuts)
        return {"LABELS": labels.astype(np.int64)}

    functions = (embedding, radius, filtered, gnn, components)
    return {stage.name: one for stage, one in zip(STAGES, functions, strict=True)}


class StageModel:
    """A stage in a process of Triton's Python backend; the methods are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model, and run an empty event through all stages so that all is compiled."""
        parameters = json.loads(args["model_config"])["parameters"]
        name, model = (parameters[key]["string_value"] for key in ("stage", "model"))
        stages = make_stages(model)
        self._run = stages[name]
        self._stage = next(stage for stage in STAGES if stage.name == name)
        tensors: dict[str, Array] = {"POINTS": np.zeros((4, 3), np.float32) + np.float32(40)}
        for stage in STAGES:
            tensors |= stages[stage.name](tensors)

    def execute(self, requests: list[Any]) -> list[Any]:
        """The answers to the requests, one after the other."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        import triton_python_backend_utils as pb_utils

        try:
            inputs = {one.name(): np.from_dlpack(one) for one in request.inputs()}
            found = self._run({name: np.ascontiguousarray(a) for name, a in inputs.items()})
        except TrackserveError as error:
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))
        outputs = [pb_utils.Tensor(name, found[name]) for name in self._stage.outputs]
        return pb_utils.InferenceResponse(output_tensors=outputs)
