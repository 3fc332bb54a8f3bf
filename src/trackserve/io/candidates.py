"""Track candidates from a Parquet file of results, of any tracker that has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.columns import Array, Ragged
from trackserve.edm.points import TrackCandidates
from trackserve.errors import EventError, InputError

from .files import as_path

_COLUMNS = ("source", "source_event", "error", "candidates")


class CandidatesFile:
    """Reads the candidates of a file that ``trackserve reconstruct`` wrote.

    Args:
        path: the file.

    Attributes:
        about: metadata of the file, as its ``identity``.

    Raises:
        InputError: it cannot be read, or has no candidates.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = as_path(path)
        try:
            with pq.ParquetFile(self._path) as file:
                schema, self._n = file.schema_arrow, int(file.metadata.num_rows)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot be read: {error}", file=str(path)) from error
        missing = [name for name in _COLUMNS if name not in schema.names]
        if missing:
            raise InputError("no candidates here", file=str(path), found=schema.names)
        metadata = schema.metadata or {}
        self.about = {
            key.decode(): value.decode(errors="replace") for key, value in metadata.items()
        }

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[tuple[int, TrackCandidates | EventError]]:
        """Number of each event in its source, and its candidates or its error.

        Raises:
            InputError: the file cannot be read, or its events are from several sources.
        """
        sources = set()
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=1, columns=list(_COLUMNS)):
                    sources.add(batch["source"][0].as_py())
                    if len(sources) > 1:
                        raise InputError(
                            "the candidates are of several sources; fit them one by one",
                            file=str(self._path),
                            found=sorted(sources),
                        )
                    yield _row(batch)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot be read: {error}", file=str(self._path)) from error


def _row(batch: Any) -> tuple[int, TrackCandidates | EventError]:
    number = batch["source_event"][0].as_py()
    error = batch["error"][0].as_py()
    if error:
        return number, EventError(f"it has no candidates: {error}", event=number)
    records = batch["candidates"][0].values
    points = records.field("points")
    offsets = _numpy(points.offsets).astype(np.int64)
    values = _numpy(points.values)[offsets[0] : offsets[-1]]
    return number, TrackCandidates(
        Ragged(offsets - offsets[0], values.astype(np.int32)),
        _numpy(records.field("score")).astype(np.float32),
    )


def _numpy(array: Any) -> Array:
    found: Array = array.to_numpy(zero_copy_only=False)
    return found
