"""Nouns of events of space points as columns of Parquet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from trackserve.edm.columns import Array, Columns, column
from trackserve.edm.points import Measurements, SpacePoints
from trackserve.edm.truth import MM_PER_CM, Particles, TruePoints
from trackserve.errors import InputError


@dataclass(frozen=True, eq=False)
class StoredParticles(Columns):
    """Particles as the file has them: mm, GeV."""

    collision: Array = column(np.int32)
    pdg: Array = column(np.int32)
    charge: Array = column(np.int8)
    position: Array = column(np.float32, 3)
    momentum: Array = column(np.float32, 3)
    primary: Array = column(np.bool_)

    @classmethod
    def of(cls, particles: Particles) -> StoredParticles:
        return cls(
            particles.collision,
            particles.pdg,
            particles.charge,
            (particles.position * MM_PER_CM).astype(np.float32),
            particles.momentum.astype(np.float32),
            particles.primary,
        )

    def particles(self) -> Particles:
        """The particles in cm; :meth:`of` gives the same bits back."""
        return Particles(
            self.collision,
            self.pdg,
            self.charge,
            self.position.astype(np.float64) / MM_PER_CM,
            self.momentum.astype(np.float64),
            self.primary,
        )


AXES: dict[type[Columns], dict[str, tuple[str, ...]]] = {
    SpacePoints: {"position": ("x", "y", "z")},
    TruePoints: {},
    Measurements: {"local": ("local0", "local1"), "variance": ("variance0", "variance1")},
    StoredParticles: {"position": ("vx", "vy", "vz"), "momentum": ("px", "py", "pz")},
}
"""Names of the columns that a column of vectors becomes, by noun and column."""


def schema_of(noun: type[Columns]) -> dict[str, pa.DataType]:
    """Name and type of the Parquet columns of ``noun``."""
    return {
        name: pa.from_numpy_dtype(column.dtype)
        for field, column in noun.schema().items()
        for name in AXES[noun].get(field, (field,))
    }


def to_table(number: int, *parts: Columns) -> pa.Table:
    """The rows of event ``number``: the columns of all parts.

    Raises:
        InputError: they have several lengths.
    """
    columns: dict[str, Array] = {"event": np.full(len(parts[0]), number, np.int64)}
    for part in parts:
        for field, values in part.columns().items():
            axes = AXES[type(part)].get(field)
            if axes is None:
                columns[field] = values
            else:
                columns |= dict(zip(axes, np.ascontiguousarray(values.T), strict=True))
    try:
        return pa.table(columns)
    except pa.ArrowInvalid as error:
        raise InputError(f"columns do not fit together: {error}", event=number) from error


def to_noun(noun: type[Columns], table: pa.Table) -> Columns:
    """A noun from the columns of a table, which may have others too."""

    def values(name: str) -> Array:
        return np.array(table[name])

    return noun(
        *(
            np.stack([values(axis) for axis in AXES[noun][field]], axis=1)
            if field in AXES[noun]
            else values(field)
            for field in noun.schema()
        )
    )
