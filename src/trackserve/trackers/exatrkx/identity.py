"""The identity of an Exa.TrkX pipeline; it needs no compiler."""

from __future__ import annotations

import json

from trackserve.wire.identity import Identity, digest, part

from .model import Model, to_json
from .tracker import Exatrkx

_NO_MATTER = ("name", "working_points", "record", "format")
"""Facts in ``model.json`` on which no result depends. The cuts in use are another fact."""


def identity_of(model: Model, precision: str, device: str) -> Identity:
    """The identity of a pipeline with ``model`` at this precision."""
    facts = {k: v for k, v in to_json(model.description).items() if k not in _NO_MATTER}
    # in a file, 1 and 1.0 are the same number
    content = {
        "description": json.loads(json.dumps(facts, default=float), parse_int=float),
        "weights": model.weights,
    }
    parts = (part("model", model.description.name, digest(content)), part("precision", precision))
    return Identity(Exatrkx.name, Exatrkx.algorithm, parts, device)
