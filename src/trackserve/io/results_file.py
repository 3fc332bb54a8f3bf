"""A Parquet file of results that is written as they come, and continued where it stopped."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from trackserve.edm.result import Outcome, Result
from trackserve.errors import InputError, TrackserveError

from .files import absent_folders, as_path, remove_empty, writable
from .parquet import (
    Row,
    bytes_of,
    check_replaceable,
    is_full,
    is_over,
    results_schema,
    to_table,
    writer,
)

_LAST_EVENT = 2**63 - 1
"""Largest number of an event that a column can hold."""
_LOOK_AGAIN = 0.1
_SECONDS_PER_PART = 10.0
"""Rows that have waited this long are written with the next one."""


class ResultsFile:
    """Writes the table of :mod:`.parquet`; a context manager.

    Until all is there, the folder ``PATH.parts`` has a Parquet file for each full row group, and
    where rows are slow for those of every 10 s. Each is complete, so what is done can be read while
    the rest is made, and after a crash. If all went well, they are joined at the end of the
    context. Else they stay, and ``resume`` goes on.
    An earlier file at ``path`` stays until then.

    Args:
        path: the file.
        kind: class of the results.
        keep: intermediates that the table has.
        about: metadata of the file. Parts are continued only with the same ones.
        resume: continue what an earlier one left. A complete file has nothing left to do.
        wait: seconds to wait for another process that writes there, and may be about to end.

    Attributes:
        n_done: rows that are on disk, those of an earlier one too.
        was_complete: whether an earlier one has written the whole file.

    Raises:
        InputError: the place cannot be written, another process writes there, parts are there
            and ``resume`` is False, or what is there was made in another way.
    """

    def __init__(
        self,
        path: str | Path,
        kind: type[Result],
        keep: Collection[str] = (),
        about: Mapping[str, str] | None = None,
        *,
        resume: bool = False,
        wait: float = 0.0,
    ) -> None:
        self.path = as_path(path).resolve()
        self.parts = self.path.with_name(f"{self.path.name}.parts")
        self.n_done = 0
        self._kind = kind
        self._schema = results_schema(kind, keep, about)
        self._waiting: list[Row] = []
        self._bytes = 0
        self._last = time.monotonic()
        self._n_parts = 0
        self._shift: dict[str, int] = {}
        self._taken: set[int] = set()
        self._next = 0
        self._lowest = 0
        check_replaceable(self.path, b"meanings", "table of results")
        if self._files() and not resume:
            raise InputError(
                "an earlier command did not end; resume it, or remove the folder",
                folder=str(self.parts),
            )
        self.was_complete = resume and self.path.exists() and not self._files()
        self._new = absent_folders(self.path.parent)
        with writable(self.path):
            self._lock = _lock(self.parts, time.monotonic() + wait)
        try:
            with writable(self.path):
                (self.parts / "test").touch()
                (self.parts / "test").unlink(missing_ok=True)
            for part in [self.path] if self.was_complete else self._files():
                self._take_over(part)
        except BaseException:
            self._let_go()
            raise

    def write(self, outcome: Outcome, source: str = "") -> None:
        """Add a row.

        Its ``event`` is its number in the source. Where a source begins with a number that an
        earlier one has passed, all its numbers are raised alike, so that they stay unique. An
        event with the number of another gets the next free one, an event without a number a
        negative one.

        Raises:
            InputError: the result does not fit the table, or it cannot be written.
        """
        row = Row(outcome, source)
        self._waiting.append(row._replace(event=self._unique(source, row.number)))
        self._bytes += bytes_of(outcome)
        waited = time.monotonic() - self._last
        if waited > _SECONDS_PER_PART or is_full(len(self._waiting), self._bytes):
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait as a part.

        Raises:
            InputError: it cannot be written.
        """
        if not self._waiting:
            return
        table = to_table(self._waiting, self._kind, self._schema)
        n_done = self.n_done + len(table)
        self._put(self.parts / f"{self._n_parts:06d}.parquet", [table])
        # stores alone, which no signal parts: an interrupt never writes a row twice
        self._n_parts, self.n_done, self._waiting, self._bytes = self._n_parts + 1, n_done, [], 0
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.flush()
                if not self.was_complete:
                    self._put(self.path, self._row_groups())
                    for part in reversed(self._files()):  # what is left is always a beginning
                        part.unlink()
            else:
                with suppress(TrackserveError):  # the first error is the one to see
                    self.flush()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        """Release the folder, and remove it if no parts are there."""
        if not self._files():
            shutil.rmtree(self.parts, ignore_errors=True)
            remove_empty(self._new)
        os.close(self._lock)

    def _files(self) -> list[Path]:
        """The parts, in order."""
        return sorted(part for part in self.parts.glob("*.parquet") if part.stem.isdecimal())

    def _put(self, place: Path, tables: Iterable[pa.Table]) -> None:
        """Write a file that is complete, or not there; a reader of the folder skips its name."""
        partial = self.parts / "_partial"
        with writable(place):
            try:
                with writer(partial, self._schema) as file:
                    for table in tables:
                        file.write_table(table)
                partial.replace(place)
            finally:
                partial.unlink(missing_ok=True)

    def _row_groups(self) -> Iterator[pa.Table]:
        """The rows of all parts; small parts share a row group."""
        group: list[pa.Table] = []
        for part in self._files():
            table = self._read(part)
            together = [*group, table]
            if group and is_over(sum(map(len, together)), sum(one.nbytes for one in together)):
                yield pa.concat_tables(group)
                group = []
            group.append(table)
        if group:
            yield pa.concat_tables(group)

    def _read(self, part: Path, columns: list[str] | None = None) -> pa.Table:
        """Columns of a part; all by default."""
        try:
            with pq.ParquetFile(part, page_checksum_verification=True) as file:
                self._check(part, file.schema_arrow)
                return file.read(columns)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot be read: {error}", file=str(part)) from error

    def _check(self, part: Path, schema: pa.Schema) -> None:
        if not schema.equals(self._schema, check_metadata=True):
            raise InputError(
                "this was made in another way",
                file=str(part),
                differs=_differences(schema, self._schema),
            )

    def _take_over(self, part: Path) -> None:
        """Count what an earlier one wrote."""
        if not self.was_complete and int(part.stem) != self._n_parts:
            raise InputError("a part is missing", folder=str(self.parts), bound=self._n_parts)
        table = self._read(part, ["source", "source_event"])
        for source, number in zip(*table.to_pydict().values(), strict=True):
            self._unique(source, number)
        self.n_done += len(table)
        self._n_parts += 1

    def _unique(self, source: str, number: int) -> int:
        """Number in the file of an event that has ``number`` in its source; -1: it has none."""
        if number < 0:
            event = self._lowest = self._lowest - 1
            return event
        event = number + self._shift.setdefault(source, self._next if number < self._next else 0)
        if event in self._taken:
            event = self._next
        if event > _LAST_EVENT:
            raise InputError("number of an event is too large", found=event, bound=_LAST_EVENT)
        self._taken.add(event)
        self._next = max(self._next, event + 1)
        return event


def _lock(folder: Path, deadline: float) -> int:
    """Make a folder where needed and lock it; the open descriptor.

    Raises:
        InputError: another process has the lock at the deadline, by :func:`time.monotonic`.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise InputError("another process writes here", folder=str(folder)) from None
            time.sleep(_LOOK_AGAIN)
            continue
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the folder was removed before it was locked


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
