"""A study: a plan of points, a function that measures a point once, and what is shown of it.

The frame does the rest. It measures the points of a setting in turns, round by round, so that a
machine that changes its pace changes all of them (:mod:`.run`); it has events, servers, pipelines
and clients (:mod:`.lab`), keeps the data (:mod:`.table`) and writes the report (:mod:`.pages`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from trackserve.report.page import Table

from .samples import Sample
from .table import Row, Value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .lab import Lab

Values = dict[str, Value]


class How(NamedTuple):
    """How studies are run.

    Attributes:
        samples: the events; the first of a tracker stands for it where a study takes one.
        quick: whether to take few points and short times.
        rounds: number of times that each point is measured.
        seconds: how long a load is measured.
        backend: backend of servers, where a study does not compare them.
        device: where pipelines run, here and on servers.
        options: options of trackers, by tracker and name.
        watts: power of a core at work, W, where no meter can be read.
    """

    samples: tuple[Sample, ...]
    quick: bool = False
    rounds: int = 7
    seconds: float = 2.0
    backend: str = "python"
    device: str = "cpu"
    watts: float = 10.0

    @property
    def trackers(self) -> list[str]:
        """Names of the trackers that there are events for."""
        return list(dict.fromkeys(sample.tracker for sample in self.samples))

    def of(self, tracker: str) -> list[Sample]:
        """The samples of a tracker."""
        return [sample for sample in self.samples if sample.tracker == tracker]

    def usual(self, tracker: str) -> Sample:
        """The sample that stands for a tracker where a study takes one."""
        return self.of(tracker)[0]

    def find(self, tracker: Value, sample: Value) -> Sample:
        """The sample of these names."""
        return next(s for s in self.samples if s.tracker == tracker and s.name == sample)


class Point(NamedTuple):
    """One thing to measure.

    Attributes:
        values: what is chosen, by column.
        setting: points in a row with the same setting are measured in turns, and share servers.
    """

    values: Values
    setting: str = ""


class Drawn(NamedTuple):
    """A figure; ``name`` is the name of its file, without the ending."""

    name: str
    figure: Figure
    caption: str


class Shown(NamedTuple):
    """What a study shows of its rows: text, tables and figures.

    Figures are made when they are wanted, since matplotlib may be missing.
    """

    text: str = ""
    tables: Sequence[Table] = ()
    draw: Callable[[], Sequence[Drawn]] = tuple


class Study(NamedTuple):
    """One measurement.

    Attributes:
        name: its name on the command line.
        title: a heading.
        about: what it asks and how it measures.
        plan: the points.
        measure: measures a point once; each row has the measured values by column.
        show: what the report has of its rows.
        repeats: whether a point is measured in each round; else once, for its answer is exact.
    """

    name: str
    title: str
    about: str
    plan: Callable[[How], list[Point]]
    measure: Callable[[Lab, Values], Iterable[Row]]
    show: Callable[[list[Row]], Shown]
    repeats: bool = True
