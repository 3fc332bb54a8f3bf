"""Jobs that are described by a text, in TOML; :data:`DEFAULT` is one, and says how."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trackserve.errors import JobError, TrackserveError
from trackserve.io.files import readable
from trackserve.trackers.base import Tracker
from trackserve.trackers.registry import find_tracker

from .busy import Busy
from .job import Job
from .menu import Decide, Entry, Measure, make_entry
from .module import Module
from .own import find, is_number
from .select import ChooseVertex, ClusterJets, IsolateTracks, PrimaryTracks, SelectTracks
from .times import LogNormal, Times
from .tracking import Way, tracking

DEFAULT = Path(__file__).with_name("default.toml")
"""The job of ``trackserve hlt``."""
_TRACKING, _BUSY = "tracking", "busy"
_MODULES: dict[str, type[Module]] = {
    "selected_tracks": SelectTracks,
    "primary_vertex": ChooseVertex,
    "primary_tracks": PrimaryTracks,
    "track_jets": ClusterJets,
    "isolated_tracks": IsolateTracks,
}


class Rest(NamedTuple):
    """How the rest of an event is done, which modules of the kind "busy" stand for.

    Attributes:
        is_emulated: whether it is waits, not work.
        is_left_out: whether there is none.
        times: times by name of module, in place of those of the description.
        speed: as of :class:`.busy.Busy`.
    """

    is_emulated: bool = False
    is_left_out: bool = False
    times: Mapping[str, Times] = {}
    speed: float | None = None


class Described(NamedTuple):
    """A description that was read.

    Attributes:
        modules: values of each module, by name.
        entries: the menu.
        text: the description.
    """

    modules: dict[str, dict[str, Any]]
    entries: tuple[Entry, ...]
    text: str

    @property
    def tracking(self) -> str:
        """Name of the module that is the tracking.

        Raises:
            JobError: no module, or more than one, is the tracking.
        """
        found = [
            name for name, values in self.modules.items() if values.get("use", name) == _TRACKING
        ]
        if len(found) != 1:
            raise JobError("a job has one tracking", found=found)
        return found[0]

    @property
    def tracker(self) -> Tracker[Any, Any]:
        """The tracker of that module.

        Raises:
            JobError: as of :attr:`tracking`.
            InputError: the tracker is not installed.
        """
        return find_tracker(self.modules[self.tracking].get("tracker", "patatrack"))

    @property
    def options(self) -> dict[str, str]:
        """Options of the tracker, by name.

        Raises:
            JobError: as of :attr:`tracking`, or they are no table.
        """
        found = self.modules[self.tracking].get("options", {})
        if not isinstance(found, dict):
            raise JobError("options are a table", module=self.tracking, found=repr(found)[:80])
        return {name: str(value) for name, value in found.items()}


def read_description(path: Path) -> Described:
    """Read a description.

    Raises:
        ConditionsError: the file cannot be read.
        JobError: it is not TOML, or not a description.
    """
    with readable(path):
        data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise JobError("not TOML", file=str(path), found=str(error)) from None
    found = {}
    for name in ("modules", "paths"):
        table = tables.pop(name, {})
        if not isinstance(table, dict) or not all(isinstance(v, dict) for v in table.values()):
            raise JobError(f"{name} are not tables", file=str(path), bound=f"[{name}.NAME]")
        found[name] = table
    if tables:
        bound = ["modules", "paths"]
        raise JobError("no such table", file=str(path), found=sorted(tables), bound=bound)
    entries = tuple(make_entry(name, values) for name, values in found["paths"].items())
    return Described(found["modules"], entries, text)


def make_job(described: Described, events: Any, way: Way, rest: Rest) -> Job:
    """The job of a description.

    Args:
        described: the description.
        events: what it will run over, as the tracker opens it.
        way: where tracking runs.
        rest: how the rest of an event is done.

    Raises:
        JobError: a module is not there, or its arguments are wrong; the modules do not fit.
        TrackserveError: the tracking cannot be built.
    """
    busy = [name for name, values in described.modules.items() if values.get("use") == _BUSY]
    if unknown := sorted(rest.times.keys() - busy):
        raise JobError("times of no module of the rest", found=unknown, bound=busy)
    modules: list[Module] = []
    for name, values in described.modules.items():
        use = values.get("use", name)
        arguments = {key: value for key, value in values.items() if key != "use"}
        if use == _TRACKING:
            _refuse(name, arguments, ("tracker", "options"))
            tracker, options = described.tracker, described.options
            modules.append(tracking(name, tracker, options, events, way))
        elif use != _BUSY:
            modules.append(_make(name, _find(name, use), arguments))
        elif not rest.is_left_out:
            modules.append(_busy(name, arguments, rest))
    modules += [Measure(entry) for entry in described.entries]
    return Job([*modules, Decide(described.entries)])


def _busy(name: str, arguments: dict[str, Any], rest: Rest) -> Module:
    _refuse(name, arguments, ("mean", "spread", "after"))
    mean, spread = (arguments.get(key, 0.0) for key in ("mean", "spread"))
    after = arguments.get("after", [])
    is_right = all(is_number(number) and 0 <= number < math.inf for number in (mean, spread))
    if not is_right or not isinstance(after, list):
        bound = "mean and spread are numbers from 0 on, after is a list"
        raise JobError("wrong values", module=name, found=repr(arguments)[:80], bound=bound)
    times = rest.times.get(name, LogNormal(float(mean), float(spread), name))
    return Busy(name, times, after, rest.speed, rest.is_emulated)


def _refuse(name: str, arguments: Mapping[str, Any], bound: Sequence[str]) -> None:
    """Refuse values that a module does not have.

    Raises:
        JobError: there are some.
    """
    if unknown := sorted(arguments.keys() - set(bound)):
        raise JobError("a module has no such value", module=name, found=unknown, bound=bound)


def _find(name: str, use: Any) -> Any:
    """The class of a module."""
    bound = [_TRACKING, _BUSY, *_MODULES, "package.module:Class"]
    if not isinstance(use, str):
        raise JobError(
            "a module is used by its name", module=name, found=repr(use)[:80], bound=bound
        )
    if use in _MODULES:
        return _MODULES[use]
    place, _, attribute = use.partition(":")
    return find("module", use, place, attribute, module=name, bound=bound)


def _make(name: str, kind: Any, arguments: dict[str, Any]) -> Module:
    try:
        made = kind(**arguments)
    except TrackserveError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}"
        raise JobError("it does not take its arguments", module=name, reason=reason) from error
    if not isinstance(made, Module):
        raise JobError("this is not a module", module=name, found=repr(kind)[:80])
    made.name = name
    return made
