"""Results as awkward arrays and Parquet: one row per event, nouns as lists of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from ..edm import Columns, PatatrackResult, Tracks

_STATE = ("phi", "tip", "q_over_pt", "cot_theta", "zip")


def to_awkward(results: Sequence[PatatrackResult]) -> ak.Array:
    """One record per event: ``event``, ``counts``, and each noun as a list of records.

    Tracks have ``pt``, ``eta``, ``charge`` and the five parameters by name beside
    ``covariance`` (15 values); ``hits`` are ragged.
    """
    table: dict[str, Any] = {
        "event": np.array([result.event for result in results], np.int64),
        "counts": ak.Array([asdict(result.counts) for result in results]),
    }
    names = results[0].parts() if results else {}
    for name in names:
        parts = [result.parts()[name] for result in results]
        lengths = [len(part) for part in parts]
        table[name] = ak.unflatten(_records(_concatenate(parts)), lengths)
    return ak.Array(table) if results else ak.Array([])


def write_parquet(path: str | Path, results: Sequence[PatatrackResult]) -> None:
    """Write :func:`to_awkward` of ``results`` as a Parquet file."""
    ak.to_parquet(to_awkward(results), str(path))


def _concatenate(parts: list[Columns]) -> Columns:
    first = type(parts[0])
    return first(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in first.schema())
    )


def _records(part: Columns) -> ak.Array:
    columns: dict[str, Any] = part.columns()
    if isinstance(part, Tracks):
        state = columns.pop("state")
        flat = columns["hits"][columns["hits"] >= 0]
        derived = {"pt": part.pt, "eta": part.eta, "charge": part.charge}
        parameters = {name: state[:, i] for i, name in enumerate(_STATE)}
        columns = derived | parameters | columns
        columns["hits"] = ak.unflatten(flat, part.n_hits.astype(np.int64))
        columns["covariance"] = ak.to_regular(ak.Array(part.covariance))
    return ak.zip(columns, depth_limit=1)
