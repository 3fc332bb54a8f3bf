"""Models for tests: the published graph network, and small ones with random weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from trackserve.edm import PointsEvent, SpacePoints
from trackserve.edm.columns import Array
from trackserve.trackers.exatrkx.architecture import (
    EDGE_INPUTS,
    NODE_INPUTS,
    AttentionGnn,
    Cuts,
    Embedding,
    Features,
    Filter,
    InteractionGnn,
)
from trackserve.trackers.exatrkx.model import Description, Model
from trackserve.trackers.exatrkx.modules import make_modules, model_of

LRT = Path(__file__).parent / "data" / "exatrkx-lrt"
PUBLISHED_SCALES = (3000.0, math.pi, 400.0)
POLAR = ("r", "phi", "z")


def random_model(description: Description) -> Model:
    torch.manual_seed(1)
    return model_of(description, make_modules(description))


def small_model(**changes: object) -> Model:
    """A model of our own kind; its cuts keep some edges of :func:`random_event` at each stage."""
    values: dict[str, object] = {
        "name": "small",
        "detector": "generic",
        "order": "outward",
        "features": Features((1000.0, math.pi, 1000.0), (0.0, -1.0, -3.0), (1.1, 1.0, 3.0)),
        "embedding": Embedding(NODE_INPUTS, (20, 12), 5, "relu", True),
        "filter": Filter(POLAR, (16,), EDGE_INPUTS),
        "gnn": InteractionGnn("interaction", NODE_INPUTS, EDGE_INPUTS, 12, 1, 3),
        "cuts": Cuts(0.1, 0.45, 0.4, 3, "paths"),
    }
    return random_model(Description(**{**values, **changes}))  # type: ignore[arg-type]


def wide_model() -> Model:
    """A model with a wide layer, so that a GPU's tiles have fewer rows."""
    embedding = Embedding(NODE_INPUTS, (72, 12), 5, "relu", True)
    return small_model(embedding=embedding, cuts=Cuts(0.1, 0.5, 0.4, 3, "paths"))


def published_model() -> Model:
    """The published graph network behind random networks of published kinds."""
    gnn = AttentionGnn("attention", POLAR)
    description = Description(
        "lrt",
        "itk",
        "given",
        Features(PUBLISHED_SCALES),
        Embedding(POLAR, (16, 16), 8),
        Filter(POLAR, (16, 16)),
        gnn,
        Cuts(0.02, 0.21, 0.75),
    )
    return Model(description, {**random_model(description).weights, **published_gnn_weights()})


def published_gnn_weights() -> dict[str, Array]:
    """The weights of the published graph network, by our names."""
    weights = {}
    with np.load(LRT / "weights_lrt_gnn.npz") as arrays:
        for published, ours, n in (
            ("input_network", "encoder", 3),
            ("edge_network.network", "edge", 3),
            ("node_network.network", "node", 2),
        ):
            for part in ("weight", "bias"):
                for i in range(n):
                    weights[f"gnn.{ours}.layers.{i}.{part}"] = arrays[f"{published}.{3 * i}.{part}"]
                    norm = arrays[f"{published}.{3 * i + 1}.{part}"]
                    weights[f"gnn.{ours}.norms.{i}.{part}"] = norm
                if ours != "encoder":
                    weights[f"gnn.{ours}.last.{part}"] = arrays[f"{published}.{3 * n}.{part}"]
    return weights


def random_event(n_points: int, seed: int = 0, event: int = 0) -> PointsEvent:
    """Points on straight lines from near the origin, ten to each."""
    random = np.random.default_rng(seed)
    n_lines = -(-n_points // 10)
    phi = random.uniform(-math.pi, math.pi, (n_lines, 1))
    slope = random.uniform(-2, 2, (n_lines, 1))
    r = np.linspace(30, 1000, 10)[None] + random.normal(0, 1, (n_lines, 10))
    bend = phi + r * random.normal(0, 1e-4, (n_lines, 1))
    position = np.stack([r * np.cos(bend), r * np.sin(bend), r * slope], -1).reshape(-1, 3)
    order = random.permutation(len(position))[:n_points]
    return PointsEvent(SpacePoints(position[order].astype(np.float32)), event)
