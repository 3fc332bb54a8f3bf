"""Simulate a pixel data directory."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from trackserve.detectors.phase1.geometry import phase1_geometry
from trackserve.io import write_conditions

from ..chain.collisions import Setup
from ..chain.generate import DEFAULT_GUN, Gun
from ..chain.run import Chain, part_path, simulate
from ..chain.workers import Progress
from .conditions import make_conditions
from .parts import (
    join_raw,
    join_truth,
    sum_counts,
    write_part,
)
from .simulator import (
    ACCEPTANCE,
    CONSTANTS,
    Counts,
    Seconds,
    Simulator,
)


class Report(NamedTuple):
    """What a run did.

    Attributes:
        counts: summed over all events.
        new: how many events were simulated now; the others were there.
        seconds: CPU time of the new ones, summed.
    """

    counts: Counts
    new: int
    seconds: Seconds


def simulate_pixel(
    directory: str | Path,
    process: str = "ttbar",
    pileup: float = 50.0,
    n_events: int = 100,
    seed: int = 1,
    processes: int | None = None,
    gun: Gun = DEFAULT_GUN,
    progress: Progress = lambda what, done, total: None,
) -> Report:
    """Write a pixel data directory with ``truth.npz`` and ``simulation.json``.

    Events are simulated one by one into part files, which are joined at the end: a run
    that was interrupted continues where it stopped. The files are the same, byte for
    byte, for any number of processes.

    Args:
        directory: made where needed.
        process: the hard collision, one of :data:`.collisions.PROCESSES`.
        pileup: mean number of inelastic collisions beside it.
        n_events: how many events.
        seed: everything random follows from it.
        processes: how many work at a time, as many as there are cores if None. They are
            spawned, so a script that asks for more than one needs the usual
            ``if __name__ == "__main__"``.
        gun: what is shot, if ``process`` is a particle.
        progress: told about every block of collisions and every event.

    Raises:
        InputError: an argument is out of range, or the directory holds something else.
        MissingExtraError: pyacts, or Pythia where it is needed, is not installed.
        EventError: an event does not fit into the raw format.
    """
    setup = Setup(process, float(pileup), n_events, seed, gun)
    counts, new, seconds = simulate(Path(directory), setup, _CHAIN, processes, progress)
    return Report(Counts(**counts), new, Seconds(**seconds))


def _make_part(setup: Setup, parts: Path, number: int) -> dict[str, float]:
    event = _simulator(setup, parts).simulate(number)
    write_part(part_path(parts, number), event)
    return event.seconds._asdict()


@functools.lru_cache(maxsize=1)
def _simulator(setup: Setup, parts: Path) -> Simulator:
    return Simulator(setup, parts)


def _join(directory: Path, parts: Sequence[Path], setup: Setup) -> dict[str, int]:
    geometry = phase1_geometry()
    conditions = make_conditions(geometry, setup.seed)
    write_conditions(directory, conditions)
    join_raw(directory / "raw.bin", parts)
    join_truth(directory / "truth.npz", parts, geometry, conditions.beam_spot)
    return sum_counts(parts)._asdict()


_CHAIN = Chain(ACCEPTANCE, CONSTANTS, "raw.bin", _make_part, _join)
