"""What each process of the pixel simulation adds: words and hits per layer, and processor time.

usage: python -m benchmarks.simulation_processes [--events N] [--pileup MU] [--seed SEED]

The same events are simulated without the processes, with one more after another, and with all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from trackserve import PatatrackPipeline
from trackserve.detectors.phase1.geometry import phase1_geometry
from trackserve.edm import RawEvent
from trackserve.errors import EventError
from trackserve.simulation.chain import pool
from trackserve.simulation.chain.collisions import Setup
from trackserve.simulation.chain.run import silent
from trackserve.simulation.chain.workers import workers
from trackserve.simulation.pixel.conditions import make_conditions
from trackserve.simulation.pixel.flight import Processes
from trackserve.simulation.pixel.simulator import ACCEPTANCE, PixelSimulator


def steps(kind: Any) -> dict[str, Any]:
    """Sets of processes, of this class of flags; each has one more than the one before."""
    processes = kind(*[False] * len(kind._fields))
    sets = {"none": processes}
    for name in kind._fields:
        processes = processes._replace(**{name: True})
        sets[f"+ {name}"] = processes
    return sets


def read_options(description: str | None, events: int, pileup: float) -> argparse.Namespace:
    """The options of the command line, with these defaults."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=events)
    parser.add_argument("--pileup", type=float, default=pileup)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    options = read_options(__doc__, 20, 50.0)
    setup = Setup("ttbar", options.pileup, options.events, options.seed)
    geometry = phase1_geometry()
    pipeline = PatatrackPipeline(make_conditions(geometry, setup.seed), "reference")
    print("processes, words, modules, hits by layer (BPix 1 to 4, FPix +1 to -3), hits, CPU s")
    with tempfile.TemporaryDirectory() as folder, workers(1) as starmap:
        cache = Path(folder)
        pool.fill(cache, setup, ACCEPTANCE, range(options.events), starmap, silent)
        for name, processes in steps(Processes).items():
            simulator = PixelSimulator(setup, cache, processes)
            simulator.simulate(0)  # compiles
            rows, layers, seconds = [], np.zeros(10), 0.0
            for number in range(options.events):
                start = time.process_time()
                event = simulator.simulate(number)
                seconds += time.process_time() - start
                (result,) = pipeline.run([RawEvent(event.raw)], keep=("hits",))
                assert not isinstance(result, EventError)
                assert result.hits is not None
                layers += np.bincount(geometry.layer[result.hits.module], minlength=10)
                rows.append((result.counts.words, result.counts.modules))
            words, modules = np.mean(rows, axis=0)
            each = layers / options.events
            print(
                f"{name:16} {words:7.0f} {modules:5.0f}  {' '.join(f'{n:5.0f}' for n in each)}  "
                f"{each.sum():6.0f}  {seconds / options.events:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
