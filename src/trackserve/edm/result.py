"""What a pipeline returns for one event."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from trackserve.errors import InputError

from .columns import Array, Columns
from .pixel import (
    Clusters,
    Digis,
    Doublets,
    Hits,
    ReadoutErrors,
    Tracks,
    Vertices,
)


@dataclass(frozen=True)
class Counts:
    """How many of each; ``digis`` counts the pixel words, padding included, as CMS does."""

    modules: int = 0
    digis: int = 0
    clusters: int = 0
    doublets: int = 0
    ntuplets: int = 0
    tracks: int = 0
    vertices: int = 0

    def as_array(self) -> Array:
        """int32[7], in the order of the fields."""
        return np.array(list(vars(self).values()), np.int32)


INTERMEDIATE: dict[str, type[Columns]] = {
    "digis": Digis,
    "clusters": Clusters,
    "hits": Hits,
    "doublets": Doublets,
    "ntuplets": Tracks,
}
"""What is returned only when asked for. ``ntuplets`` are all candidates, bad and
duplicate ones too; the unfitted ones (duplicates) have a state of NaN."""

ALWAYS: dict[str, type[Columns]] = {
    "tracks": Tracks,
    "vertices": Vertices,
    "readout_errors": ReadoutErrors,
}


def check_keep(keep: Collection[str]) -> None:
    """Raise an :class:`InputError` if ``keep`` has a name that :data:`INTERMEDIATE` lacks."""
    unknown = [name for name in keep if name not in INTERMEDIATE]
    if unknown:
        raise InputError("unknown part to keep", found=unknown, bound=list(INTERMEDIATE))


@dataclass(frozen=True)
class PatatrackResult:
    """Tracks and vertices of one event; equality is bit for bit."""

    event: int
    counts: Counts
    tracks: Tracks
    vertices: Vertices
    readout_errors: ReadoutErrors
    digis: Digis | None = None
    clusters: Clusters | None = None
    hits: Hits | None = None
    doublets: Doublets | None = None
    ntuplets: Tracks | None = None

    def parts(self) -> dict[str, Columns]:
        """The nouns that are there, by name."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: part for name, part in found.items() if isinstance(part, Columns)}

    def to_awkward(self) -> Any:
        """This event as an awkward record: ``event``, ``counts`` and a list for each noun."""
        import awkward as ak

        from .records import to_records

        nouns = {name: to_records(part) for name, part in self.parts().items()}
        return ak.Record({"event": self.event, "counts": asdict(self.counts), **nouns})
