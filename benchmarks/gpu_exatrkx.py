"""The learned tracker on a CUDA device: times of stages and kernels, speed.

The speed is measured by model, precision, streams and batch size, with the energy.

usage: python -m benchmarks.gpu_exatrkx [EVENTS] [--device cpu] [--models MODEL...]
       [--precisions P...] [--streams N...] [--batches N...] [--seconds S]

EVENTS is a directory of space points, or a file of :mod:`.points`. By default events are random:
helices through the layers of a tracker, with as many points as a pile-up of 200 has. The last row
is the CPU, with a thread per core. With ``--device cpu`` it is the only row.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time

import torch

from trackserve import ExatrkxPipeline
from trackserve.device.cuda import Device
from trackserve.edm import (
    PointsEvent,
)
from trackserve.trackers.exatrkx.cuda import CudaExatrkx
from trackserve.trackers.exatrkx.model import Model, load_model

from .gpu import Stopwatch, cycle, describe_device, on_all_cores, print_speed, throughput
from .points import RANDOM, describe, read_points


def stage_times(gpu: ExatrkxPipeline, batch: list[PointsEvent], rounds: int = 5) -> None:
    """Print the least time of each stage; the host waits for its end."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        before = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal before
            now = time.perf_counter()
            best[stage] = min(best.get(stage, math.inf), 1e3 * (now - before))
            before = now

        gpu.run(batch, lap=lap)
    print(f"\nstages of a batch of {len(batch)}: ms")
    for stage, milliseconds in best.items():
        print(f"{stage:32s} {milliseconds:9.3f}")


def cuda_stages(model: Model, device: Device | None = None) -> CudaExatrkx:
    where = torch.device("cuda", torch.cuda.current_device())
    return CudaExatrkx(model, where, precision="fp32", device=device)


def kernel_times(model: Model, batch: list[PointsEvent], rounds: int = 5) -> None:
    """Print the least time of each of our kernels; PyTorch's are not among them."""
    device = Stopwatch()
    gpu = cuda_stages(model, device)
    gpu.run(batch)
    device.times()
    best: dict[str, float] = {}
    for _ in range(rounds):
        gpu.run(batch)
        for name, milliseconds in device.times().items():
            best[name] = min(best.get(name, milliseconds), milliseconds)
    print(f"\nkernels of a batch of {len(batch)}, without PyTorch's: ms")
    for name, milliseconds in sorted(best.items(), key=lambda item: -item[1]):
        print(f"{name:32s} {milliseconds:9.3f}")
    print(f"{'all':32s} {sum(best.values()):9.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="The learned tracker on a CUDA device.")
    parser.add_argument("events", nargs="?", default=RANDOM, metavar="EVENTS")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--most", type=int, default=3, help="events to take")
    parser.add_argument("--models", nargs="+", default=["default", "large"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    options = parser.parse_args()

    events = read_points(options.events, options.most)
    print(f"{describe_device(options.device)}, PyTorch {torch.__version__}")
    print(describe(options.events, events))
    model = load_model(options.models[0])
    cpu = ExatrkxPipeline(model)
    header = f"\n{'model, precision':18s} streams batch  events/s  ms/event  ms per batch"

    if options.device == "cuda":
        start = time.perf_counter()
        gpu = ExatrkxPipeline(model, device="cuda")
        gpu.warm_up()
        print(f"kernels compiled or loaded in {time.perf_counter() - start:.0f} s")
        watched = cuda_stages(model)
        watched.run(events[:1])
        print(f"times the host waits in a batch: {watched.device.synchronisations}")
        stage_times(gpu, events[:1])
        kernel_times(model, events[:1])
        print(header)
        for name, precision in itertools.product(options.models, options.precisions):
            model = load_model(name)
            pipelines = [
                ExatrkxPipeline(model, device="cuda", precision=precision)
                for _ in range(max(options.streams))
            ]
            for n, size in itertools.product(options.streams, options.batches):
                runs = [pipeline.run for pipeline in pipelines[:n]]
                speed = throughput(runs, cycle(events, size), options.seconds)
                print(f"{f'{name} {precision}':18s}", end="")
                print_speed(n, size, speed)
    else:
        print(header)
    print(f"{f'{options.models[0]} fp32':18s}", end="")
    print_speed("CPU", 1, on_all_cores(cpu, events[:1], options.seconds))


if __name__ == "__main__":
    main()
