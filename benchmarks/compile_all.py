"""Compile both pipelines for the CPU and a device at the same time, into Numba's cache.

Patatrack is compiled in every configuration.

usage: python -m benchmarks.compile_all DIR [--device cpu]

DIR is a pixel data directory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from trackserve import ExatrkxPipeline, PatatrackPipeline
from trackserve.io import read_events
from trackserve.trackers.patatrack.config import CONFIGS
from trackserve.trackers.patatrack.result import PatatrackResult

ONE = "--one"


def compile_one(tracker: str, device: str, path: str) -> None:
    start = time.perf_counter()
    if tracker == "patatrack":
        event = next(read_events(path))
        for config in CONFIGS.values():
            pipeline = PatatrackPipeline.from_directory(path, config, device=device)
            pipeline.run([event], list(PatatrackResult.intermediates()))
    else:
        ExatrkxPipeline.from_model("default", device=device).warm_up()
    print(f"{tracker} on {device}: {time.perf_counter() - start:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", metavar="DIR")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options = parser.parse_args()
    program = (sys.executable, "-m", "benchmarks.compile_all")
    processes = [
        subprocess.Popen([*program, ONE, tracker, device, options.path])
        for tracker in ("patatrack", "exatrkx")
        for device in sorted({"cpu", options.device})
    ]
    return max(process.wait() for process in processes)


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE]:
        compile_one(*sys.argv[2:])
    else:
        sys.exit(main())
