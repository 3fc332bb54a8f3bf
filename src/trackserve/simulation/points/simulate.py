"""Simulate a directory of events of space points."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from trackserve.edm.points import GENERIC_DETECTOR, Measurements, PointsEvent, SpacePoints
from trackserve.edm.truth import Particles, PointsTruth, TruePoints
from trackserve.io import open_points, write_measurements, write_points
from trackserve.io.files import as_path, writable
from trackserve.io.measurements import MEASUREMENTS
from trackserve.io.points_directory import PARTICLES, POINTS

from ..chain.collisions import Setup
from ..chain.parts import part_path, read_noun, write_part
from ..chain.run import Chain, SimulationSummary, silent, simulate
from ..chain.workers import Progress
from .detector import make_points_detector
from .measure import measure
from .simulator import ACCEPTANCE, CONSTANTS, PointsSimulator


def simulate_points(
    directory: str | Path,
    setup: Setup,
    processes: int | None = None,
    progress: Progress = silent,
) -> SimulationSummary:
    """Write events that :func:`trackserve.io.open_points` reads, their measurements,
    and ``simulation.json``.

    A run that was interrupted continues where it stopped, and fewer events of the same
    simulation are extended. The arguments, and what is returned
    and raised, are those of :func:`.chain.run.simulate`;
    :class:`.simulator.SimulatedEvent` says what is counted.

    Raises:
        InputError: an argument has the wrong type or is out of range, or the directory holds
            something else or cannot be written.
        MissingExtraError: pyacts, or Pythia where it is needed, is not installed.
    """
    directory = as_path(directory)
    with writable(directory):
        return simulate(directory, setup, _CHAIN, processes, progress)


def _make_part(setup: Setup, parts: Path, number: int) -> dict[str, float]:
    made = _simulator(setup, parts).simulate(number)
    truth = made.event.truth
    assert truth is not None
    nouns = (made.event.points, truth.points, truth.particles)
    write_part(part_path(parts, number), made.counts, nouns)
    return made.seconds


@functools.lru_cache(maxsize=1)
def _simulator(setup: Setup, parts: Path) -> PointsSimulator:
    return PointsSimulator(setup, parts)


def _join(directory: Path, kept: Path | None, parts: Sequence[Path], setup: Setup) -> None:
    before = [] if kept is None else open_points(kept)
    events = (_read_part(part, number) for number, part in enumerate(parts, len(before)))
    write_points(directory, chain(before, events), GENERIC_DETECTOR)
    write_measurements(directory, _measured(open_points(directory)))


def _measured(events: Iterable[PointsEvent]) -> Iterator[tuple[int, Measurements]]:
    """Number and measurements of each event."""
    detector = make_points_detector()
    for event in events:
        assert event.truth is not None
        yield event.event, measure(event.points, event.truth.points, detector)


def _read_part(path: Path, number: int) -> PointsEvent:
    truth = PointsTruth(read_noun(path, TruePoints), read_noun(path, Particles))
    return PointsEvent(read_noun(path, SpacePoints), number, truth)


_PACKAGES = ("trackserve", "pyacts", "numpy")
_CHAIN = Chain(
    ACCEPTANCE, CONSTANTS, (POINTS, PARTICLES, MEASUREMENTS), _PACKAGES, _make_part, _join
)
