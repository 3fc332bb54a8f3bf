"""The interface of all trackers.

A tracker is an algorithm: events in, results out. It is built once, for a device, into a
:class:`Pipeline`, which is called on batches of events. Everything above (wire, server, client,
command line, studies) knows a tracker by its :class:`Tracker` alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from trackserve.edm import EventLimits
from trackserve.edm.result import Result
from trackserve.errors import EventError, InputError
from trackserve.wire.codec import Codec
from trackserve.wire.identity import Identity, part

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
        device: the device, as in "cpu" or "cuda".
        identity: what decides the results; each result has its text (see :func:`identified`).
    """

    @property
    def device(self) -> str: ...

    @property
    def identity(self) -> Identity: ...

    def run(
        self,
        events: Iterable[E_contra],
        keep: Collection[str] = (),
        lap: Lap | None = None,
        limits: EventLimits | None = None,
    ) -> Sequence[R_co | EventError]:
        """Reconstruct a batch of events.

        Args:
            events: any number, see :func:`.batch.one_by_one`. An :class:`EventError` among them
                stands for an event that could not be read; it is its own outcome.
            keep: intermediates to return as well.
            lap: called as each stage ends; with it, all runs on one thread.
            limits: the most work on each event, of the class that the tracker's codec names; None:
                the defaults. The deadline counts from the begin of the event; of a batch that is
                reconstructed as a whole, from the begin of the batch.

        Returns:
            the result of each event, or its error: a malformed event has a
            :class:`~trackserve.errors.MalformedEvent`.

        Raises:
            InputError: ``keep`` has an unknown name, ``events`` cannot be iterated, or ``limits``
                are those of another tracker.
        """

    def reconstruct(
        self, event: E_contra, keep: Collection[str] = (), limits: EventLimits | None = None
    ) -> R_co:
        """Reconstruct one event.

        Raises:
            EventError: it cannot be reconstructed, or is malformed.
            InputError: as in :meth:`run`.
        """

    def warm_up(self) -> None:
        """Compile or load all code, so that no event waits for it."""


def identified(outcome: R | EventError, identity: Identity) -> R | EventError:
    """The outcome of an event; a result has the text of ``identity``."""
    if isinstance(outcome, EventError):
        return outcome
    return outcome.sign(str(identity), outcome.origin)


def only(outcomes: Sequence[R | EventError]) -> R:
    """The result of a batch of one event.

    Raises:
        EventError: the event has none.
    """
    (outcome,) = outcomes
    if isinstance(outcome, EventError):
        raise outcome
    return outcome


class Events(Protocol[E_co]):
    """Events that are read one by one, when they are asked for.

    They may also have ``about() -> dict[str, Any]``: facts that hold for all of them, such as the
    beam spot, as JSON takes them. The metadata of a file of results has them.

    Attributes:
        name: short name, for titles.
    """

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> E_co:
        """Event ``index``, counted from 0; an EventError if it is damaged."""


class Option(NamedTuple):
    """One choice of a user when a pipeline is built. A user gives the value as text.

    Attributes:
        name: words with underscores between them; with hyphens on the command line.
        help: one line.
        default: the value if the user gives none; "" for a value that the tracker finds.
        metavar: word for the value in the help.
        stored: whether the value names data on disk, which a model repository copies.
        kind: type of the value; it turns the text into the value, or raises a ValueError.
    """

    name: str
    help: str
    default: str = ""
    metavar: str = "NAME"
    stored: bool = False
    kind: Callable[[str], Any] = str

    @property
    def spelling(self) -> str:
        """The name on the command line, without dashes in front."""
        return self.name.replace("_", "-")

    def parse(self, text: str) -> Any:
        """The value, of type ``kind``, that ``text`` stands for.

        Raises:
            InputError: it stands for none.
        """
        try:
            return self.kind(text)
        except ValueError:
            kind = getattr(self.kind, "__name__", self.metavar)
            raise InputError(
                "wrong value of an option", option=self.spelling, found=text, bound=kind
            ) from None


class Frame(NamedTuple):
    """A form of the results whose positions are absolute, with the names of the field.

    Attributes:
        result: class of such results.
        convert: brings a result of the tracker into this form.
    """

    result: type[Result]
    convert: Callable[[Any], Result]


class Tracker(ABC, Generic[E, R]):
    """One tracker: its codec, its options, and the functions that build, store and judge it.

    A client needs only the codec. So the module of a tracker imports no compiler; its methods
    import other modules when they are called.

    Attributes:
        name: one word, as on the command line.
        algorithm: number of the algorithm; a change of any bit of an answer raises it.
        summary: one sentence.
        path_help: help of the argument PATH of commands.
        codec: codec of events and results.
        options: choices of a user, beside device and threads.
        variant: name of the option by which two pipelines are compared; None: there is none.
        size: name of the count that measures the size of an event, as "points".
        stages: names of the stages, in order, as a :data:`Lap` gets them.
        modules: modules that must be importable to build a pipeline.
        extra: the package's extra that installs the needs of ``modules``.
        published: names of tensors that clients of other software know. If there are any, the
            model that has the tracker's name is served under a second name too: with "cpu" or
            "gpu" behind it, and with these tensors only.
    """

    name: ClassVar[str]
    algorithm: ClassVar[int] = 1
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

    @property
    def limits(self) -> type[EventLimits]:
        """Class of the limits on the work on an event."""
        return self.codec.limits

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
        """Build a pipeline.

        Args:
            options: values by name of option, as text; see :meth:`values`.
            device: device of the pipeline.
            threads: events that run at the same time on a CPU; no bit depends on it.
            events: the events to reconstruct, from :meth:`open_events`; None: they are unknown.

        Raises:
            TrackserveError: a value is wrong, or data or a package are missing.
        """

    def identity(
        self, options: Mapping[str, str], *, device: str = "cpu", events: Any = None
    ) -> Identity | None:
        """The identity of the pipeline that :meth:`build` makes, computed without a pipeline.

        It has the values of all options. A tracker with an option that names data on disk overrides
        this method, so that the identity has the content of the data. It imports no compiler.

        Args:
            options, device, events: as of :meth:`build`.

        Returns:
            None if this machine does not have the data.

        Raises:
            TrackserveError: a value is wrong, or data are malformed.
        """
        stored = [option.spelling for option in self.options if option.stored]
        if stored:
            reason = "a tracker with an option that names data must override identity"
            raise InputError(reason, tracker=self.name, found=stored)
        values = self.values(options)
        parts = (part(option.spelling, str(values[option.name])) for option in self.options)
        return Identity(self.name, self.algorithm, tuple(parts), device)

    @abstractmethod
    def store(self, folder: Path, options: Mapping[str, str]) -> dict[str, str]:
        """Copy the data of a pipeline to ``folder``, a folder of a model repository.

        Returns:
            options that build the same pipeline from there; the stored ones are names inside
            of ``folder``.

        Raises:
            TrackserveError: as in :meth:`build`.
        """

    @abstractmethod
    def example(self) -> E:
        """A tiny event that every pipeline of this tracker reconstructs."""

    def variants(self) -> Sequence[str]:
        """The values of the option :attr:`variant` that come with the package."""
        return ()

    def validation(self) -> Any:
        """The judge of the physics: a :class:`trackserve.report.validation.Validation`.

        Raises:
            InputError: the tracker has none.
        """
        raise InputError("this tracker has no validation of its physics", tracker=self.name)

    def absolute(self, events: Any) -> Frame:
        """The form in which positions in results are absolute.

        Args:
            events: whose results there will be, from :meth:`open_events`.

        Raises:
            InputError: the tracker has no other form than its own.
        """
        raise InputError("positions in the results of this tracker have one form", name=self.name)

    def complete(self, given: Mapping[str, str]) -> dict[str, str]:
        """The values of all options, as text: the given ones, and defaults for the others.

        Args:
            given: values by name of option; the name may have hyphens.

        Raises:
            InputError: an option is unknown, or its value is wrong.
        """
        options = {option.spelling: option for option in self.options}
        texts = {name.replace("_", "-"): text for name, text in given.items()}
        unknown = sorted(texts.keys() - options.keys())
        if unknown:
            raise InputError(
                "the tracker has no such option",
                tracker=self.name,
                found=unknown,
                bound=sorted(options),
            )
        for name, text in texts.items():
            options[name].parse(text)
        return {option.name: texts.get(name, option.default) for name, option in options.items()}

    def values(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The values of all options, each of the option's kind; see :meth:`complete`.

        Raises:
            InputError: as in :meth:`complete`.
        """
        texts = self.complete(given)
        return {option.name: option.parse(texts[option.name]) for option in self.options}

    def restore(self, folder: Path, options: Mapping[str, str], device: str) -> Pipeline[E, R]:
        """The pipeline that :meth:`store` wrote to ``folder``, ready to answer.

        Raises:
            TrackserveError: as in :meth:`build`.
        """
        values = {option.name: options.get(option.name, option.default) for option in self.options}
        for option in self.options:
            if option.stored:
                values[option.name] = str(folder / values[option.name])
        pipeline = self.build(values, device=device)
        pipeline.warm_up()
        return pipeline
