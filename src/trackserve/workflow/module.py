"""A module: one step of a job.

::

    class LeadingPt(Module):
        inputs = ("tracks",)
        outputs = ("leading_pt",)

        def produce(self, tracks):
            return tracks.pt.max(initial=0.0)
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Module:
    """One step of a job: it takes products of an event, and makes others.

    A subclass has :meth:`produce`, and names what it takes and makes. Several threads may call it
    at the same time, for different events; so what it keeps between events does not change.

    Attributes:
        name: name in the job, unique there; by default that of the class.
        inputs: names of the products that it takes.
        outputs: names of the products that it makes.
        is_emulated: whether it only waits, in place of work; the timeline says so.
    """

    name: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    is_emulated: bool = False

    produce: Callable[..., Any]
    """Takes the inputs, in their order. Returns the output; of several a tuple, of none anything.

    An :class:`~trackserve.errors.EventError` that it raises is the error of the event. Any other
    exception becomes the cause of a :class:`~trackserve.errors.ModuleFailed`.
    """

    def begin(self) -> None:
        """Prepare: called once, before the first event."""

    def end(self) -> None:
        """Let go of what :meth:`begin` took: called once, after the last event, also of a job that
        was interrupted."""

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "name" not in vars(cls):
            cls.name = cls.__name__


class ExternalModule(Module):
    """A module whose work is done elsewhere, while this thread goes on with other modules.

    ``produce`` is called when the answer is there, and gets it before the inputs.

    Attributes:
        timeout: most seconds from the end of ``acquire`` to the answer; after it the event fails.
    """

    timeout: float = 300.0

    acquire: Callable[..., Future[Any]]
    """Takes the inputs, sends the work and returns at once, with the future of the answer. If the
    event fails meanwhile, or the job is interrupted, the future is cancelled."""
