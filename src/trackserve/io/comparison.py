"""Two Parquet files of the same events, event by event: where they differ, and how.

The files are those of ``trackserve reconstruct``, ``fit`` or ``hlt``, or any table with a row for
each event. Values are compared bit for bit. What does not belong to the answer is left out: the
number of an event in the file, and who gave the answer, and when.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from trackserve.edm.columns import Array
from trackserve.errors import InputError

from .files import as_path

_LEFT_OUT = ("event", "source", "source_event", "error", "origin")
"""Columns that are no part of the answer, or are compared apart."""
_SHOWN = 60
"""Most characters of a text in a reason."""

Key = tuple[str, int, int]
"""An event: its source, its number there, and how many rows before it have both."""


class Difference(NamedTuple):
    """An event on which two files, A and B, differ.

    Attributes:
        source: where the event was read.
        event: its number there.
        reasons: what differs, a line each.
    """

    source: str
    event: int
    reasons: tuple[str, ...]


class Comparison(NamedTuple):
    """Two files beside each other.

    Attributes:
        n_both: events that both have.
        columns: differences of the columns, which hold for all events.
        differences: events that differ, in the order of A; those that B alone has at the end.
    """

    n_both: int
    columns: list[str]
    differences: list[Difference]

    @property
    def are_equal(self) -> bool:
        """Whether both have the same events, columns and bits."""
        return not self.columns and not self.differences


def compare_files(path: str | Path, other: str | Path) -> Comparison:
    """Compare the file ``path``, A, with ``other``, B.

    A file with one source is compared with another whose only source has another name: the same
    data may lie at two places.

    Raises:
        InputError: a file cannot be read, or has no column ``event``.
    """
    with _Table(path) as one, _Table(other) as two:
        if len(one.sources) == len(two.sources) == 1:
            two.rename(one.sources[0])
        mine, theirs = one.types(), two.types()
        columns = [f"{name}: only in A" for name in mine if name not in theirs]
        columns += [f"{name}: only in B" for name in theirs if name not in mine]
        common = {name for name in mine if mine[name] == theirs.get(name)}
        columns += [
            f"{name}: {mine[name]} in A, {theirs[name]} in B"
            for name in mine
            if name in theirs and name not in common
        ]
        differences = []
        for key, row in one.rows.items():
            reasons = ["only in A"]
            if key in two.rows:
                reasons = _reasons(one, row, two, two.rows[key], common)
            if reasons:
                differences.append(Difference(*key[:2], tuple(reasons)))
        for key in two.rows:
            if key not in one.rows:
                differences.append(Difference(*key[:2], ("only in B",)))
        return Comparison(len(one.rows.keys() & two.rows.keys()), columns, differences)


class _Table:
    """A file whose rows are read when they are asked for; a context manager.

    Attributes:
        rows: number of the row of each event.
        errors: text of each row; empty: the event has an answer.
        sources: names of the sources, in order.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = as_path(path)
        try:
            self._file = pq.ParquetFile(self._path)
            self.schema = self._file.schema_arrow
            names = self.schema.names
            number = "source_event" if "source_event" in names else "event"
            if number not in names:
                reason = "no table of events: it has no column event"
                raise InputError(reason, file=str(path), found=names)
            wanted = [name for name in ("source", "error", number) if name in names]
            table = self._file.read(columns=wanted)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"cannot be read: {error}", file=str(path)) from error
        n = len(table)
        columns = {name: table[name].to_pylist() for name in wanted}
        sources = columns.get("source", [""] * n)
        seen: Counter[tuple[str, int]] = Counter()
        self.rows: dict[Key, int] = {}
        for row, key in enumerate(zip(sources, columns[number], strict=True)):
            self.rows[*key, seen[key]] = row
            seen[key] += 1
        self.errors: list[str] = columns.get("error", [""] * n)
        self.sources = list(dict.fromkeys(sources))
        sizes = [
            self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)
        ]
        self._ends = np.cumsum(sizes)
        self._group = -1
        self._data = pa.table({})

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def rename(self, source: str) -> None:
        """Give the only source another name."""
        self.rows = {(source, *key[1:]): row for key, row in self.rows.items()}

    def types(self) -> dict[str, str]:
        """Type of each column that is compared, by place, as "tracks.pt"."""
        return dict(
            place for field in self.schema if field.name not in _LEFT_OUT for place in _types(field)
        )

    def answer(self, row: int) -> Iterator[tuple[str, Any]]:
        """Name and value of the columns of a row, each an array of one item.

        Raises:
            InputError: the file cannot be read.
        """
        group = int(np.searchsorted(self._ends, row, "right"))
        if group != self._group:
            names = [name for name in self.schema.names if name not in _LEFT_OUT]
            try:
                self._data = self._file.read_row_group(group, columns=names).combine_chunks()
            except (OSError, pa.ArrowException) as error:
                raise InputError(f"cannot be read: {error}", file=str(self._path)) from error
            self._group = group
        begin = int(self._ends[group - 1]) if group else 0
        for name in self._data.column_names:
            yield name, self._data[name].chunk(0).slice(row - begin, 1)


def _types(field: Any, inside: str = "") -> Iterator[tuple[str, str]]:
    """Place and type of a field and of all in it."""
    place, kind = f"{inside}{field.name}", field.type
    if _is_list(kind):
        yield place, "list"
        kind = kind.value_type
    if pa.types.is_struct(kind):
        for part in kind:
            yield from _types(part, f"{place}.")
    else:
        yield place, str(kind)


def _reasons(one: _Table, row: int, two: _Table, other: int, common: set[str]) -> list[str]:
    """What differs between a row of A and a row of B."""
    mine, theirs = one.errors[row], two.errors[other]
    if mine and theirs:
        return [] if mine == theirs else [f"errors: {_short(mine)} in A, {_short(theirs)} in B"]
    if mine or theirs:
        where = ("A", "B") if mine else ("B", "A")
        return [f"an error in {where[0]} ({_short(mine or theirs)}), an answer in {where[1]}"]
    answers = dict(two.answer(other))
    return [
        reason
        for name, value in one.answer(row)
        if name in answers
        for reason in _differing(name, value, answers[name], common)
    ]


def _differing(place: str, one: Any, two: Any, common: set[str]) -> Iterator[str]:
    """What differs between two arrays that stand at one place of A and of B."""
    if pa.types.is_struct(one.type) and pa.types.is_struct(two.type):
        others = dict(zip((field.name for field in two.type), two.flatten(), strict=True))
        for field, part in zip(one.type, one.flatten(), strict=True):
            if field.name in others:
                yield from _differing(f"{place}.{field.name}", part, others[field.name], common)
    elif _is_list(one.type) and _is_list(two.type):
        yield from _differing_lists(place, one, two, common)
    elif place in common and not _same(one, two):
        yield _how(place, one, two)


def _differing_lists(place: str, one: Any, two: Any, common: set[str]) -> Iterator[str]:
    lengths, others = (pa.compute.list_value_length(array).to_numpy() for array in (one, two))
    if len(one) > 1 and (lengths != others).any():
        yield f"{place}: {int((lengths != others).sum())} of {len(one)} have other lengths"
    elif len(one) == 1 and lengths[0] != others[0]:
        both = _in_both(one, two)
        yield f"{place}: {lengths[0]} in A, {others[0]} in B; {both} are in both, bit for bit"
    else:
        found = list(_differing(place, one.flatten(), two.flatten(), common))
        if found and len(one) == 1 and _in_both(one, two) == lengths[0]:
            found = [f"{place}: the same {lengths[0]} in another order"]
        yield from found


def _in_both(one: Any, two: Any) -> int:
    """Number of items that two lists have in common, whatever their order."""
    mine, theirs = (Counter(map(repr, array[0].as_py())) for array in (one, two))
    return (mine & theirs).total()


def _same(one: Any, two: Any) -> bool:
    """Whether two arrays without lists in them are the same, bit for bit."""
    if pa.types.is_floating(one.type):
        return bool((_numbers(one).tobytes()) == _numbers(two).tobytes())
    return bool(one.equals(two))


def _how(place: str, one: Any, two: Any) -> str:
    """How two arrays of one type and length differ."""
    n = len(one)
    if n == 1:
        texts = [_short(str(array[0].as_py())) for array in (one, two)]
        return f"{place}: {texts[0]} in A, {texts[1]} in B"
    kind = one.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        differ = sum(a != b for a, b in zip(one.to_pylist(), two.to_pylist(), strict=True))
        return f"{place}: {differ} of {n} differ"
    mine, theirs = _numbers(one), _numbers(two)
    bits = f"u{mine.dtype.itemsize}"
    differ = mine.view(bits) != theirs.view(bits)
    text = f"{place}: {int(differ.sum())} of {n} differ"
    before, after = mine[differ].astype(np.float64), theirs[differ].astype(np.float64)
    finite = np.isfinite(before) & np.isfinite(after)
    if finite.any():
        most = np.abs(before - after)[finite]
        size = np.maximum(np.abs(before), np.abs(after))[finite]
        share = np.divide(most, size, out=np.zeros_like(most), where=size > 0)
        text += f", by at most {most.max():.3g} ({share.max():.2g} of the value)"
    if not finite.all():
        text += f", {int((~finite).sum())} not finite"
    return text


def _numbers(array: Any) -> Array:
    found: Array = np.ascontiguousarray(array.to_numpy(zero_copy_only=False))
    return found


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
