"""Events one by one, and batches in which an event that cannot be read fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, TypeVar

from trackserve.errors import EventError, InputError

E = TypeVar("E")
R = TypeVar("R")
T = TypeVar("T")


def one_by_one(events: Iterable[E]) -> Iterator[E | EventError]:
    """The events, read when they are asked for.

    A sequence is indexed: if an event of it cannot be read, its error is in its place, and the next
    event follows. Another iterable is iterated, and an error that it raises ends it.

    Raises:
        InputError: ``events`` can be neither indexed nor iterated.
    """
    is_indexed = hasattr(events, "__len__") and hasattr(events, "__getitem__")
    try:
        if is_indexed and not isinstance(events, Mapping | type):
            len(events)  # type: ignore[arg-type]  # or a TypeError
            return _indexed(events)
        return iter(events)
    except TypeError:
        raise InputError("events cannot be iterated", found=type(events).__name__) from None


def run_batch(
    events: Iterable[E],
    check: Callable[[Any], None],
    run: Callable[[list[E]], Sequence[R | EventError]],
) -> list[R | EventError]:
    """Reconstruct a batch as a whole.

    Args:
        events: any iterable, see :func:`one_by_one`; an error among them is its own outcome.
        check: raises an :class:`EventError` if an event is malformed.
        run: reconstructs the events that are left; it is not called if there are none.

    Returns:
        the outcome of each event.
    """
    read = [_checked(event, check) for event in one_by_one(events)]
    good = [event for event in read if not isinstance(event, EventError)]
    results = iter(run(good) if good else [])
    return [event if isinstance(event, EventError) else next(results) for event in read]


def in_threads(function: Callable[[T], R], items: Iterable[T], threads: int) -> list[R]:
    """The results of ``function``, in order; after an exception no further item is begun."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            return list(pool.map(function, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _indexed(events: Any) -> Iterator[Any]:
    for index in count():
        if index >= len(events):
            return
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
