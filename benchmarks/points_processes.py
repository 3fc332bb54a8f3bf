"""What each process of the points simulation adds: points by sensor, and processor time.

usage: python -m benchmarks.points_processes [--events N] [--pileup MU] [--seed SEED]

The same events are simulated with the particles of 0.15 GeV and more (photons 0.2 GeV) and Fatras
alone, then with softer ones, and then with one process more after another.
"""

from __future__ import annotations

import argparse
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

HARD = ACCEPTANCE._replace(min_pt=0.15, min_photon_energy=0.2)
"""Particles that reach the strips without turning back before."""
KINDS = {"pixels": (7, 8, 9), "short strips": (12, 13, 14), "long strips": (16, 17, 18)}


def steps() -> dict[str, tuple[Acceptance, Processes]]:
    """Sets of processes; each has one more than the one before."""
    processes = Processes(*[False] * len(Processes._fields))
    sets = {"hard particles": (HARD, processes), "+ soft particles": (ACCEPTANCE, processes)}
    for name in Processes._fields:
        processes = processes._replace(**{name: True})
        sets[f"+ {name}"] = ACCEPTANCE, processes
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--pileup", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    setup = Setup("ttbar", options.pileup, options.events, options.seed)
    print(f"processes, points, of them {', '.join(KINDS)}; particles with points, lost; CPU s")
    with tempfile.TemporaryDirectory() as folder, workers(1) as starmap:
        for name, (acceptance, processes) in steps().items():
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
