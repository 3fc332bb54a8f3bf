"""A batch on a CUDA device: the time of each kernel, of each stage, and of packing beside them.

usage: python -m benchmarks.gpu_kernels patatrack DIR [--device cpu] [--batch N]
       python -m benchmarks.gpu_kernels exatrkx EVENTS [--models MODEL...] [...]

DIR is a pixel data directory; EVENTS is as :mod:`.points` reads them. PyTorch's kernels are not
among those of the learned tracker, but its stages have them. Packing is what a server and its
client do beside the kernels: an event and its result become bytes and come back. With ``--device
cpu`` there are stages and packing alone.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from numba import cuda

from trackserve import ExatrkxPipeline, PatatrackPipeline
from trackserve.device.cuda import Device
from trackserve.errors import EventError
from trackserve.io import read_conditions
from trackserve.trackers.exatrkx.cuda import CudaExatrkx
from trackserve.trackers.exatrkx.model import load_model
from trackserve.trackers.patatrack.config import DEFAULT
from trackserve.trackers.patatrack.cuda import CudaPatatrack
from trackserve.trackers.registry import find_tracker

from .gpu import cycle, describe_device
from .load import events_of
from .points import events_for


class Stopwatch(Device):
    """A device that notes how long each kernel takes."""

    def __init__(self) -> None:
        super().__init__()
        self.laps: list[tuple[str, Any, Any]] = []

    def launch_blocks(self, kernel: Any, n: int, *arguments: Any) -> None:
        before, after = cuda.event(), cuda.event()
        before.record(self._stream)
        super().launch_blocks(kernel, n, *arguments)
        after.record(self._stream)
        module = kernel.py_func.__module__.rpartition(".")[2]
        self.laps.append((f"{module}.{kernel.py_func.__name__.lstrip('_')}", before, after))

    def times(self) -> dict[str, float]:
        """Milliseconds by kernel since the last call."""
        found: dict[str, float] = defaultdict(float)
        for name, before, after in self.laps:
            found[name] += cuda.event_elapsed_time(before, after)
        self.laps.clear()
        return dict(found)


def print_times(title: str, best: dict[str, float], shares: bool = False) -> None:
    """Print milliseconds by name, and their sum."""
    total = sum(best.values())
    print(f"\n{title}: ms")
    for name, ms in best.items():
        print(f"{name:32s} {ms:9.3f}{f' {ms / total:6.1%}' if shares else ''}")
    print(f"{'all':32s} {total:9.3f}", flush=True)


def least(found: dict[str, float], best: dict[str, float]) -> None:
    """Keep the least time of each name in ``best``."""
    for name, ms in found.items():
        best[name] = min(best.get(name, math.inf), ms)


def print_kernels(run: Callable[[list[Any]], Any], device: Stopwatch, batch: list[Any]) -> None:
    """Print the least time of each kernel; the first round is for compilation and memory."""
    best: dict[str, float] = {}
    for number in range(6):
        run(batch)
        found = device.times()
        if number:
            least(found, best)
    ordered = dict(sorted(best.items(), key=lambda item: -item[1]))
    print_times(f"kernels of a batch of {len(batch)}", ordered, shares=True)


def print_stages(pipeline: Any, batch: list[Any]) -> None:
    """Print the least time of each stage; the host waits for its end."""
    best: dict[str, float] = {}
    for _ in range(3):
        found: dict[str, float] = defaultdict(float)
        before = time.perf_counter()

        def lap(stage: str, found: dict[str, float] = found) -> None:
            nonlocal before
            now = time.perf_counter()
            found[stage] += 1e3 * (now - before)
            before = now

        pipeline.run(batch, lap=lap)
        least(found, best)
    print_times(f"stages of a batch of {len(batch)}", best)


def print_packing(tracker: Any, pipeline: Any, batch: list[Any]) -> None:
    """Print the least time of an event in the batch, and of packing it, on one thread.

    Raises:
        EventError: of an event that is not reconstructed.
    """
    codec = tracker.codec
    start = time.perf_counter()
    results = pipeline.run(batch)
    best = {"in a batch": 1e3 * (time.perf_counter() - start) / len(batch)}
    for event, result in list(zip(batch, results, strict=True))[:8]:
        if isinstance(result, EventError):
            raise result
        marks = [time.perf_counter()]
        tensors = codec.encode_event(event)
        marks.append(time.perf_counter())
        codec.decode_event(tensors)
        marks.append(time.perf_counter())
        outputs = codec.encode_result(result, codec.output_names())
        marks.append(time.perf_counter())
        codec.decode_result(outputs, event.event, ())
        marks.append(time.perf_counter())
        names = ("encode event", "decode event", "encode result", "decode result")
        spent = [1e3 * (b - a) for a, b in itertools.pairwise(marks)]
        least(dict(zip(names, spent, strict=True)), best)
    print_times("an event in the batch, and its packing on one thread", best)
    inside, *packing = best.values()
    print(f"packing / pipeline: {sum(packing) / inside:.3f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tracker", choices=["patatrack", "exatrkx"])
    parser.add_argument("path", metavar="DIR|EVENTS")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--models", nargs="+", default=["default"], help="of exatrkx")
    parser.add_argument("--events", type=int, default=10, help="to take, at most")
    parser.add_argument("--batch", type=int, help="events; by default 64, of exatrkx 1")
    options = parser.parse_args()

    print(describe_device(options.device))
    tracker = find_tracker(options.tracker)
    events = events_of(options.tracker, options.path, options.events)
    on_cpu = options.device == "cpu"
    watch = None if on_cpu else Stopwatch()
    if options.tracker == "patatrack":
        conditions = read_conditions(options.path)
        batch = cycle(events, options.batch or 64)
        if watch is not None:
            print_kernels(CudaPatatrack(conditions, DEFAULT, watch).run, watch, batch)
        pipeline = PatatrackPipeline(conditions, DEFAULT, device=options.device)
        print_stages(pipeline, batch)
        print_packing(tracker, pipeline, batch)
        return
    for name in options.models:
        print(f"\nmodel {name}")
        model = load_model(name)
        batch = cycle(events_for(model, events), options.batch or 1)
        if watch is not None:
            where = torch.device("cuda", torch.cuda.current_device())
            direct = CudaExatrkx(model, where, precision="fp32", device=watch)
            print_kernels(direct.run, watch, batch)
            print(f"times the host waits in all batches: {watch.synchronisations}")
        learned = ExatrkxPipeline(model, device=options.device)
        print_stages(learned, batch)
        print_packing(tracker, learned, batch)


if __name__ == "__main__":
    main()
