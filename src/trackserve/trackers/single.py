"""A pipeline that takes one event at a time on a CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from itertools import chain, islice
from typing import Any, Generic, TypeVar

from trackserve.edm import EventLimits
from trackserve.edm.result import Result
from trackserve.errors import EventError, InputError, MalformedEvent
from trackserve.wire.identity import Identity

from .base import Lap, identified, only
from .batch import in_threads, one_by_one
from .deadline import DeadlineOver, Watch

E = TypeVar("E")
R = TypeVar("R", bound=Result)


class SingleEventPipeline(ABC, Generic[E, R]):
    """A :class:`.base.Pipeline` that lacks only the reconstruction of one event.

    Args:
        identity: identity of the pipeline.
        result: class of the results.
        threads: events that are reconstructed at the same time.
        limits: class of the limits on the work on an event.
    """

    device: str = "cpu"

    def __init__(
        self,
        identity: Identity,
        result: type[R],
        threads: int = 1,
        limits: type[EventLimits] = EventLimits,
    ) -> None:
        self.identity = identity
        self._result = result
        self._limits = limits
        self.threads = threads

    @abstractmethod
    def reconstruct_stages(self, event: E, keep: Collection[str], lap: Watch, limits: Any) -> R:
        """Reconstruct one event; several threads may do so at the same time.

        Args:
            event: the event.
            keep: intermediates to return as well; they are known ones.
            lap: function to call as each stage ends; it ends the work if the deadline is over.
            limits: the most work on the event, of the class that the pipeline was made with.

        Raises:
            EventError: it cannot be reconstructed, or is beyond a limit.
            InputError: it is malformed, or of another kind.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Compile or load all code, so that no event waits for it."""

    def run(
        self,
        events: Iterable[E],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: EventLimits | None = None,
    ) -> list[R | EventError]:
        """Reconstruct a batch of events; see :meth:`.base.Pipeline.run`."""
        self._result.check_keep(keep)
        most = self._limits.of(limits)

        def one(event: E | EventError) -> R | EventError:
            if isinstance(event, EventError):
                return event
            watch = Watch(most, lap)
            try:
                return identified(self.reconstruct_stages(event, keep, watch, most), self.identity)
            except DeadlineOver:
                return watch.error(int(event.event))  # type: ignore[attr-defined]
            except EventError as error:
                return error
            except InputError as error:
                return MalformedEvent.of(error)

        rest = one_by_one(events)
        first = list(islice(rest, 2))
        read = chain(first, rest)
        if self.threads == 1 or len(first) < 2 or lap is not None:
            return [one(event) for event in read]
        return in_threads(one, read, self.threads)

    def reconstruct(
        self, event: E, keep: Collection[str] = (), limits: EventLimits | None = None
    ) -> R:
        """Reconstruct one event; see :meth:`.base.Pipeline.reconstruct`."""
        return only(self.run([event], keep, limits=limits))
