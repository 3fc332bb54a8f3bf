"""Results as awkward arrays and Parquet: one row per event, nouns as lists of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from ..edm import ALWAYS, Columns, Counts, PatatrackResult, Tracks
from ..edm.columns import Array
from ..errors import EventError

_STATE = ("phi", "tip", "q_over_pt", "cot_theta", "zip")


def to_awkward(results: Sequence[PatatrackResult | EventError]) -> ak.Array:
    """One record per event: ``event``, ``error``, ``counts``, and each noun as a list of records.

    Tracks have ``pt``, ``eta``, ``charge`` and the five parameters by name beside
    ``covariance`` (15 values); ``hits`` are ragged. An event that could not be
    reconstructed says why in ``error`` (None for the others), and has empty lists.
    """
    good = [result for result in results if isinstance(result, PatatrackResult)]
    nouns = {name: type(part) for name, part in good[0].parts().items()} if good else ALWAYS
    table: dict[str, Any] = {
        "event": np.array([_event(result) for result in results], np.int64),
        "error": [str(r) if isinstance(r, EventError) else None for r in results],
        "counts": ak.zip(_counts(results)),
    }
    for name, noun in nouns.items():
        parts = [
            getattr(r, name) if isinstance(r, PatatrackResult) else noun.empty() for r in results
        ]
        lengths = np.array([len(part) for part in parts], np.int64)
        table[name] = ak.unflatten(_records(noun.concatenate(parts)), lengths)
    return ak.Array(table)


def _event(result: PatatrackResult | EventError) -> int:
    return result.event if isinstance(result, PatatrackResult) else result.fields["event"]


def _counts(results: Sequence[PatatrackResult | EventError]) -> dict[str, Array]:
    rows = [r.counts if isinstance(r, PatatrackResult) else Counts() for r in results]
    return {f.name: np.array([getattr(r, f.name) for r in rows], np.int32) for f in fields(Counts)}


def write_parquet(path: str | Path, results: Sequence[PatatrackResult | EventError]) -> None:
    """Write :func:`to_awkward` of ``results`` as a Parquet file."""
    ak.to_parquet(to_awkward(results), str(path))


def _records(part: Columns) -> ak.Array:
    columns: dict[str, Any] = part.columns()
    if isinstance(part, Tracks):
        state = columns.pop("state")
        flat = columns["hits"][columns["hits"] >= 0]
        derived = {"pt": part.pt, "eta": part.eta, "charge": part.charge}
        parameters = dict(zip(_STATE, np.ascontiguousarray(state.T), strict=True))
        columns = derived | parameters | columns
        columns["hits"] = ak.unflatten(flat, part.n_hits.astype(np.int64))
        columns["covariance"] = ak.to_regular(ak.Array(part.covariance))
    return ak.zip(columns, depth_limit=1)
