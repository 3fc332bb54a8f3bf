"""Simulate a pixel data directory, on several processes, resumably."""

from __future__ import annotations

import functools
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..detector.geometry import phase1_geometry
from ..errors import InputError
from ..io import write_conditions
from . import pool
from .conditions import make_conditions
from .generate import DEFAULT_GUN, MAX_ETA, MIN_PT, Gun
from .manifest import claim, make_manifest, write_manifest
from .parts import join_raw, join_truth, part_path, sum_counts, write_part
from .simulator import PROCESSES, Counts, Seconds, Setup, Simulator

Progress = Callable[[str, int, int], None]
"""Called with what is being made, how many are there and how many it will be."""
Run = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]


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
        process: the hard collision, one of :data:`.simulator.PROCESSES`.
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
    n_processes = (os.cpu_count() or 1) if processes is None else processes
    _check(setup, n_processes)
    directory = Path(directory)
    manifest = make_manifest(setup)
    counts = claim(directory, manifest)
    if counts is not None:
        return Report(counts, 0, Seconds())
    parts = directory / "parts"
    parts.mkdir(exist_ok=True)
    todo = [number for number in range(n_events) if not part_path(parts, number).exists()]
    spent = [Seconds()]
    with _workers(min(n_processes, max(len(todo), setup.pool_blocks))) as run:
        if todo and setup.pool_blocks:
            pool.prepare(parts)
            blocks = [(setup.seed, parts, block) for block in range(setup.pool_blocks)]
            for done, _ in enumerate(run(pool.make_block, blocks), start=1):
                progress("inelastic collisions", done * pool.BLOCK, len(blocks) * pool.BLOCK)
        events = [(setup, parts, number) for number in todo]
        for done, seconds in enumerate(run(_make_event, events), n_events - len(todo) + 1):
            spent.append(seconds)
            progress("events", done, n_events)
    paths = [part_path(parts, number) for number in range(n_events)]
    geometry = phase1_geometry()
    conditions = make_conditions(geometry, seed)
    write_conditions(directory, conditions)
    join_raw(directory / "raw.bin", paths)
    join_truth(directory / "truth.npz", paths, geometry, conditions.beam_spot)
    counts = sum_counts(paths)
    write_manifest(directory, manifest, counts)
    shutil.rmtree(parts)
    return Report(counts, len(todo), Seconds(*np.sum(spent, axis=0).tolist()))


@contextmanager
def _workers(n: int) -> Iterator[Run]:
    """Calls a function with each of many arguments on ``n`` processes, in any order.

    A single process is this one. Others are spawned: the threads of ACTS and Numba do
    not survive a fork.
    """
    if n <= 1:
        yield lambda function, arguments: (function(*each) for each in arguments)
        return
    executor = ProcessPoolExecutor(n, multiprocessing.get_context("spawn"))
    try:
        yield lambda function, arguments: (
            future.result()
            for future in as_completed([executor.submit(function, *each) for each in arguments])
        )
    finally:
        executor.shutdown(cancel_futures=True)


def _make_event(setup: Setup, parts: Path, number: int) -> Seconds:
    event = _simulator(setup, parts).simulate(number)
    write_part(part_path(parts, number), event)
    return event.seconds


@functools.lru_cache(maxsize=1)
def _simulator(setup: Setup, parts: Path) -> Simulator:
    return Simulator(setup, parts)


def _check(setup: Setup, processes: int) -> None:
    gun = setup.gun
    for name, found, good, bound in (
        ("process", setup.process, setup.process in PROCESSES, ", ".join(PROCESSES)),
        ("pileup", setup.pileup, 0 <= setup.pileup < np.inf, ">= 0"),
        ("events", setup.events, setup.events >= 1, ">= 1"),
        ("seed", setup.seed, setup.seed >= 0, ">= 0"),
        ("processes", processes, processes >= 1, ">= 1"),
        ("particles", gun.particles, gun.particles >= 1, ">= 1"),
        ("min_pt", gun.min_pt, gun.min_pt >= MIN_PT, f">= {MIN_PT}"),
        ("max_pt", gun.max_pt, gun.min_pt <= gun.max_pt < np.inf, f">= {gun.min_pt}"),
        ("max_eta", gun.max_eta, 0 < gun.max_eta <= MAX_ETA, f"0..{MAX_ETA}"),
    ):
        if not good:
            raise InputError(f"{name} is out of range", found=found, bound=bound)
