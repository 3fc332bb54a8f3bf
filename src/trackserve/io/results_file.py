"""A Parquet file of results that is written as they come, and continued where it stopped."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.result import Outcome, Result
from trackserve.errors import InputError, TrackserveError

from .files import complete, writable
from .parquet import ROW_GROUP_EVENTS, Row, results_schema, to_table, writer


class ResultsFile:
    """Writes the table of :mod:`.parquet`; a context manager.

    Until all is there, the folder ``PATH.parts`` has a Parquet file for each row group. Each is
    complete, so what is done can be read while the rest is made, and after a crash. If all went
    well, they are joined at the end of the context. Else they stay, and ``resume`` goes on.

    Args:
        path: the file.
        kind: class of the results.
        keep: intermediates that the table has.
        about: metadata of the file. Parts are continued only with the same ones.
        resume: continue what an earlier one left.

    Attributes:
        done: rows that are there, by source.

    Raises:
        InputError: the place cannot be written; the file or its parts are there, or parts were
            made in another way.
    """

    def __init__(
        self,
        path: str | Path,
        kind: type[Result],
        keep: Collection[str] = (),
        about: Mapping[str, str] | None = None,
        *,
        resume: bool = False,
    ) -> None:
        self.path = Path(path)
        self.parts = self.path.with_name(f"{self.path.name}.parts")
        self.done: Counter[str] = Counter()
        self._kind = kind
        self._schema = results_schema(kind, keep, about)
        self._waiting: list[Row] = []
        self._n_parts = 0
        self._shift: dict[str, int] = {}
        self._next_event = 0
        if self.path.is_dir():
            raise InputError("this is a folder, not a file", file=str(self.path))
        if self.parts.exists() and not resume:
            raise InputError(
                "an earlier command did not end; resume it, or remove the folder",
                folder=str(self.parts),
            )
        with writable(self.parts):
            self.parts.mkdir(parents=True, exist_ok=True)
            (self.parts / "test").touch()
            (self.parts / "test").unlink()
        for part in self._files():
            self._take_over(part)

    def write(self, outcome: Outcome, source: str = "") -> None:
        """Add a row.

        Its ``event`` is its number in the source. Where a source begins with a number that an
        earlier one has passed, all its numbers are raised alike, so that they stay unique.

        Raises:
            InputError: the result does not fit the table, or it cannot be written.
        """
        row = Row(outcome, source)
        if source not in self._shift:
            self._shift[source] = self._next_event if row.number < self._next_event else 0
        row = row._replace(shift=self._shift[source])
        self._next_event = max(self._next_event, row.number + row.shift + 1)
        self._waiting.append(row)
        if len(self._waiting) == ROW_GROUP_EVENTS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a part.

        Raises:
            InputError: it cannot be written.
        """
        if not self._waiting:
            return
        table = to_table(self._waiting, self._kind, self._schema)
        place = self.parts / f"{self._n_parts:06d}.parquet"
        with writable(place), complete(place) as partial, writer(partial, self._schema) as file:
            file.write_table(table)
        self.done.update(row.source for row in self._waiting)
        self._n_parts += 1
        self._waiting = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            with suppress(TrackserveError):  # the first error is the one to see
                self.flush()
            return
        self.flush()
        with (
            writable(self.path),
            complete(self.path) as partial,
            writer(partial, self._schema) as file,
        ):
            for part in self._files():
                file.write_table(pq.read_table(part, schema=self._schema))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _files(self) -> list[Path]:
        """The parts, in order."""
        return sorted(self.parts.glob("[0-9]*.parquet"))

    def _take_over(self, part: Path) -> None:
        """Count what an earlier command wrote."""
        try:
            table = pq.read_table(part)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot be read: {error}", file=str(part)) from error
        if not table.schema.equals(self._schema, check_metadata=True):
            raise InputError(
                "a part was made in another way",
                file=str(part),
                differs=_differences(table.schema, self._schema),
            )
        columns = table.select(["event", "source", "source_event"]).to_pydict()
        for event, source, number in zip(*columns.values(), strict=True):
            self.done[source] += 1
            self._shift[source] = event - number
            self._next_event = max(self._next_event, event + 1)
        self._n_parts = int(part.stem) + 1


def _differences(one: pa.Schema, other: pa.Schema) -> list[str]:
    """Names of the columns and metadata that are not alike."""
    mine, theirs = (
        {field.name: field.type for field in schema} | (schema.metadata or {})
        for schema in (one, other)
    )
    return sorted(
        name.decode() if isinstance(name, bytes) else name
        for name in mine | theirs
        if mine.get(name) != theirs.get(name)
    )
