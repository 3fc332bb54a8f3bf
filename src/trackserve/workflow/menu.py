"""The menu: paths, thresholds and prescales, and what they decide of an event."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from trackserve.errors import JobError

from .job import INDEX
from .module import Module
from .own import find, is_number

_MOST_PRESCALE = 10**15


class Path(NamedTuple):
    """What an event is judged by.

    Attributes:
        inputs: names of the products that ``quantity`` takes.
        quantity: takes them, in their order; an event passes if what it returns reaches a
            threshold. What it takes by keyword alone are cuts, which a menu may change.
        threshold: the usual threshold.
        unit: unit of the quantity.
    """

    inputs: tuple[str, ...]
    quantity: Callable[..., float]
    threshold: float
    unit: str = ""

    @property
    def cuts(self) -> dict[str, Any]:
        """The usual cuts, by name; none of a function that does not tell what it takes."""
        try:
            parameters = inspect.signature(self.quantity).parameters.values()
        except ValueError:  # as of some builtin functions
            return {}
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}


class Entry(NamedTuple):
    """A path in a menu.

    Attributes:
        name: its name in the menu.
        path: the path.
        threshold: least quantity with which an event passes.
        prescale: one event in so many is accepted if it passes; which one depends on its place in
            the stream alone.
        cuts: changed cuts, by name.
    """

    name: str
    path: Path
    threshold: float
    prescale: int
    cuts: Mapping[str, Any]

    def decide(self, index: int, quantity: float) -> Decision:
        """The decision on the event at a place in the stream."""
        passed = quantity >= self.threshold
        return Decision(quantity, passed, passed and index % self.prescale == 0)


class Decision(NamedTuple):
    """What a path says of an event.

    Attributes:
        quantity: what the event is judged by.
        passed: whether that reaches the threshold.
        accepted: whether the event is kept for it: it passed, and is not prescaled away.
    """

    quantity: float = 0.0
    passed: bool = False
    accepted: bool = False


class Measure(Module):
    """Measures the quantity of a path; its product, a number of the path's name in the menu."""

    def __init__(self, entry: Entry) -> None:
        self.name = entry.name
        self.inputs = entry.path.inputs
        self.outputs = (entry.name,)
        self._quantity = functools.partial(entry.path.quantity, **entry.cuts)

    def produce(self, *inputs: Any) -> float:
        return float(self._quantity(*inputs))


class Decide(Module):
    """Decides on an event: product ``decisions``, one :class:`Decision` for each entry."""

    name = "decisions"
    outputs = ("decisions",)

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = tuple(entries)
        self.inputs = (INDEX, *(entry.name for entry in entries))

    def produce(self, index: int, *quantities: float) -> tuple[Decision, ...]:
        return tuple(
            entry.decide(index, quantity)
            for entry, quantity in zip(self.entries, quantities, strict=True)
        )


_TAKEN = ("menu", "source", "source_event", "error", "accepted")
"""Names that stand for something else where paths stand by their names."""


def make_entry(name: str, values: Mapping[str, Any]) -> Entry:
    """The entry that a description has.

    Args:
        name: its name.
        values: ``use``, the path's name or the module that has it (by default ``name``);
            ``threshold``; ``prescale``; ``cuts``.

    Raises:
        JobError: there is no such path, or a value is wrong.
    """
    if not name or name in _TAKEN:
        raise JobError("a path cannot have this name", module=name)
    left = dict(values)
    path = find_path(left.pop("use", name))
    threshold = left.pop("threshold", path.threshold)
    prescale = left.pop("prescale", 1)
    cuts = left.pop("cuts", {})
    if left:
        bound = ["use", "threshold", "prescale", "cuts"]
        raise JobError("a path has no such value", module=name, found=sorted(left), bound=bound)
    if not is_number(threshold):
        raise JobError("a threshold is a number", module=name, found=repr(threshold)[:80])
    if type(prescale) is not int or not 1 <= prescale <= _MOST_PRESCALE:
        reason = f"a prescale is a whole number from 1 to {_MOST_PRESCALE:g}"
        raise JobError(reason, module=name, found=repr(prescale)[:80])
    if not isinstance(cuts, Mapping) or cuts.keys() - path.cuts.keys():
        bound = sorted(path.cuts)
        raise JobError("a path has no such cut", module=name, found=repr(cuts)[:80], bound=bound)
    return Entry(name, path, float(threshold), prescale, dict(cuts))


def path_names() -> list[str]:
    """Names of the paths of the package :mod:`.paths`."""
    return sorted(found.name for found in pkgutil.iter_modules(_paths().__path__))


def find_path(name: str) -> Path:
    """The path of a name, or of a module that has one as ``PATH``.

    Raises:
        JobError: there is none.
    """
    known = path_names()
    if not isinstance(name, str):
        raise JobError("a path is used by its name", found=repr(name)[:80], bound=known)
    place = f"{_paths().__name__}.{name}" if name in known else name
    path = find("path", name, place, "PATH", bound=known)
    if not isinstance(path, Path) or not callable(path.quantity):
        raise JobError("this is no path", found=f"{place}.PATH")
    return path


def _paths() -> ModuleType:
    return importlib.import_module(".paths", __package__)
