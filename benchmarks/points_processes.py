"""What each process of the points simulation adds: points by sensor, and processor time.

usage: python -m benchmarks.points_processes [--events N] [--pileup MU] [--seed SEED]

The same events are simulated with the particles of 0.15 GeV and more (photons 0.2 GeV) and Fatras
alone, then with softer ones, and then with one process more after another.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from trackserve.simulation.chain import pool
from trackserve.simulation.chain.collisions import Setup
from trackserve.simulation.chain.generate import Acceptance
from trackserve.simulation.chain.run import silent
from trackserve.simulation.chain.workers import workers
from trackserve.simulation.points.flight import Processes
from trackserve.simulation.points.simulator import ACCEPTANCE, PointsSimulator

from .simulation_processes import read_options, steps

HARD = ACCEPTANCE._replace(min_pt=0.15, min_photon_energy=0.2)
"""Particles that reach the strips without turning back before."""
KINDS = {"pixels": (7, 8, 9), "short strips": (12, 13, 14), "long strips": (16, 17, 18)}


def with_acceptance() -> dict[str, tuple[Acceptance, Processes]]:
    """What is kept of the collisions, and sets of processes; each step has one more of both."""
    sets = steps(Processes)
    none = sets.pop("none")
    first = {"hard particles": (HARD, none), "+ soft particles": (ACCEPTANCE, none)}
    return first | {name: (ACCEPTANCE, processes) for name, processes in sets.items()}


def main() -> None:
    options = read_options(__doc__, 10, 60.0)
    setup = Setup("ttbar", options.pileup, options.events, options.seed)
    print(f"processes, points, of them {', '.join(KINDS)}; particles with points, lost; CPU s")
    with tempfile.TemporaryDirectory() as folder, workers(1) as starmap:
        for name, (acceptance, processes) in with_acceptance().items():
            cache = Path(folder) / str(acceptance.min_pt)
            cache.mkdir(exist_ok=True)
            pool.fill(cache, setup, acceptance, range(options.events), starmap, silent)
            simulator = PointsSimulator(setup, cache, 0.0, acceptance, processes)
            simulator.simulate(0)  # compiles
            rows, seconds = [], 0.0
            for number in range(options.events):
                start = time.process_time()
                made = simulator.simulate(number)
                seconds += time.process_time() - start
                truth = made.event.truth
                assert truth is not None
                found = len(np.unique(truth.points.particle))
                kinds = [np.isin(truth.points.volume, volumes).sum() for volumes in KINDS.values()]
                rows.append((made.counts["points"], *kinds, found, made.counts["lost"]))
            mean = np.mean(rows, axis=0)
            print(
                f"{name:17}"
                + "".join(f" {value:8.0f}" for value in mean[:-1])
                + f" {mean[-1]:6.1f}  {seconds / options.events:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
