"""Simulate a pixel data directory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from trackserve.detectors.phase1.geometry import phase1_geometry
from trackserve.edm.pixel import RawEvent
from trackserve.edm.truth import Collisions, Particles, PixelTruth, TrueHits
from trackserve.io import open_pixel, write_conditions, write_events, write_truth
from trackserve.io.files import as_path, writable
from trackserve.io.pixel_directory import CONDITIONS, RAW
from trackserve.io.pixel_truth import TRUTH

from ..chain.collisions import Setup
from ..chain.parts import part_path, read_array, read_noun, write_part
from ..chain.run import Chain, SimulationSummary, silent, simulate
from ..chain.workers import Progress
from .conditions import make_conditions
from .simulator import ACCEPTANCE, CONSTANTS, PixelSimulator


def simulate_pixel(
    directory: str | Path,
    setup: Setup,
    processes: int | None = None,
    progress: Progress = silent,
) -> SimulationSummary:
    """Write a pixel data directory with ``truth.npz`` and ``simulation.json``.

    A run that was interrupted continues where it stopped, and fewer events of the same
    simulation are extended. The arguments, and what is returned
    and raised, are those of :func:`.chain.run.simulate`;
    :class:`.simulator.SimulatedEvent` says what is counted.

    Raises:
        InputError: an argument has the wrong type or is out of range, or the directory holds
            something else or cannot be written.
        MissingExtraError: Pythia is needed and not installed.
        EventError: an event does not fit into the raw format.
    """
    directory = as_path(directory)
    with writable(directory):
        return simulate(directory, setup, _CHAIN, processes, progress)


def _make_part(setup: Setup, parts: Path, number: int) -> dict[str, float]:
    event = _simulator(setup, parts).simulate(number)
    truth = event.truth
    nouns = (truth.particles, truth.hits, truth.collisions)
    write_part(part_path(parts, number), event.counts, nouns, raw=event.raw)
    return event.seconds


@functools.lru_cache(maxsize=1)
def _simulator(setup: Setup, parts: Path) -> PixelSimulator:
    return PixelSimulator(setup, parts)


def _join(directory: Path, kept: Path | None, parts: Sequence[Path], setup: Setup) -> None:
    geometry = phase1_geometry()
    conditions = make_conditions(geometry, setup.seed)
    write_conditions(directory, conditions)
    before = [] if kept is None else open_pixel(kept)
    write_events(directory, chain(before, (RawEvent(read_array(part, "raw")) for part in parts)))
    spot = conditions.beam_spot.position().astype(float)
    truth = [
        PixelTruth(
            read_noun(part, Particles),
            read_noun(part, TrueHits),
            read_noun(part, Collisions),
            spot,
            geometry.layer,
        )
        for part in parts
    ]
    write_truth(directory, truth, after=kept)


_PACKAGES = ("trackserve", "numba", "numpy")
_CHAIN = Chain(ACCEPTANCE, CONSTANTS, (*CONDITIONS, RAW, TRUTH), _PACKAGES, _make_part, _join)
