"""The settings of a training; the defaults are those of the shipped model."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackserve.errors import InputError
from trackserve.io.files import readable

from ..architecture import Activation

MODEL_NODE_INPUTS = ("r", "cos_phi", "sin_phi", "z", "eta", "x", "y")
"""Inputs of points in our models. phi is not among them: its seam at +-pi would cost tracks."""
MODEL_EDGE_INPUTS = ("dr", "dphi", "dz", "deta", "phi_slope", "z0", "distance")
"""Inputs of edges in our models."""


@dataclass(frozen=True)
class Schedule:
    """The settings of the optimiser for one network.

    Attributes:
        steps: steps of the optimiser; each step takes one event.
        rate: largest learning rate, after ``warm_up`` steps; then it falls to 0 as a cosine.
        warm_up: steps until the learning rate is largest.
        decay: weight decay of AdamW.
        clip: largest norm of a gradient.
        validate_every: steps from one validation to the next.
        patience: the training ends after this many validations without a better one.
    """

    steps: int
    rate: float
    warm_up: int = 100
    decay: float = 1e-4
    clip: float = 1.0
    validate_every: int = 500
    patience: int = 6


@dataclass(frozen=True)
class EmbeddingTraining:
    """The training of the embedding.

    Attributes:
        schedule: how it is fitted.
        widths, dimensions, activation: as in :class:`..architecture.Embedding`.
        points: points per step, from a region of an event.
        wrong_pairs: most pairs per step that are near but do not belong together.
        pull: weight of the pairs that belong together, if the others have 1.
        softness: width of the step of the loss, in units of the squared radius.
        efficiency: share of the wanted pairs that are within the radius.
    """

    schedule: Schedule = Schedule(steps=8000, rate=3e-3, validate_every=1000)
    widths: tuple[int, ...] = (128, 128, 128, 128)
    dimensions: int = 8
    activation: Activation = "relu"
    points: int = 4_000
    wrong_pairs: int = 20_000
    pull: float = 10.0
    softness: float = 0.4
    efficiency: float = 0.995


@dataclass(frozen=True)
class FilterTraining:
    """The training of the filter.

    Attributes:
        schedule: how it is fitted.
        widths: widths of the hidden layers.
        edges: edges per step, drawn from the graph.
        pull: weight of the true edges, if the others have 1.
        efficiency: share of the wanted pairs in the graph that the cut keeps.
    """

    schedule: Schedule = Schedule(steps=1500, rate=3e-3, validate_every=250)
    widths: tuple[int, ...] = (64, 64, 64)
    edges: int = 50_000
    pull: float = 20.0
    efficiency: float = 0.995


@dataclass(frozen=True)
class GnnTraining:
    """The training of the graph network.

    Attributes:
        schedule: how it is fitted.
        hidden, depth, steps: as in :class:`..architecture.InteractionGnn`.
        points: points per step, from a region of an event; many small steps teach the network
            more than a few large ones.
    """

    schedule: Schedule = Schedule(steps=20_000, rate=3e-3, validate_every=4000)
    hidden: int = 32
    depth: int = 1
    steps: int = 6
    points: int = 2_000


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a training.

    Attributes:
        name: name of the model.
        seed: seed of all random choices.
        validation_events: number of events for validation, the last ones of each directory.
        cached_events: prepared events that stay in memory; others are read again.
        max_points: most points of a training event; a larger event is cut to a wedge in azimuth.
        least_pt: GeV; particles above should be found: they count when the training is judged, and
            the cuts on pairs of points are those of their segments. None: what is wanted in the
            detector of the events, :func:`trackserve.physics.points.truth.wanted_in`.
        soft_pt: GeV; pairs of particles below are neither right nor wrong to the embedding.
        wanted_pt: GeV; particles above have the weight 1, others ``soft_weight``.
        soft_weight: weight of particles between ``soft_pt`` and ``wanted_pt``.
        fast_pt: GeV; particles above have the weight ``fast_weight``.
        fast_weight: their weight.
        max_fakes: largest share of candidates without a particle at the working point.
        segments: share of the segments of true tracks that the cuts on pairs of points keep.
        segment_events: events of each directory from which these cuts are chosen.
        embedding, filter, gnn: the training of each network.
    """

    name: str = "default"
    seed: int = 1
    validation_events: int = 4
    cached_events: int = 600
    max_points: int = 40_000
    least_pt: float | None = None
    soft_pt: float = 0.7
    wanted_pt: float = 0.9
    soft_weight: float = 0.1
    fast_pt: float = 5.0
    fast_weight: float = 1.0
    max_fakes: float = 0.02
    segments: float = 0.999
    segment_events: int = 100
    embedding: EmbeddingTraining = field(default_factory=EmbeddingTraining)
    filter: FilterTraining = field(default_factory=FilterTraining)
    gnn: GnnTraining = field(default_factory=GnnTraining)


NETWORKS = ("embedding", "filter", "gnn")
"""The networks of a model, in the order in which they are trained."""
PRESETS = {
    "default": TrainingConfig(),
    "small": TrainingConfig(
        name="small",
        embedding=EmbeddingTraining(
            schedule=Schedule(steps=2500, rate=3e-3, validate_every=500), widths=(64, 64, 64)
        ),
        filter=FilterTraining(
            schedule=Schedule(steps=800, rate=3e-3, validate_every=200), widths=(48, 48)
        ),
        gnn=GnnTraining(
            schedule=Schedule(steps=6000, rate=3e-3, validate_every=1500), hidden=24, steps=5
        ),
    ),
}
"""Settings by name: of the shipped model, and of a smaller one that is trained in fewer steps."""


def find_preset(name: str) -> TrainingConfig:
    """Return the settings of a name.

    Raises:
        InputError: there are none.
    """
    if name not in PRESETS:
        raise InputError("no such preset", found=name, bound=[*PRESETS])
    return PRESETS[name]


def read_config(path: Path, preset: TrainingConfig = PRESETS["default"]) -> TrainingConfig:
    """Read a TOML file; settings that it does not have are those of ``preset``.

    Raises:
        ConditionsError: the file cannot be read.
        InputError: it is not a TOML file, or a key or a value is wrong.
    """
    with readable(path):
        content = path.read_bytes()
    try:
        values = tomllib.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError("not a TOML file", file=str(path), found=str(error)) from None
    return parse_config(values, str(path), preset)


def parse_config(
    values: dict[str, Any], where: str, preset: TrainingConfig = PRESETS["default"]
) -> TrainingConfig:
    """Return ``preset`` with the settings of ``values``, the content of the file ``where``.

    Raises:
        InputError: a key or a value is wrong.
    """
    config: TrainingConfig = _parse(preset, values, "", where)
    return config


def _parse(default: Any, values: Any, at: str, where: str) -> Any:
    """Return ``default`` with the fields of ``values`` replaced."""
    if not isinstance(values, dict):
        raise InputError("not a table", file=where, at=at, found=values)
    hints = typing.get_type_hints(type(default))
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError("unknown key", file=where, at=at, found=unknown, bound=sorted(hints))
    replaced = {}
    for key, value in values.items():
        name = f"{at}.{key}" if at else key
        old = getattr(default, key)
        if dataclasses.is_dataclass(old):
            replaced[key] = _parse(old, value, name, where)
        else:
            replaced[key] = _checked(hints[key], value, name, where)
    return dataclasses.replace(default, **replaced)


def _checked(kind: Any, value: Any, at: str, where: str) -> Any:
    """Return ``value`` if it is of ``kind``; all numbers must be positive."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # a setting that may be None has a value in a file
        return _checked(arguments[0], value, at, where)
    if origin is tuple and isinstance(value, list) and value:
        return tuple(_checked(arguments[0], part, at, where) for part in value)
    if origin is typing.Literal and value in arguments:
        return value
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is kind and (kind is str or value > 0):
        return value
    bound = list(arguments) if origin is typing.Literal else f"{kind}, positive"
    raise InputError("wrong value", file=where, at=at, found=value, bound=bound)
