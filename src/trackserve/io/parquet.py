"""Results of many events as one awkward array, and as Parquet."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np

from trackserve.edm.records import to_records
from trackserve.edm.result import Outcome, Result
from trackserve.errors import EventError


def to_awkward(
    results: Sequence[Outcome], kind: type[Result], keep: Collection[str] = ()
) -> ak.Array:
    """One record per event: ``event``, ``error``, ``counts``, and each noun as a list of records.

    The records are those of :func:`trackserve.edm.records.to_records`. An event that could not be
    reconstructed says why in ``error``, which is None for the others, and has empty lists.

    Args:
        results: results of one tracker; all have the same intermediates.
        kind: class of the tracker's results.
        keep: intermediates that the results have. They need not be given, unless no event could
            be reconstructed: then their lists are all empty.
    """
    good = [result if isinstance(result, Result) else None for result in results]
    first = next((result for result in good if result is not None), None)
    kept = {*keep, *(first.parts() if first else ())}
    nouns = kind.always() | {n: noun for n, noun in kind.intermediates().items() if n in kept}
    names = kind.counts_type().names()
    none = np.zeros(len(names), np.int64)
    rows = [none if r is None else r.counts.as_array() for r in good]
    counts = np.array(rows, np.int64).reshape(-1, len(names)).T.copy()
    table: dict[str, Any] = {
        "event": np.array([_number(result) for result in results], np.int64),
        "error": [str(r) if isinstance(r, EventError) else None for r in results],
        "counts": ak.zip(dict(zip(names, counts, strict=True))),
    }
    for name, noun in nouns.items():
        parts = [noun.empty() if r is None else getattr(r, name) for r in good]
        lengths = np.array([len(part) for part in parts], np.int64)
        table[name] = ak.unflatten(to_records(noun.concatenate(parts)), lengths)
    return ak.Array(table)


def write_parquet(
    path: str | Path,
    results: Sequence[Outcome],
    kind: type[Result],
    keep: Collection[str] = (),
) -> None:
    """Write :func:`to_awkward` of the other arguments to ``path``, a Parquet file."""
    ak.to_parquet(to_awkward(results, kind, keep), str(path))


def _number(result: Outcome) -> int:
    return result.fields["event"] if isinstance(result, EventError) else result.event
