"""Simulate a directory of events of space points."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trackserve.edm.points import GENERIC_DETECTOR, Measurements, PointsEvent, SpacePoints
from trackserve.edm.truth import Particles, PointsTruth, TruePoints
from trackserve.errors import InputError
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

_PACKAGES = ("trackserve", "pyacts", "numba", "numpy")
MAX_NOISE = 0.9
"""Most of all points that noise may be."""


def simulate_points(
    directory: str | Path,
    setup: Setup,
    processes: int | None = None,
    progress: Progress = silent,
    noise: float = 0.0,
) -> SimulationSummary:
    """Write events that :func:`trackserve.io.open_points` reads, their measurements,
    and ``simulation.json``.

    A run that was interrupted continues where it stopped, and fewer events of the same
    simulation are extended. What is returned is that of :func:`.chain.run.simulate`;
    :class:`.simulator.SimulatedEvent` says what is counted.

    Args:
        directory: is made if needed.
        setup: what to simulate.
        processes: how many work at a time; None for the number of cores.
        progress: is told about every block of collisions and every event.
        noise: share of all points that no particle made, on average; 0..0.9.

    Raises:
        InputError: an argument has the wrong type or is out of range, or the directory holds
            something else or cannot be written.
        MissingExtraError: pyacts, or Pythia where it is needed, is not installed.
    """
    if isinstance(noise, bool) or not isinstance(noise, int | float):
        raise InputError(
            "noise has the wrong type", found=type(noise).__name__, bound=float.__name__
        )
    if not 0 <= noise <= MAX_NOISE:
        raise InputError("noise is out of range", found=noise, bound=f"0..{MAX_NOISE}")
    chain = Chain(
        ACCEPTANCE,
        CONSTANTS | {"noise": float(noise)},
        (POINTS, PARTICLES, MEASUREMENTS),
        _PACKAGES,
        functools.partial(_make_part, float(noise)),
        _join,
    )
    directory = as_path(directory)
    with writable(directory):
        return simulate(directory, setup, chain, processes, progress)


def _make_part(noise: float, setup: Setup, parts: Path, number: int) -> dict[str, float]:
    made = _simulator(setup, parts, noise).simulate(number)
    truth = made.event.truth
    assert truth is not None
    nouns = (made.event.points, truth.points, truth.particles)
    write_part(part_path(parts, number), made.counts, nouns)
    return made.seconds


@functools.lru_cache(maxsize=1)
def _simulator(setup: Setup, parts: Path, noise: float) -> PointsSimulator:
    return PointsSimulator(setup, parts, noise)


def _join(directory: Path, kept: Path | None, parts: Sequence[Path], setup: Setup) -> None:
    before = [] if kept is None else open_points(kept)
    events = (_read_part(part, number) for number, part in enumerate(parts, len(before)))
    write_points(directory, itertools.chain(before, events), GENERIC_DETECTOR)
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
