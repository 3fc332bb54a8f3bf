"""Simulate a directory of events of the whole tracker."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from trackserve.edm.columns import Array, Columns
from trackserve.edm.points import (
    GENERIC_DETECTOR,
    PointsEvent,
    PointsParticles,
    PointsTruth,
    PointTruth,
    SpacePoints,
)
from trackserve.io import write_points
from trackserve.io.points_directory import POINTS

from ..chain.collisions import Setup
from ..chain.files import write_npz
from ..chain.generate import DEFAULT_GUN, Gun
from ..chain.run import Chain, part_path, simulate
from ..chain.workers import Progress
from .simulator import (
    ACCEPTANCE,
    CONSTANTS,
    PointsCounts,
    PointsSeconds,
    PointsSimulator,
    SimulatedPointsEvent,
)


class PointsReport(NamedTuple):
    """What a run did.

    Attributes:
        counts: summed over all events.
        new: how many events were simulated now; the others were there.
        seconds: CPU time of the new ones, summed.
    """

    counts: PointsCounts
    new: int
    seconds: PointsSeconds


def simulate_points(
    directory: str | Path,
    process: str = "ttbar",
    pileup: float = 20.0,
    n_events: int = 100,
    seed: int = 1,
    processes: int | None = None,
    gun: Gun = DEFAULT_GUN,
    progress: Progress = lambda what, done, total: None,
) -> PointsReport:
    """Write events that :func:`trackserve.io.open_points` reads, and ``simulation.json``.

    The arguments are those of :func:`.simulate.simulate_pixel`. A run that was interrupted
    continues where it stopped, and the files are the same, byte for byte, for any number
    of processes.

    Raises:
        InputError: an argument is out of range, or the directory holds something else.
        MissingExtraError: pyacts, or Pythia where it is needed, is not installed.
    """
    setup = Setup(process, float(pileup), n_events, seed, gun)
    counts, new, seconds = simulate(Path(directory), setup, _CHAIN, processes, progress)
    return PointsReport(PointsCounts(**counts), new, PointsSeconds(**seconds))


def _make_part(setup: Setup, parts: Path, number: int) -> dict[str, float]:
    made = _simulator(setup, parts).simulate(number)
    _write_part(part_path(parts, number), made)
    return made.seconds._asdict()


@functools.lru_cache(maxsize=1)
def _simulator(setup: Setup, parts: Path) -> PointsSimulator:
    return PointsSimulator(setup, parts)


def _join(directory: Path, parts: Sequence[Path], setup: Setup) -> dict[str, int]:
    events = (_read_part(part, number) for number, part in enumerate(parts))
    write_points(directory, events, GENERIC_DETECTOR)
    counts = np.zeros(len(PointsCounts._fields), np.int64)
    for part in parts:
        with np.load(part) as file:
            counts += file["counts"]
    return PointsCounts(*counts.tolist())._asdict()


def _write_part(path: Path, made: SimulatedPointsEvent) -> None:
    event, truth = made.event, made.event.truth
    assert truth is not None
    arrays: dict[str, Array] = {"counts": np.array(made.counts)}
    for part in (event.points, truth.points, truth.particles):
        prefix = type(part).__name__
        arrays |= {f"{prefix}.{name}": values for name, values in part.columns().items()}
    write_npz(path, arrays)


def _read_part(path: Path, number: int) -> PointsEvent:
    with np.load(path) as file:
        truth = PointsTruth(_read(PointTruth, file), _read(PointsParticles, file))
        return PointsEvent(_read(SpacePoints, file), number, truth)


_Noun = TypeVar("_Noun", bound=Columns)


def _read(noun: type[_Noun], file: Mapping[str, Array]) -> _Noun:
    return noun(*(file[f"{noun.__name__}.{name}"] for name in noun.schema()))


_CHAIN = Chain(ACCEPTANCE, CONSTANTS, POINTS, _make_part, _join)
