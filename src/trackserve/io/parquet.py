"""Results of many events as one awkward array, and as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from trackserve.edm import (
    ALWAYS,
    Counts,
    ExatrkxResult,
    GraphCounts,
    PatatrackResult,
    TrackCandidates,
)
from trackserve.edm.columns import Array
from trackserve.edm.records import to_records
from trackserve.errors import EventError


def to_awkward(results: Sequence[PatatrackResult | EventError]) -> ak.Array:
    """One record per event: ``event``, ``error``, ``counts``, and each noun as a list of records.

    The nouns' records are those of :func:`trackserve.edm.records.to_records`. An event
    that could not be reconstructed says why in ``error`` (None for the others), and has
    empty lists.
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
        table[name] = ak.unflatten(to_records(noun.concatenate(parts)), lengths)
    return ak.Array(table)


def write_parquet(path: str | Path, results: Sequence[PatatrackResult | EventError]) -> None:
    """Write :func:`to_awkward` of ``results`` as a Parquet file."""
    ak.to_parquet(to_awkward(results), str(path))


def exatrkx_to_awkward(results: Sequence[ExatrkxResult | EventError]) -> ak.Array:
    """One record per event: ``event``, ``error``, ``counts``, ``labels``, and ``candidates``, a
    list of records of ``points`` and ``score``.

    An event that could not be reconstructed says why in ``error`` (None for the others), and
    has empty lists.
    """
    good = [r if isinstance(r, ExatrkxResult) else None for r in results]
    labels = [np.empty(0, np.int64) if r is None else r.labels for r in good]
    candidates = [TrackCandidates.empty() if r is None else r.candidates for r in good]
    points = _ragged([c.points for c in candidates], np.int32)
    sizes = _ragged([np.diff(c.offsets) for c in candidates], np.int64)
    scores = _ragged([c.scores for c in candidates], np.float32)
    flat = ak.unflatten(ak.flatten(points), ak.flatten(sizes))
    return ak.Array(
        {
            "event": np.array([_event(result) for result in results], np.int64),
            "error": [str(r) if isinstance(r, EventError) else None for r in results],
            "counts": ak.zip(
                {
                    f.name: np.array(
                        [getattr(GraphCounts() if r is None else r.counts, f.name) for r in good],
                        np.int64,
                    )
                    for f in fields(GraphCounts)
                }
            ),
            "labels": _ragged(labels, np.int64),
            "candidates": ak.zip(
                {"points": ak.unflatten(flat, ak.num(scores)), "score": scores}, depth_limit=2
            ),
        }
    )


def write_exatrkx(path: str | Path, results: Sequence[ExatrkxResult | EventError]) -> None:
    """Write :func:`exatrkx_to_awkward` of ``results`` as a Parquet file."""
    ak.to_parquet(exatrkx_to_awkward(results), str(path))


def _ragged(parts: Sequence[Array], dtype: type) -> ak.Array:
    flat = np.concatenate([np.empty(0, dtype), *parts])
    return ak.unflatten(flat, np.array([len(part) for part in parts], np.int64))


def _event(result: PatatrackResult | ExatrkxResult | EventError) -> int:
    return result.fields["event"] if isinstance(result, EventError) else result.event


def _counts(results: Sequence[PatatrackResult | EventError]) -> dict[str, Array]:
    rows = [r.counts if isinstance(r, PatatrackResult) else Counts() for r in results]
    return {f.name: np.array([getattr(r, f.name) for r in rows], np.int32) for f in fields(Counts)}
