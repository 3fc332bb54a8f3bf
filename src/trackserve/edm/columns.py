"""Structs of arrays: what every noun of the event data model is made of."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Column(NamedTuple):
    """Type of one column: ``dtype`` and the shape of one row (empty for a scalar)."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def column(dtype: DTypeLike, *shape: int) -> Any:
    """Declare a column of ``dtype`` whose rows have ``shape``."""
    return field(metadata={"column": Column(np.dtype(dtype), shape)})


@dataclass(frozen=True, eq=False)
class Columns:
    """A struct of arrays whose columns all have the same length."""

    @classmethod
    @functools.cache
    def schema(cls) -> dict[str, Column]:
        """Column name -> :class:`Column`, in order of declaration."""
        return {f.name: f.metadata["column"] for f in fields(cls)}

    @classmethod
    def empty(cls) -> Self:
        return cls(*(np.empty((0, *c.shape), c.dtype) for c in cls.schema().values()))

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        if not parts:
            return cls.empty()
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in cls.schema()))

    def columns(self) -> dict[str, Array]:
        return {name: getattr(self, name) for name in self.schema()}

    def take(self, index: Array | slice) -> Self:
        """The rows that ``index`` (integers, a mask or a slice) selects."""
        return type(self)(*(array[index] for array in self.columns().values()))

    def __len__(self) -> int:
        return len(getattr(self, next(iter(self.schema()))))

    def __eq__(self, other: object) -> bool:
        """Equal bit for bit (a NaN equals itself)."""
        if type(other) is not type(self):
            return NotImplemented
        theirs = other.columns()
        return all(
            mine.dtype == theirs[name].dtype
            and mine.shape == theirs[name].shape
            and mine.tobytes() == theirs[name].tobytes()
            for name, mine in self.columns().items()
        )

    __hash__ = None  # type: ignore[assignment]
