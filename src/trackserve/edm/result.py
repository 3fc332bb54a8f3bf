"""The result of one event, for all trackers."""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple, Self, get_args, get_type_hints

import numpy as np

from trackserve.errors import EventError, InputError

from .columns import Array, Columns
from .show import result_html, result_text


@dataclass(frozen=True)
class ResultCounts:
    """Numbers of what a tracker found; a tracker adds its own fields, all int."""

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of the fields, in order."""
        return [f.name for f in fields(cls)]

    def as_array(self) -> Array:
        """Return the numbers in the order of the fields, int64[fields]."""
        return np.array(list(vars(self).values()), np.int64)


class Origin(NamedTuple):
    """The origin of an answer: who gave it, and how.

    Attributes:
        server: url of the server that gave it; empty: this process did.
        tries: number of times that the event was sent to a server, or to this process in place of
            one; 0: this process was asked at once.
        seconds: time from the event to its answer; 0 without a client.
        is_fallback: whether this process gave it because no server could.
        request: id of the request, which the log of the server has; empty without a client.
    """

    server: str = ""
    tries: int = 0
    seconds: float = 0.0
    is_fallback: bool = False
    request: str = ""


@dataclass(frozen=True, eq=False)
class Result:
    """Result of one event; equality is bit for bit, and leaves identity and origin out.

    A tracker's result has two kinds of parts as fields. Every result has a part that is declared
    as a noun (``tracks: Tracks``). A part that is declared as a noun or None
    (``hits: Hits | None = None``) is an intermediate: a result has it if the caller asks for it.
    """

    event: int
    """Number of the event."""
    counts: ResultCounts
    identity: str = field(default="", kw_only=True, compare=False, repr=False)
    """What made it: the text of a :class:`trackserve.wire.identity.Identity`, or empty."""
    origin: Origin = field(default=Origin(), kw_only=True, compare=False, repr=False)
    """Who gave it, and how."""
    stopped_by: str = field(default="", kw_only=True)
    """Name of the limit that ended the work: the result is partial. Empty: it is complete."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = Result.__repr__  # type: ignore[method-assign]  # not that of dataclass

    def __repr__(self) -> str:
        return result_text(self)

    def _repr_html_(self) -> str:
        return result_html(self)

    @classmethod
    @functools.cache
    def counts_type(cls) -> type[ResultCounts]:
        """Return the class of ``counts``."""
        kind: type[ResultCounts] = get_type_hints(cls)["counts"]
        return kind

    @classmethod
    @functools.cache
    def always(cls) -> dict[str, type[Columns]]:
        """Return the nouns that every result has, by name."""
        hints = get_type_hints(cls)
        return {
            f.name: hints[f.name]
            for f in fields(cls)
            if isinstance(hints[f.name], type) and issubclass(hints[f.name], Columns)
        }

    @classmethod
    @functools.cache
    def intermediates(cls) -> dict[str, type[Columns]]:
        """Return the nouns that a result has if the caller asks for them, by name."""
        hints = get_type_hints(cls)
        return {
            f.name: get_args(hints[f.name])[0]
            for f in fields(cls)
            if type(None) in get_args(hints[f.name])
        }

    @classmethod
    def check_keep(cls, keep: Collection[str]) -> None:
        """Check the names of intermediates.

        Raises:
            InputError: ``keep`` is not a collection of names of :meth:`intermediates`.
        """
        known = cls.intermediates()
        unknown: list[Any] = [keep]
        if isinstance(keep, Collection) and not isinstance(keep, str):  # type: ignore[redundant-expr]
            unknown = [name for name in keep if not isinstance(name, str) or name not in known]  # type: ignore[redundant-expr]
        if unknown:
            raise InputError("unknown part to keep", found=unknown, bound=list(known))

    def parts(self) -> dict[str, Columns]:
        """Return the nouns that this result has, by name."""
        found = {name: getattr(self, name) for name in self.always()}
        more = {name: getattr(self, name) for name in self.intermediates()}
        return found | {name: part for name, part in more.items() if isinstance(part, Columns)}

    def sign(self, identity: str, origin: Origin) -> Self:
        """Say who made this result, which nobody else has yet; return it."""
        object.__setattr__(self, "identity", identity)
        object.__setattr__(self, "origin", origin)
        return self

    def to_awkward(self) -> Any:
        """Make an awkward record: ``event``, ``stopped_by``, ``counts``, a list for each noun.

        Rows with ``pt``, ``eta`` and ``phi`` are momenta for the package vector: after
        ``vector.register_awkward()`` they have ``px``, ``deltaR`` and so on.
        """
        import awkward as ak

        from .records import to_records

        nouns = {name: ak.from_arrow(to_records(part)) for name, part in self.parts().items()}
        for name, rows in nouns.items():
            if {"pt", "eta", "phi"} <= set(rows.fields):
                nouns[name] = ak.with_name(rows, "Momentum3D")
        about = {"event": self.event, "stopped_by": self.stopped_by, "counts": asdict(self.counts)}
        return ak.Record(about | nouns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Result) or type(other) is not type(self):
            return NotImplemented
        compared = (f.name for f in fields(self) if f.compare)
        return all(getattr(self, name) == getattr(other, name) for name in compared)

    __hash__ = None  # type: ignore[assignment]


Outcome = Result | EventError
"""What an event comes to: its result, or the error that says why there is none."""
