"""Objects of a trigger, made of chosen numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserve.workflow.objects import TriggerTracks

_USUAL: dict[str, Any] = {
    "pt": 5.0,
    "eta": 0.0,
    "phi": 0.0,
    "charge": 1,
    "tip": 0.0,
    "tip_error": 0.005,
    "zip": 0.0,
    "zip_error": 0.01,
    "n_hits": 4,
    "vertex": 0,
}


def tracks_of(*rows: dict[str, float]) -> TriggerTracks:
    """A track for each row; what a row does not say is usual."""
    columns = {
        name: np.array([row.get(name, usual) for row in rows], kind.dtype)
        for (name, kind), usual in zip(TriggerTracks.schema().items(), _USUAL.values(), strict=True)
    }
    return TriggerTracks(**columns)
