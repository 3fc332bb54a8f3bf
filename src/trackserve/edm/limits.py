"""The limits on the work on one event, for all trackers."""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Self

from trackserve.errors import InputError, LimitExceeded

BEYOND = ("error", "partial")
"""What an event beyond a limit comes to."""
MOST = 0x7FFFFFFE
"""Largest limit: rows are counted in 32 bits."""


@dataclass(frozen=True, kw_only=True)
class EventLimits:
    """The most work on one event.

    A tracker adds its own counts, all int. Each has the name of what is counted: an event with
    more of these is beyond the limit. A count depends on nothing but the event, so an event beyond
    a limit always has the same answer.

    Args:
        beyond: what such an event comes to. "error": a :class:`~trackserve.errors.LimitExceeded`.
            "partial": a result of the stages that ended before. It lacks what there is too much
            of and all that follows, and its ``stopped_by`` names the limit.
        deadline: seconds for the work on the event; on a server the wait for a worker counts too.
            It is looked at between stages. Beyond it there is a
            :class:`~trackserve.errors.EventDeadlineExceeded`, never a result.

    Raises:
        InputError: a value is of the wrong type or out of range.
    """

    beyond: str = "error"
    deadline: float = math.inf

    def __post_init__(self) -> None:
        if self.beyond not in BEYOND:
            raise InputError("no such answer beyond a limit", found=self.beyond, bound=BEYOND)
        good = _is(self.deadline, Real) and self.deadline >= 0
        if not good or sys.float_info.max < self.deadline < math.inf:
            bound = "seconds from 0 on"
            raise InputError("wrong deadline", found=repr(self.deadline)[:80], bound=bound)
        for name, most in self.counts().items():
            if not _is(most, Integral) or not 0 <= most <= MOST:
                bound = f"a whole number from 0 to {MOST}"
                raise InputError("wrong limit", limit=name, found=repr(most)[:80], bound=bound)

    @classmethod
    @functools.cache
    def names(cls) -> tuple[str, ...]:
        """Names of the counts, in the order of the stages."""
        shared = {f.name for f in fields(EventLimits)}
        return tuple(f.name for f in fields(cls) if f.name not in shared)

    def counts(self) -> dict[str, int]:
        """The most of each, by name."""
        return {name: getattr(self, name) for name in self.names()}

    def changed(self) -> dict[str, Any]:
        """The values that are not the defaults, by name."""
        return {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }

    @classmethod
    def of(cls, limits: EventLimits | None) -> Self:
        """``limits``, or the defaults for None.

        Raises:
            InputError: they are those of another tracker.
        """
        if limits is None:
            return cls._defaults()
        if not isinstance(limits, cls):
            found, bound = type(limits).__name__, cls.__name__
            raise InputError("limits of another tracker", found=found, bound=bound)
        return limits

    @classmethod
    @functools.cache
    def _defaults(cls) -> Self:
        return cls()

    @classmethod
    def make(cls, values: dict[str, Any]) -> Self:
        """The limits with these values, by name.

        Raises:
            InputError: a name is unknown, or a value is wrong.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(values.keys() - set(known))
        if unknown:
            raise InputError("no such limit", found=unknown, bound=known)
        return cls(**values)


def check_limit(limit: str, found: int, bound: int, *, exact: bool = True, **where: int) -> None:
    """Refuse more of something than a limit allows.

    Args:
        limit: name of what is counted.
        found: number of these.
        bound: the most.
        exact: whether ``found`` is all that there are; if the work stopped before, it is not.
        where: the number of the ``event``, if it is known.

    Raises:
        LimitExceeded: there are more.
    """
    if found > bound:
        raise over_limit(limit, bound, found if exact else None, **where)


def over_limit(limit: str, bound: int, found: int | None = None, **where: int) -> LimitExceeded:
    """The error of an event beyond a limit; the arguments are those of :func:`check_limit`."""
    fields: dict[str, Any] = {**where, "limit": limit, "bound": bound}
    if found is not None:
        fields["found"] = found
    return LimitExceeded("the event needs more work than its limits allow", **fields)


def of_event(error: LimitExceeded, event: int) -> LimitExceeded:
    """``error`` with the number of its event."""
    return LimitExceeded(error.message, **{"event": event} | error.fields)


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
