"""The learned tracker on a CUDA device: the CPU's answer, times of stages and kernels, speed.

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
from collections import defaultdict

import torch

from trackserve import ExatrkxPipeline
from trackserve.device.cuda import Device
from trackserve.edm import (
    Edges,
    PointsEvent,
)
from trackserve.trackers.exatrkx.cuda import CudaExatrkx
from trackserve.trackers.exatrkx.model import Model, load_model
from trackserve.trackers.exatrkx.result import GRAPH_STAGES, ExatrkxResult

from .gpu import Stopwatch, cycle, describe_device, on_all_cores, print_speed, throughput
from .points import RANDOM, describe, read_points


def pairs_of(edges: Edges) -> dict[tuple[int, int], float]:
    columns = (edges.source.tolist(), edges.target.tolist(), edges.score.tolist())
    return {(s, t): score for s, t, score in zip(*columns, strict=True)}


def check(gpu: ExatrkxPipeline, cpu: ExatrkxPipeline, events: list[PointsEvent]) -> None:
    """Print the differences between the results of the device and of the CPU."""
    cuts = cpu.model.description.cuts
    totals: dict[str, float] = defaultdict(float)
    found, expected = gpu.run(events, GRAPH_STAGES), cpu.run(events, GRAPH_STAGES)
    for mine, theirs in zip(found, expected, strict=True):
        assert isinstance(mine, ExatrkxResult), mine
        assert isinstance(theirs, ExatrkxResult), theirs
        for name in GRAPH_STAGES:
            ours, cpus = pairs_of(getattr(mine, name)), pairs_of(getattr(theirs, name))
            cut = {"filter_edges": cuts.filter, "track_edges": cuts.edge}.get(name, math.nan)
            differ = ours.keys() ^ cpus.keys()
            totals[name] += len(cpus)
            totals[f"{name} differ"] += len(differ)
            either = ours | cpus
            scores = (either[pair] for pair in differ)
            totals[f"{name} far"] += sum(abs(score - cut) > 1e-5 for score in scores)
        ours, cpus = (
            {tuple(result.candidates.points[i].tolist()) for i in range(len(result.candidates))}
            for result in (mine, theirs)
        )
        totals["candidates"] += len(cpus)
        totals["candidates differ"] += len(cpus - ours)
        totals["more candidates"] += len(ours - cpus)
    for name in GRAPH_STAGES:
        print(f"{name}: {totals[name]:.0f}, not in both {totals[f'{name} differ']:.0f}", end="")
        far = f", of which over 1e-5 from the cut {totals[f'{name} far']:.0f}"
        print("" if name == "radius_edges" else far)
    again = gpu.run(events, GRAPH_STAGES)
    alone = [gpu.reconstruct(event, GRAPH_STAGES) for event in events]
    for text, others in (("once more", again), ("alone", alone)):
        same = sum(a == b for a, b in zip(found, others, strict=True))
        print(f"events with the same bits {text}: {same} of {len(events)}")
    print(f"candidates: {totals['candidates']:.0f}, not found {totals['candidates differ']:.0f}, "
          f"others found {totals['more candidates']:.0f}")  # fmt: skip


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
        check(gpu, cpu, events[:2])
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
