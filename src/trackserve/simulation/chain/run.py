"""A directory of events, simulated on several processes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import pool
from .collisions import Setup, check_setup
from .generate import Acceptance
from .manifest import claim, make_manifest, write_manifest
from .parts import part_path, sum_counts
from .workers import Progress, workers


class Chain(NamedTuple):
    """The functions and constants that make the events of one detector.

    Attributes:
        acceptance: what of the collisions is kept.
        constants: what determines an event beside its setup and the acceptance.
        files: names of what a complete directory has beside ``simulation.json``.
        packages: those whose versions determine an event, beside Pythia.
        make: writes the part of an event; its arguments are the setup, the directory of the
            parts and the number of the event. It returns CPU seconds by stage.
        join: writes a directory; its arguments are the directory, the files of an earlier
            simulation that its events begin with or None, the parts of the events that follow
            and the setup.
    """

    acceptance: Acceptance
    constants: Mapping[str, Any]
    files: tuple[str, ...]
    packages: tuple[str, ...]
    make: Callable[[Setup, Path, int], dict[str, float]]
    join: Callable[[Path, Path | None, Sequence[Path], Setup], None]


class SimulationSummary(NamedTuple):
    """The counts and times of a simulation.

    Attributes:
        counts: counts of the simulator, summed over all events.
        new: number of events that were simulated now; the others were there.
        seconds: CPU time of the new events by stage, summed.
    """

    counts: dict[str, int]
    new: int
    seconds: dict[str, float]


def simulate(
    directory: Path, setup: Setup, chain: Chain, processes: int | None, progress: Progress
) -> SimulationSummary:
    """Write the events of ``setup`` and ``simulation.json`` into ``directory``.

    Events are simulated one by one into part files. The parts are joined at the end, so a
    run that was interrupted continues where it stopped, and a directory with fewer events of
    the same simulation is extended. The files are the same, byte for byte, for any number of
    processes and runs.

    Args:
        directory: is made if needed.
        setup: what to simulate.
        chain: how the events are made.
        processes: how many work at a time; None for the number of cores. They are spawned,
            so a script that asks for more than one needs ``if __name__ == "__main__"``.
        progress: is told about every block of collisions and every event.

    Raises:
        InputError: an argument has the wrong type or is out of range, or the directory holds
            something else.
        MissingExtraError: Pythia, or for points pyacts, is needed and not installed.
    """
    n_processes = (os.cpu_count() or 1) if processes is None else processes
    check_setup(setup, chain.acceptance, n_processes)
    setup = setup._replace(pileup=float(setup.pileup))  # the manifest's text shows the type
    manifest = make_manifest(setup, chain.acceptance, chain.constants, chain.packages)
    there = claim(directory, manifest, chain.files)
    if there.complete:
        return SimulationSummary(there.counts, 0, {})
    parts = directory / "parts"
    parts.mkdir(exist_ok=True)
    kept = _set_aside(directory, parts / "kept", chain.files) if there.kept else None
    paths = {number: part_path(parts, number) for number in range(there.kept, setup.events)}
    todo = [number for number, path in paths.items() if not path.exists()]
    seconds: Counter[str] = Counter()
    with workers(min(n_processes, pool.calls(setup, todo))) as starmap:
        pool.fill(parts, setup, chain.acceptance, todo, starmap, progress)
        events = [(setup, parts, number) for number in todo]
        for done, spent in enumerate(starmap(chain.make, events), setup.events - len(todo) + 1):
            seconds.update(spent)
            progress("events", done, setup.events)
    chain.join(directory, kept, list(paths.values()), setup)
    counts = Counter(there.counts)
    counts.update(sum_counts(paths.values()))
    write_manifest(directory, manifest, dict(counts))
    shutil.rmtree(parts)
    return SimulationSummary(dict(counts), len(todo), dict(seconds))


def _set_aside(directory: Path, kept: Path, files: Sequence[str]) -> Path:
    """Move ``files`` from ``directory`` to ``kept``, except those that are there already."""
    kept.mkdir(exist_ok=True)
    for name in files:
        if (directory / name).exists() and not (kept / name).exists():
            (directory / name).rename(kept / name)
    return kept


def silent(what: str, done: int, total: int) -> None:
    """A :data:`.workers.Progress` that shows nothing."""
