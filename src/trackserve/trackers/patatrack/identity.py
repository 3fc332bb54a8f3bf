"""The identity of a Patatrack pipeline; it needs no compiler."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from trackserve.detectors.phase1.conditions import PixelConditions
from trackserve.wire.identity import Identity, digest, part

from .config import PatatrackConfig
from .tracker import Patatrack


def identity_of(conditions: PixelConditions, config: PatatrackConfig, device: str) -> Identity:
    """The identity of a pipeline.

    The default beam spot of the conditions is no part of it, because each event brings its own.
    """
    constants = {
        field.name: getattr(config, field.name) for field in fields(config) if field.name != "name"
    }
    content = {
        "fed_ids": np.asarray(conditions.fed_ids, "<u4"),
        "cabling": conditions.cabling,
        "gain": conditions.gain,
        "cpe": conditions.cpe,
        "material": np.asarray(conditions.material, "<f4"),
    }
    parts = (part("config", config.name, digest(constants)), part("conditions", digest(content)))
    return Identity(Patatrack.name, Patatrack.algorithm, parts, device)
