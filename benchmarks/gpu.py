"""Patatrack on a CUDA device: throughput by batch size and streams, energy.

usage: python -m benchmarks.gpu DIR [--device cpu] [--batches N...] [--streams N...] [--seconds S]

DIR is a pixel data directory; its events are taken in turn. A stream is a pipeline with its own
memory and its own Python thread, so that the copies of one stream overlap the kernels of another.
With ``--device cpu`` the only row is the CPU, with a thread per core.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numba_cuda
import numpy as np
from numba import cuda

from trackserve import PatatrackPipeline
from trackserve.errors import EventError
from trackserve.io import read_conditions, read_events
from trackserve.studies.machine import cpu_name
from trackserve.studies.meter import Meter, Usage
from trackserve.trackers.patatrack.config import DEFAULT
from trackserve.trackers.patatrack.cuda import CudaPatatrack
from trackserve.trackers.patatrack.result import PatatrackResult


class Speed(NamedTuple):
    """Speed in one measurement.

    Attributes:
        rate: events per second, added up over the threads.
        lap: median seconds of a batch.
        usage: utilisation and energy.
    """

    rate: float
    lap: float
    usage: Usage


def describe_device(device: str) -> str:
    if device == "cpu":
        name = cpu_name()
    else:
        gpu = cuda.get_current_device()
        name = gpu.name if isinstance(gpu.name, str) else gpu.name.decode()
        name += f", cc {'.'.join(map(str, gpu.compute_capability))}"
    versions = f"Python {platform.python_version()}, numpy {np.__version__}"
    return (f"{name}; {versions}, numba {numba.__version__}, "
            f"numba-cuda {numba_cuda.__version__}")  # fmt: skip


def cycle(events: list[Any], n: int) -> list[Any]:
    return list(itertools.islice(itertools.cycle(events), n))


def throughput(
    runs: Sequence[Callable[[list[Any]], Any]], batch: list[Any], seconds: float
) -> Speed:
    """Speed of ``runs`` on a batch, for some seconds; each of them has a thread, and runs once at
    least.

    Raises:
        EventError: of an event that is not reconstructed.
    """
    for run in dict.fromkeys(runs):
        for outcome in run(batch):
            if isinstance(outcome, EventError):
                raise outcome
    laps: list[float] = []

    def work(run: Callable[[list[Any]], Any]) -> float:
        begin, n = time.perf_counter(), 0
        now = begin
        while n == 0 or now < end:
            start = now
            run(batch)
            now = time.perf_counter()
            laps.append(now - start)
            n += len(batch)
        return n / (now - begin)

    with ThreadPoolExecutor(len(runs)) as pool, Meter() as meter:
        end = time.perf_counter() + seconds
        rate = sum(pool.map(work, runs))
    return Speed(rate, float(np.median(laps)), meter.usage)


def on_all_cores(pipeline: Any, events: list[Any], seconds: float) -> Speed:
    """Speed of a pipeline on the CPU, with a thread per core."""
    return throughput([pipeline.run] * len(os.sched_getaffinity(0)), events, seconds)


def print_speed(streams: int | str, size: int, speed: Speed) -> None:
    rate, lap, usage = speed
    print(f"{streams!s:>8} {size:5d} {rate:9.1f} {1e3 / rate:9.3f} {1e3 * lap:13.2f}  "
          f"{usage.describe(rate * usage.seconds)}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Patatrack on a CUDA device.")
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64, 128, 256])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    options = parser.parse_args()

    print(describe_device(options.device))
    events = list(read_events(options.directory))
    conditions = read_conditions(options.directory)
    size = np.mean([len(event.data) for event in events])
    print(f"{Path(options.directory).name}: {len(events)} events of {size / 1e3:.0f} kB")
    with Meter() as idle:
        time.sleep(1.0)
    print(f"idle: {idle.usage.describe()}")
    header = "\n streams batch  events/s  ms/event  ms per batch"

    if options.device == "cuda":
        start = time.perf_counter()
        pipelines = [
            PatatrackPipeline(conditions, DEFAULT, device="cuda")
            for _ in range(max(options.streams))
        ]
        pipelines[0].run(events, list(PatatrackResult.intermediates()))
        print(f"kernels compiled or loaded in {time.perf_counter() - start:.0f} s")
        watched = CudaPatatrack(conditions, DEFAULT)
        watched.run(events)
        before = watched.device.synchronisations
        watched.run(events)
        print(f"times the host waits in a batch: {watched.device.synchronisations - before}")
        print(f"kernels that are launched past Numba: {watched.device.past_numba}")
        print(header)
        for n in options.streams:
            for size in options.batches:
                runs = [pipeline.run for pipeline in pipelines[:n]]
                print_speed(n, size, throughput(runs, cycle(events, size), options.seconds))
    else:
        print(header)
        cpu = PatatrackPipeline(conditions, DEFAULT)
        print_speed("CPU", len(events), on_all_cores(cpu, events, options.seconds))


if __name__ == "__main__":
    main()
