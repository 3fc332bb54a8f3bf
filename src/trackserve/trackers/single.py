"""A pipeline that takes one event at a time on a CPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from itertools import chain, islice
from typing import Generic, TypeVar

from trackserve.edm.result import Result
from trackserve.errors import EventError, InputError, MalformedEvent
from trackserve.wire.identity import Identity

from .base import Lap, identified
from .batch import in_threads, one_by_one

E = TypeVar("E")
R = TypeVar("R", bound=Result)


class SingleEventPipeline(ABC, Generic[E, R]):
    """A :class:`.base.Pipeline` that lacks only the reconstruction of one event.

    Args:
        identity: identity of the pipeline.
        result: class of the results.
        threads: events that are reconstructed at the same time.
    """

    device: str = "cpu"

    def __init__(self, identity: Identity, result: type[R], threads: int = 1) -> None:
        self.identity = identity
        self._result = result
        self.threads = threads

    @abstractmethod
    def reconstruct_stages(self, event: E, keep: Collection[str], lap: Lap) -> R:
        """Reconstruct one event; several threads may do so at the same time.

        Args:
            event: the event.
            keep: intermediates to return as well; they are known ones.
            lap: function to call as each stage ends.

        Raises:
            EventError: it cannot be reconstructed.
            InputError: it is malformed, or of another kind.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Compile or load all code, so that no event waits for it."""

    def run(
        self, events: Iterable[E], keep: Collection[str] = (), lap: Lap | None = None
    ) -> list[R | EventError]:
        """Reconstruct a batch of events; see :meth:`.base.Pipeline.run`."""
        self._result.check_keep(keep)
        stage_ends = lap or _ignore

        def one(event: E | EventError) -> R | EventError:
            if isinstance(event, EventError):
                return event
            try:
                return identified(self.reconstruct_stages(event, keep, stage_ends), self.identity)
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

    def reconstruct(self, event: E, keep: Collection[str] = ()) -> R:
        """Reconstruct one event; see :meth:`.base.Pipeline.reconstruct`."""
        (result,) = self.run([event], keep)
        if isinstance(result, EventError):
            raise result
        return result


def _ignore(stage: str) -> None:
    """Ignore the end of a stage."""
