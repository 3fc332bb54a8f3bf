"""Events one by one, and batches in which an event that cannot be read fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile
from typing import Any, TypeVar

from trackserve.edm.result import Result
from trackserve.errors import EventError, InputError
from trackserve.wire.identity import Identity

from .base import identified

E = TypeVar("E")
R = TypeVar("R", bound=Result)
U = TypeVar("U")
T = TypeVar("T")


def one_by_one(events: Iterable[E]) -> Iterator[E | EventError]:
    """The events, read when they are asked for.

    A sequence is indexed: if an event of it cannot be read, its error is in its place, and the next
    event follows. Another iterable is iterated, and an error that it raises ends it.

    Raises:
        InputError: ``events`` can be neither indexed nor iterated.
    """
    if type(events) in (list, tuple):  # whose events have been read
        return iter(events)
    is_indexed = hasattr(events, "__len__") and hasattr(events, "__getitem__")
    try:
        if is_indexed and not isinstance(events, Mapping | type):
            len(events)  # type: ignore[arg-type]  # or a TypeError
            return read_at(events, takewhile(lambda index: index < len(events), count()))  # type: ignore[arg-type]
        return iter(events)
    except TypeError:
        raise InputError("events cannot be iterated", found=type(events).__name__) from None


def run_batch(
    events: Iterable[E],
    check: Callable[[Any], None],
    run: Callable[[list[E]], Sequence[R | EventError]],
    identity: Identity,
) -> list[R | EventError]:
    """Reconstruct a batch as a whole.

    Args:
        events: any iterable, see :func:`one_by_one`; an error among them is its own outcome.
        check: raises an :class:`EventError` if an event is malformed.
        run: reconstructs the events that are left; it is not called if there are none.
        identity: identity of what reconstructs; each result gets its text.

    Returns:
        the outcome of each event.
    """
    read = [_checked(event, check) for event in one_by_one(events)]
    good = [event for event in read if not isinstance(event, EventError)]
    results = iter(run(good) if good else [])
    return [
        event if isinstance(event, EventError) else identified(next(results), identity)
        for event in read
    ]


def in_threads(function: Callable[[T], U], items: Iterable[T], threads: int) -> list[U]:
    """The results of ``function``, in order; after an exception no further item is begun."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_at(events: Any, indices: Iterable[int]) -> Iterator[Any]:
    """The events at these indices; the error of one that cannot be read is in its place.

    Raises:
        InputError: ``events`` cannot be indexed by number.
    """
    for index in indices:
        try:
            event = events[index]
        except EventError as error:
            event = error
        except (LookupError, TypeError) as error:
            found = type(events).__name__
            raise InputError("events cannot be indexed by number", found=found) from error
        yield event


def _checked(event: E | EventError, check: Callable[[Any], None]) -> E | EventError:
    if isinstance(event, EventError):
        return event
    try:
        check(event)
    except EventError as error:
        return error
    return event
