"""Structs of arrays, of which the nouns of the event data model are made."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trackserve.errors import MissingExtraError

from .show import noun_html, noun_text

Array = NDArray[Any]

OFFSET = np.dtype(np.int64)
"""Type of the offsets of a ragged column."""


class Column(NamedTuple):
    """Type of one column.

    Attributes:
        dtype: type of its values.
        shape: shape of one row; empty for a scalar.
        ragged: whether a row is a list of values instead, of any length.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    ragged: bool = False

    def empty(self) -> Array | Ragged:
        """Return the column without rows."""
        values = np.empty((0, *self.shape), self.dtype)
        return Ragged(np.zeros(1, OFFSET), values) if self.ragged else values


def column(dtype: DTypeLike, *shape: int) -> Any:
    """Declare a column of ``dtype`` whose rows have ``shape``."""
    return field(metadata={"column": Column(np.dtype(dtype), shape)})


def ragged(dtype: DTypeLike) -> Any:
    """Declare a column whose rows are lists of ``dtype``; its values are a :class:`Ragged`."""
    return field(metadata={"column": Column(np.dtype(dtype), ragged=True)})


@dataclass(frozen=True, eq=False)
class Ragged:
    """A list for each row: row ``i`` has ``values[offsets[i]:offsets[i + 1]]``.

    Attributes:
        offsets: int64[rows + 1]; the first is 0, the last is the number of values.
        values: the values of all rows, one row after the other.
    """

    offsets: Array
    values: Array

    @classmethod
    def of(cls, lists: Sequence[Array], dtype: DTypeLike) -> Self:
        """Make a column of ``lists``, with values of ``dtype``."""
        offsets = np.zeros(len(lists) + 1, OFFSET)
        offsets[1:] = np.cumsum([len(row) for row in lists])
        return cls(offsets, np.concatenate([np.empty(0, dtype), *lists]).astype(dtype))

    @property
    def counts(self) -> Array:
        """Number of values of each row, int64[rows]."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        """Size of both arrays, bytes."""
        return self.offsets.nbytes + self.values.nbytes

    def take(self, index: Array | slice) -> Self:
        """Return the rows that ``index`` (integers, a mask or a slice) selects."""
        rows = np.arange(len(self))[index]
        counts = self.counts[rows]
        offsets = np.zeros(len(rows) + 1, OFFSET)
        offsets[1:] = np.cumsum(counts)
        shift = np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts)
        return type(self)(offsets, self.values[np.arange(offsets[-1]) + shift])

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join the rows of ``parts``, one or more."""
        offsets = np.zeros(1 + sum(len(part) for part in parts), OFFSET)
        offsets[1:] = np.cumsum(np.concatenate([part.counts for part in parts]))
        return cls(offsets, np.concatenate([part.values for part in parts]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Array:
        """Return the values of one row; raise an IndexError if there is no such row."""
        start, end = self.offsets[:-1][row], self.offsets[1:][row]
        return self.values[start:end]

    def __iter__(self) -> Iterator[Array]:
        return (self[row] for row in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Equal bit for bit."""
        if not isinstance(other, Ragged):
            return NotImplemented
        return _same(self.offsets, other.offsets) and _same(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Columns:
    """A struct of arrays whose columns all have the same length.

    ``noun[index]`` has the rows that integers, a mask or a slice select; an integer gives one row.
    In a notebook a noun shows itself as a table.

    Attributes:
        Arrays: the noun as compiled functions take it, a named tuple of arrays.
    """

    Arrays: ClassVar[Any]
    _one: ClassVar[str]
    """Name of a column."""

    def __init_subclass__(cls) -> None:
        """Make ``Arrays``; it can be imported by its name, as the cache of compiled code needs."""
        names = [name for name, value in vars(cls).items() if isinstance(value, Field)]
        cls._one = next(iter(names), getattr(cls, "_one", ""))
        make: Any = namedtuple
        cls.Arrays = make(f"{cls.__name__}Arrays", names, module=cls.__module__)
        cls.Arrays.__qualname__ = f"{cls.__qualname__}.Arrays"
        cls.__repr__ = Columns.__repr__  # type: ignore[method-assign]  # not that of dataclass

    @classmethod
    @functools.cache
    def schema(cls) -> dict[str, Column]:
        """Return each :class:`Column` by its name, in order of declaration."""
        return {f.name: f.metadata["column"] for f in fields(cls)}

    @classmethod
    def empty(cls) -> Self:
        """Return the noun without rows."""
        return cls(*(kind.empty() for kind in cls.schema().values()))

    @classmethod
    def later(cls, make: Callable[[], dict[str, Any]]) -> Self:
        """Return a noun whose columns ``make`` returns, by name, when one is first asked for."""
        noun = object.__new__(cls)
        vars(noun)["_make"] = make
        return noun

    def __getattr__(self, name: str) -> Any:
        """Make the columns of a noun that has been made by :meth:`later`."""
        make = vars(self).get("_make")
        if make is None or name not in self.schema():
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}", name=name)
        columns = make()
        object.__setattr__(self, "__dict__", columns)  # at once: other threads may ask too
        return columns[name]

    def __getstate__(self) -> dict[str, Any]:
        """The columns, for copies."""
        return self.columns()

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Join the rows of ``parts``."""
        if not parts:
            return cls.empty()
        columns = ([getattr(part, name) for part in parts] for name in cls.schema())
        kinds = cls.schema().values()
        return cls(
            *(
                Ragged.concatenate(column) if kind.ragged else np.concatenate(column)
                for kind, column in zip(kinds, columns, strict=True)
            )
        )

    @property
    def nbytes(self) -> int:
        """Size of all columns, bytes."""
        return sum(values.nbytes for values in self.columns().values())

    def columns(self) -> dict[str, Any]:
        """Return the arrays, and each :class:`Ragged`, by name."""
        return {name: getattr(self, name) for name in self.schema()}

    def arrays(self) -> Any:
        """Return the columns as :attr:`Arrays`."""
        getattr(self, self._one)  # makes the columns, if they are made later
        return self.Arrays._make(vars(self).values())

    def take(self, index: Array | slice) -> Self:
        """Return the rows that ``index`` (integers, a mask or a slice) selects."""
        return type(self)(
            *(
                values.take(index) if isinstance(values, Ragged) else values[index]
                for values in self.columns().values()
            )
        )

    def to_pandas(self) -> Any:
        """Make a DataFrame; its columns are those of the Parquet files (docs/data.md).

        Raises:
            MissingExtraError: pandas is not installed.
        """
        import pyarrow as pa

        from .records import to_records

        try:
            return pa.Table.from_struct_array(to_records(self)).to_pandas()
        except ImportError:
            raise MissingExtraError("to_pandas needs pandas: pip install pandas") from None

    def __getitem__(self, index: int | Array | slice) -> Self:
        """Return the rows that ``index`` selects.

        Raises:
            IndexError: there is no such row, or a mask has another length.
        """
        if isinstance(index, int | np.integer):
            return self.take(np.arange(len(self))[index, None])
        return self.take(index)

    def __repr__(self) -> str:
        return noun_text(self)

    def _repr_html_(self) -> str:
        return noun_html(self)

    def __len__(self) -> int:
        return len(getattr(self, self._one))

    def __eq__(self, other: object) -> bool:
        """Equal bit for bit (a NaN equals itself)."""
        if type(other) is not type(self):
            return NotImplemented
        theirs = other.columns()
        return all(
            mine == theirs[name] if isinstance(mine, Ragged) else _same(mine, theirs[name])
            for name, mine in self.columns().items()
        )

    __hash__ = None  # type: ignore[assignment]


def _same(mine: Array, theirs: Array) -> bool:
    return (
        mine.dtype == theirs.dtype
        and mine.shape == theirs.shape
        and mine.tobytes() == theirs.tobytes()
    )
