"""What every tracker is.

A tracker is an algorithm: events in, results out. It is built once, for a device, into a
:class:`Pipeline`, which is called on batches of events. Everything above (wire, server, client,
command line, studies) knows a tracker by its :class:`Tracker` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from trackserve.edm.result import Result
from trackserve.errors import EventError, InputError
from trackserve.wire.codec import Codec

E = TypeVar("E")
R = TypeVar("R", bound=Result)
E_co = TypeVar("E_co", covariant=True)
E_contra = TypeVar("E_contra", contravariant=True)
R_co = TypeVar("R_co", bound=Result, covariant=True)

Lap = Callable[[str], None]
"""Called with the name of a stage as the stage ends."""


class Pipeline(Protocol[E_contra, R_co]):
    """A tracker, built for a device; any number of threads may call it.

    Attributes:
        device: where it runs, as in "cpu" or "cuda".
    """

    @property
    def device(self) -> str: ...

    def run(
        self, events: Sequence[E_contra], keep: Collection[str] = (), lap: Lap | None = None
    ) -> Sequence[R_co | EventError]:
        """Reconstruct a batch of events.

        Args:
            events: any number.
            keep: intermediates to return as well.
            lap: called as each stage ends; with it, all runs on one thread.

        Returns:
            for each event its result, or the error that says why there is none.

        Raises:
            InputError: ``keep`` has an unknown name, or an event is of another kind.
        """

    def reconstruct(self, event: E_contra, keep: Collection[str] = ()) -> R_co:
        """Reconstruct one event.

        Raises:
            EventError: it cannot be reconstructed.
            InputError: as :meth:`run`.
        """

    def warm_up(self) -> None:
        """Compile or load all code, so that no event waits for it."""


class Events(Protocol[E_co]):
    """Events that are read when they are asked for, and what is known of them.

    Attributes:
        name: short name, for titles.
    """

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> E_co:
        """Event ``index``, counted from 0; an EventError if it is damaged."""


class Option(NamedTuple):
    """One choice that a user has when a pipeline is built.

    Attributes:
        name: a word; on the command line ``--name``.
        help: one line.
        default: the value where the user gives none; "" for a value that the tracker finds.
        metavar: what stands for the value in the help.
        stored: whether the value names data on disk, which a model repository copies.
    """

    name: str
    help: str
    default: str = ""
    metavar: str = "NAME"
    stored: bool = False


class Tracker(ABC, Generic[E, R]):
    """One tracker: what it takes and gives, how it is built and how it is judged.

    Importing a module that holds a tracker imports no compiler: a client needs the codec alone.
    So the methods import what they need.

    Attributes:
        name: one word, as on the command line.
        summary: one sentence.
        path_help: what a user gives as PATH.
        codec: how events and results cross the wire.
        options: what a user can choose, beside device and threads.
        variant: name of the option by which two pipelines are compared, if there is one.
        size: name of the count that tells how large an event is, as "points".
        stages: names of the stages, in order, as a :data:`Lap` gets them.
        modules: modules that must be importable to build a pipeline.
        extra: the package's extra that brings what they need.
        published: names of tensors that clients of other software know. Where there are any, the
            model that is called like the tracker is served under a second name too, with "cpu"
            or "gpu" behind, with these tensors alone.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    path_help: ClassVar[str]
    codec: Codec[E, R]
    options: ClassVar[tuple[Option, ...]] = ()
    variant: ClassVar[str | None] = None
    size: ClassVar[str] = ""
    stages: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    published: ClassVar[tuple[str, ...]] = ()

    @property
    def result(self) -> type[R]:
        """Class of the results."""
        return self.codec.result

    @abstractmethod
    def open_events(self, path: Path) -> Any:
        """The :class:`Events` at ``path``.

        Raises:
            InputError, ConditionsError: there are no events of this kind.
        """

    @abstractmethod
    def build(
        self,
        options: Mapping[str, str],
        *,
        device: str = "cpu",
        threads: int = 1,
        events: Any = None,
    ) -> Pipeline[E, R]:
        """A pipeline.

        Args:
            options: values by name of option; see :meth:`complete`.
            device: where to run.
            threads: events that run at the same time on a CPU; no bit depends on it.
            events: what it will reconstruct, if known, as :meth:`open_events` gives it.

        Raises:
            TrackserveError: a value is wrong, or something is missing that it needs.
        """

    @abstractmethod
    def store(self, folder: Path, options: Mapping[str, str]) -> dict[str, str]:
        """Copy what a pipeline needs to ``folder``, a folder of a model repository.

        Returns:
            options that build the same pipeline from there; the stored ones are names inside
            of ``folder``.

        Raises:
            TrackserveError: as :meth:`build`.
        """

    @abstractmethod
    def example(self) -> E:
        """A tiny event that every pipeline of this tracker reconstructs."""

    def validation(self) -> Any:
        """How the physics is judged: a :class:`trackserve.report.validation.Validation`.

        Raises:
            InputError: the tracker has none.
        """
        raise InputError("this tracker has no validation of its physics", tracker=self.name)

    def complete(self, given: Mapping[str, str]) -> dict[str, str]:
        """The values of all options: those given, else the defaults.

        Raises:
            InputError: an option is unknown.
        """
        known = {option.name: option.default for option in self.options}
        unknown = sorted(given.keys() - known.keys())
        if unknown:
            raise InputError(
                "the tracker has no such option",
                tracker=self.name,
                found=unknown,
                bound=sorted(known),
            )
        return known | dict(given)

    def restore(self, folder: Path, options: Mapping[str, str], device: str) -> Pipeline[E, R]:
        """The pipeline that :meth:`store` wrote to ``folder``, ready to answer.

        Raises:
            TrackserveError: as :meth:`build`.
        """
        values = {option.name: options[option.name] for option in self.options}
        for option in self.options:
            if option.stored:
                values[option.name] = str(folder / values[option.name])
        pipeline = self.build(values, device=device)
        pipeline.warm_up()
        return pipeline
