"""Simulate a directory of events, on several processes, resumably."""

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
from .workers import Progress, workers


class Chain(NamedTuple):
    """How the events of one detector are made.

    Attributes:
        acceptance: what of the collisions is kept.
        constants: what determines an event beside this and its setup.
        data: name of a file that only a complete directory has.
        make: writes the part of an event, given the setup, the directory of the parts
            and the number of the event; returns CPU seconds by stage.
        join: writes a directory, given that, the parts of all events and the setup;
            returns what it counted.
    """

    acceptance: Acceptance
    constants: Mapping[str, Any]
    data: str
    make: Callable[[Setup, Path, int], dict[str, float]]
    join: Callable[[Path, Sequence[Path], Setup], dict[str, int]]


class Outcome(NamedTuple):
    """What a run did.

    Attributes:
        counts: summed over all events.
        new: how many events were simulated now; the others were there.
        seconds: CPU time of the new ones by stage, summed.
    """

    counts: dict[str, int]
    new: int
    seconds: dict[str, float]


def simulate(
    directory: Path, setup: Setup, chain: Chain, processes: int | None, progress: Progress
) -> Outcome:
    """Write ``directory`` with ``simulation.json``.

    Events are simulated one by one into part files, which are joined at the end: a run
    that was interrupted continues where it stopped. The files are the same, byte for
    byte, for any number of processes.

    Raises:
        InputError: an argument is out of range, or the directory holds something else.
        MissingExtraError: pyacts, or Pythia where it is needed, is not installed.
    """
    n_processes = (os.cpu_count() or 1) if processes is None else processes
    check_setup(setup, chain.acceptance, n_processes)
    manifest = make_manifest(setup, chain.acceptance, chain.constants)
    counts = claim(directory, manifest, chain.data)
    if counts is not None:
        return Outcome(counts, 0, {})
    parts = directory / "parts"
    parts.mkdir(exist_ok=True)
    paths = [part_path(parts, number) for number in range(setup.events)]
    todo = [number for number, path in enumerate(paths) if not path.exists()]
    seconds: Counter[str] = Counter()
    with workers(min(n_processes, max(len(todo), setup.pool_blocks))) as run:
        if todo and setup.pool_blocks:
            pool.fill(parts, setup.seed, chain.acceptance, setup.pool_blocks, run, progress)
        events = [(setup, parts, number) for number in todo]
        for done, spent in enumerate(run(chain.make, events), setup.events - len(todo) + 1):
            seconds.update(spent)
            progress("events", done, setup.events)
    counts = chain.join(directory, paths, setup)
    write_manifest(directory, manifest, counts)
    shutil.rmtree(parts)
    return Outcome(counts, len(todo), dict(seconds))


def part_path(parts: Path, number: int) -> Path:
    """The file of event ``number``."""
    return parts / f"event-{number:06d}.npz"
