"""A model: what it is for, its networks, their weights and the cuts; on disk a folder.

The folder has two files. ``model.json`` holds :class:`Description`, field by field.
``weights.safetensors`` holds float32 arrays. Their names are those of the modules of PyTorch in
:mod:`.modules`, after one of the prefixes ``embedding.``, ``filter.`` and ``gnn.``.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trackserve.edm.columns import Array
from trackserve.errors import InputError, MissingExtraError, ModelError, parse_json
from trackserve.install import install_command
from trackserve.io.files import made, writable

from .architecture import (
    EDGE_INPUTS,
    NODE_INPUTS,
    AcornGnn,
    Activation,
    AttentionGnn,
    Cuts,
    Doublets,
    Embedding,
    Features,
    Filter,
    Gnn,
    InteractionGnn,
    Order,
    perceptrons_of,
)

MODELS = Path(__file__).parent / "models"
"""Folder of the models that ship with the package."""
_MAX_STEPS = 100
"""Most steps, and layers of a perceptron, of a graph network."""
_LEAST_PIECE = 3
"""Points that a helix needs."""


@dataclass(frozen=True)
class Description:
    """All facts about a model but its weights: the content of ``model.json``.

    Attributes:
        name: name of the model.
        detector: name of the detector that the points must come from.
        order: the order of points; an edge goes from the later to the earlier point. ``given`` is
            the order of the input, as published. ``outward`` is by distance from the origin
            (for equal distances by r, z, phi): the order of the input then has no effect.
        cuts: the working point.
        working_points: more working points, by name.
        doublets: which pairs of points within the radius have an edge, at all working points;
            None: all.
        record: how the model was made and what it reached; for the reader only.
        format: number of the format of the file, 1.
    """

    name: str
    detector: str
    order: Order
    features: Features
    embedding: Embedding
    filter: Filter
    gnn: Gnn
    cuts: Cuts
    working_points: dict[str, Cuts] = field(default_factory=dict)
    doublets: Doublets | None = None
    record: dict[str, Any] = field(default_factory=dict)
    format: Literal[1] = 1

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each weight, by name."""
        networks: dict[str, Embedding | Filter | Gnn] = {
            "embedding": self.embedding,
            "filter": self.filter,
            "gnn": self.gnn,
        }
        return {k: v for name, spec in networks.items() for k, v in shapes_of(name, spec).items()}


def shapes_of(network: str, spec: Embedding | Filter | Gnn) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of one network, by name; the name begins with ``network``."""
    return {
        f"{network}.{part}.{name}": shape
        for part, perceptron in perceptrons_of(spec).items()
        for name, shape in perceptron.shapes().items()
    }


@dataclass(frozen=True, eq=False)
class Model:
    """A description and the weights that fit it.

    Attributes:
        description: all facts but the weights.
        weights: float32 arrays by name, with the shapes of :meth:`Description.shapes`.
        where: name of the model in errors: its folder.

    Raises:
        ModelError: a weight is missing, unknown, or of another shape or type; or a value of the
            description is out of range.
    """

    description: Description
    weights: Mapping[str, Array]
    where: str = "model"

    def __post_init__(self) -> None:
        _check_description(self.description, self.where)
        check_weights(self.description.shapes(), self.weights, self.where)

    def at(self, working_point: str) -> Model:
        """Return the same model with the cuts of one of its working points.

        Raises:
            InputError: the model has no such working point.
        """
        points = self.description.working_points
        if working_point not in points:
            raise InputError("no such working point", found=working_point, bound=sorted(points))
        description = dataclasses.replace(self.description, cuts=points[working_point])
        return Model(description, self.weights, self.where)


def load_model(name_or_path: str | Path) -> Model:
    """Read a model folder.

    Args:
        name_or_path: the name of a model that ships with the package, or the path of a folder.
            ``@POINT`` after it takes the cuts of that working point of the model.

    Raises:
        InputError: there is no such folder or working point.
        ModelError: a file is missing or malformed, or the files do not fit each other.
    """
    folder, point = _find(str(name_or_path)), ""
    if folder is None:
        name, _, point = str(name_or_path).rpartition("@")
        folder = _find(name) if name else None
    if folder is None:
        shipped = sorted(path.name for path in MODELS.glob("*/"))
        raise InputError("no such model", found=str(name_or_path), bound=[*shipped, "a folder"])
    description = read_description(folder / "model.json")
    model = Model(description, _read_weights(folder / "weights.safetensors"), str(folder))
    return model.at(point) if point else model


def require_detector(model: Model, detector: str) -> None:
    """Check that a model is for a detector.

    Raises:
        ModelError: it is for another one; ``models`` names those of the package that fit, if any.
    """
    found = model.description.detector
    if found != detector:
        shipped = {path.name: read_description(path / "model.json") for path in MODELS.glob("*/")}
        fitting = sorted(name for name, one in shipped.items() if one.detector == detector)
        raise ModelError(
            "the model is for another detector",
            file=model.where,
            found=found,
            bound=detector,
            **({"models": fitting} if fitting else {}),
        )


def _find(name_or_path: str) -> Path | None:
    """Return the folder of a model, or None."""
    folders = (MODELS / name_or_path, Path(name_or_path))
    with suppress(OSError):  # the name is too long
        return next((folder for folder in folders if folder.is_dir()), None)
    return None


def save_model(model: Model, folder: str | Path) -> None:
    """Write a model folder; make the folder if it does not exist.

    Raises:
        InputError: a file cannot be written.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    weights = {name: np.ascontiguousarray(value) for name, value in model.weights.items()}
    # not save_file: its file can be read by its writer only, which is no use to a container
    text = json.dumps(to_json(model.description), indent=2)
    text = _LIST.sub(lambda found: " ".join(found.group().split()), text)
    with writable(folder), made(folder):
        (folder / "weights.safetensors").write_bytes(save(weights))
        (folder / "model.json").write_text(text + "\n")


_LIST = re.compile(r"\[[^][{}]*\]")
"""A list without lists or objects; it is written on one line."""
_LARGEST = 1 << 53
"""Integers up to here are floats."""


def read_description(path: str | Path) -> Description:
    """Read ``model.json``.

    Raises:
        ModelError: the file is missing or malformed.
    """
    path = Path(path)
    try:
        values = parse_json(path.read_bytes(), dict)
    except FileNotFoundError:
        raise ModelError("file is missing", file=str(path)) from None
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", file=str(path)) from None
    except InputError as error:
        raise ModelError("not a JSON file", file=str(path), **error.fields) from None
    return from_json(values, str(path))


def to_json(description: Description) -> dict[str, Any]:
    """Return the content of ``model.json``; the format comes first."""
    values = dataclasses.asdict(description)
    return {"format": values.pop("format"), **values}


def from_json(values: Any, where: str) -> Description:
    """Return the description that ``values``, the content of ``model.json``, gives.

    Args:
        values: as :func:`to_json` returns them.
        where: name of the file, for the error.

    Raises:
        ModelError: a field is missing, unknown, or of the wrong type.
    """
    description = _parse(Description, values, "", where)
    assert isinstance(description, Description)
    return description


def _parse(kind: Any, value: Any, at: str, where: str) -> Any:
    """Return ``value`` as ``kind``: a dataclass, union, tuple, dict, literal or plain type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _parse_fields(kind, value, at, where)
    if kind == Gnn:
        kinds = {"attention": AttentionGnn, "interaction": InteractionGnn, "acorn": AcornGnn}
        found = value.get("kind") if isinstance(value, dict) else value
        if not isinstance(found, str) or found not in kinds:
            raise ModelError("no such kind", file=where, at=at, found=found, bound=sorted(kinds))
        return _parse_fields(kinds[found], value, at, where)
    if origin in (typing.Union, types.UnionType):
        rest = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _parse(rest, value, at, where)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        kinds_of = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds_of) == len(value):
            pairs = enumerate(zip(kinds_of, value, strict=True))
            return tuple(_parse(k, v, f"{at}[{i}]", where) for i, (k, v) in pairs)
    if origin is dict and isinstance(value, dict):
        return {key: _parse(arguments[1], v, f"{at}.{key}", where) for key, v in value.items()}
    if kind is float and type(value) is int and abs(value) < _LARGEST:
        return float(value)
    if kind is Any or (isinstance(kind, type) and type(value) is kind):
        return value
    raise ModelError("wrong value", file=where, at=at, found=value, bound=str(kind))


def _parse_fields(kind: Any, value: Any, at: str, where: str) -> Any:
    if not isinstance(value, dict):
        raise ModelError("not an object", file=where, at=at, found=value)
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise ModelError("unknown key", file=where, at=at, found=unknown, bound=sorted(fields))
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted((required | ({"format"} & set(fields))) - set(value))
    if missing:
        raise ModelError("key is missing", file=where, at=at, found=missing)
    prefix = f"{at}." if at else ""
    return kind(**{k: _parse(hints[k], v, prefix + k, where) for k, v in value.items()})


def _check_description(description: Description, where: str) -> None:
    """Refuse a description that no pipeline can run."""
    d = description

    def require(good: bool, at: str, found: Any, bound: Any) -> None:
        if not good:
            raise ModelError("wrong value", file=where, at=at, found=found, bound=bound)

    for network in ("embedding", "filter", "gnn"):
        spec = getattr(d, network)
        names = spec.inputs
        good = len(names) > 0 and set(names) <= set(NODE_INPUTS)
        require(good, f"{network}.inputs", list(names), list(NODE_INPUTS))
        names = getattr(spec, "edge_inputs", ())
        good = set(names) <= set(EDGE_INPUTS)
        require(good, f"{network}.edge_inputs", list(names), list(EDGE_INPUTS))
        sizes = getattr(spec, "widths", None) or (getattr(spec, "hidden", 0),)
        require(min(sizes) > 0, f"{network}: width", min(sizes), "> 0")
        activation = getattr(spec, "activation", "relu")
        known = typing.get_args(Activation)
        require(activation in known, f"{network}.activation", activation, list(known))
    scales, low, high = d.features.scales, d.features.low, d.features.high
    require(all(0 < scale < math.inf for scale in scales), "features.scales", scales, "> 0")
    if low is not None and high is not None:
        ordered = all(a <= b for a, b in zip(low, high, strict=True))
        require(ordered, "features.low", low, f"<= {high}")
    require(d.embedding.dimensions > 0, "embedding.dimensions", d.embedding.dimensions, "> 0")
    require(0 < d.gnn.steps <= _MAX_STEPS, "gnn.steps", d.gnn.steps, f"1..{_MAX_STEPS}")
    least = 1 if isinstance(d.gnn, InteractionGnn) else 2
    good = least <= d.gnn.depth <= _MAX_STEPS
    require(good, "gnn.depth", d.gnn.depth, f"{least}..{_MAX_STEPS}")
    for name, cuts in {"": d.cuts, **d.working_points}.items():
        at = f"working_points.{name}" if name else "cuts"
        require(0 < cuts.radius < math.inf, f"{at}.radius", cuts.radius, "> 0")
        require(0 <= cuts.filter < 1, f"{at}.filter", cuts.filter, "0..1")
        require(0 <= cuts.edge < 1, f"{at}.edge", cuts.edge, "0..1")
        require(cuts.min_points > 0, f"{at}.min_points", cuts.min_points, "> 0")
        if (finish := cuts.finish) is not None:
            require(0 < finish.field < math.inf, f"{at}.finish.field", finish.field, "> 0")
            least = finish.piece_points
            require(least >= _LEAST_PIECE, f"{at}.finish.piece_points", least, f">= {_LEAST_PIECE}")
            if (sure := finish.sure_edge) is not None:
                require(cuts.edge <= sure < 1, f"{at}.finish.sure_edge", sure, f"{cuts.edge}..1")
    if d.doublets is not None:
        _check_doublets(d.doublets, require)


def _check_doublets(doublets: Doublets, require: Callable[[bool, str, Any, Any], None]) -> None:
    """Refuse a table of bounds that has no order, or no bound for a cell."""
    for name in ("r", "dr", "dz"):
        edges = getattr(doublets, name)
        good = all(a < b for a, b in itertools.pairwise((0.0, *edges, math.inf)))
        require(good, f"doublets.{name}", list(edges), "> 0, ascending")
    for name in ("z0", "phi_slope", "dphi"):
        bounds = getattr(doublets, name)
        n = doublets.n_cells
        require(len(bounds) == n, f"doublets.{name}: cells", len(bounds), n)
        good = all(-math.inf < bound < math.inf for bound in bounds)
        require(good, f"doublets.{name}", list(bounds), "finite")


def check_weights(
    shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Array], where: str
) -> None:
    """Check weights against the shapes that they must have, by name.

    Raises:
        ModelError: a weight is missing, unknown, of another shape or type, or not finite.
    """
    missing, unknown = sorted(set(shapes) - set(weights)), sorted(set(weights) - set(shapes))
    if missing or unknown:
        raise ModelError(
            "weights do not fit the description", file=where, missing=missing, unknown=unknown
        )
    for name, shape in shapes.items():
        found = weights[name]
        if found.shape != shape or found.dtype != np.float32:
            raise ModelError(
                "weight has the wrong shape or type",
                file=where,
                weight=name,
                found=f"{found.dtype}{list(found.shape)}",
                bound=f"float32{list(shape)}",
            )
        if not np.isfinite(found).all():
            raise ModelError("weight is not finite", file=where, weight=name)


def _read_weights(path: Path) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError:
        raise MissingExtraError(
            f"to load a model, safetensors is needed: {install_command('exatrkx')}"
        ) from None
    try:
        weights: dict[str, Array] = load_file(path)
    except FileNotFoundError:
        raise ModelError("file is missing", file=str(path)) from None
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError("not a safetensors file", file=str(path), found=str(error)) from None
    return weights
