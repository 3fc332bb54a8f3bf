"""The learned tracker on a CUDA device: throughput by model, precision, streams and batch size.

usage: python -m benchmarks.gpu_exatrkx [EVENTS] [--device cpu] [--models MODEL...]
       [--precisions P...] [--streams N...] [--batches N...] [--seconds S]

EVENTS is a directory of space points, or a file of :mod:`.points`. By default events are random:
helices through the layers of a tracker, with as many points as a pile-up of 200 has. With
``--device cpu`` there is a row for each model: the CPU, with a thread per core.
"""

from __future__ import annotations

import argparse
import itertools

import torch

from trackserve import ExatrkxPipeline
from trackserve.trackers.exatrkx.model import load_model

from .gpu import cycle, describe_device, on_all_cores, print_speed, throughput
from .points import RANDOM, describe, events_for, read_points


def main() -> None:
    parser = argparse.ArgumentParser(description="The learned tracker on a CUDA device.")
    parser.add_argument("events", nargs="?", default=RANDOM, metavar="EVENTS")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--most", type=int, default=3, help="events to take")
    parser.add_argument("--models", nargs="+", default=["default"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16"])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement")
    options = parser.parse_args()

    events = read_points(options.events, options.most)
    print(f"{describe_device(options.device)}, PyTorch {torch.__version__}")
    print(describe(options.events, events))
    print(f"\n{'model, precision':18s} streams batch  events/s  ms/event  ms per batch")
    for name in options.models:
        model = load_model(name)
        own = events_for(model, events)
        if options.device == "cpu":
            print(f"{f'{name} fp32':18s}", end="")
            print_speed("CPU", 1, on_all_cores(ExatrkxPipeline(model), own[:1], options.seconds))
            continue
        for precision in options.precisions:
            pipelines = [
                ExatrkxPipeline(model, device="cuda", precision=precision)
                for _ in range(max(options.streams))
            ]
            for n, size in itertools.product(options.streams, options.batches):
                runs = [pipeline.run for pipeline in pipelines[:n]]
                speed = throughput(runs, cycle(own, size), options.seconds)
                print(f"{f'{name} {precision}':18s}", end="")
                print_speed(n, size, speed)


if __name__ == "__main__":
    main()
