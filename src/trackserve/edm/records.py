"""Nouns as awkward arrays of records."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from .columns import Columns, Ragged
from .pixel import Tracks

_STATE = ("phi", "tip", "q_over_pt", "cot_theta", "zip")


def to_records(part: Columns) -> ak.Array:
    """Make a record of each row, with a field for each column.

    A ragged column becomes lists. Tracks have ``pt``, ``eta``, ``charge`` and the five
    parameters by name beside ``covariance`` (15 values); their ``hits`` are lists too.
    """
    columns: dict[str, Any] = {
        name: ak.unflatten(values.values, values.counts) if isinstance(values, Ragged) else values
        for name, values in part.columns().items()
    }
    if isinstance(part, Tracks):
        state = np.ascontiguousarray(columns.pop("state").T)
        derived = {"pt": part.pt, "eta": part.eta, "charge": part.charge}
        columns = derived | dict(zip(_STATE, state, strict=True)) | columns
        flat = part.hits[part.hits >= 0]
        columns["hits"] = ak.unflatten(flat, part.n_hits.astype(np.int64))
        columns["covariance"] = ak.to_regular(ak.Array(part.covariance))
    return ak.zip(columns, depth_limit=1)
