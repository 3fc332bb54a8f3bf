#!/usr/bin/env python
"""The learned tracker on a CUDA device: the CPU's answer, times of stages and kernels, time per
event by batch size and precision.

usage: benchmarks/gpu_exatrkx.py [EVENTS] [--batches N...] [--precisions P...] [--seconds S]
       benchmarks/gpu_exatrkx.py EVENTS --pack FILE.npz

EVENTS is a directory of space points, or what ``--pack`` made of one, for a machine without
Parquet. Without it events are random: helices through the layers of a tracker, as many points
as with pile-up 200.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu import Stopwatch, cycle, describe_device

from trackserve import ExatrkxPipeline
from trackserve.edm import GRAPH_STAGES, Edges, ExatrkxResult, SpacePoints, TrackerEvent
from trackserve.edm.columns import Array
from trackserve.exatrkx.cuda import CudaExatrkx
from trackserve.exatrkx.model import MODELS, Model, read_description

BARREL = ((32, 72, 116, 172), 500), ((260, 360, 500, 660), 1080), ((820, 1020), 1080)
"""Radii, and half of the length, mm: much like ACTS' GenericDetector."""
DISKS = (600, 700, 820, 960, 1120, 1300, 1500), 30, 176
"""z, least and largest radius."""
OUTER_DISKS = (1250, 1500, 1800, 2150, 2550, 2950), 240, 1000
FIELD = 2.0
"""T."""


def random_event(n_points: int, event: int) -> TrackerEvent:
    """Helices from along the beam, until there are ``n_points``, and a twentieth of noise."""
    random = np.random.default_rng(event)
    n = n_points // 8
    p_t = 0.3 + random.exponential(0.5, n)
    turn = random.choice([-1, 1], n) * 0.3e-3 * FIELD / p_t / 2
    phi, slope = random.uniform(-math.pi, math.pi, n), np.sinh(random.uniform(-3, 3, n))
    z0 = random.normal(0, 50, n)

    def at(angle: Array, rows: Array) -> Array:
        """Half the turn since the beam -> position."""
        r = np.sin(np.abs(angle)) / np.abs(turn[rows])
        along = phi[rows] + angle
        z = z0[rows] + slope[rows] * np.abs(angle / turn[rows])
        return np.stack([r * np.cos(along), r * np.sin(along), z], 1)

    layers = []
    for radii, half in BARREL:
        for radius in radii:
            rows = np.flatnonzero(radius * np.abs(turn) < 1)
            points = at(np.arcsin(radius * turn[rows]), rows)
            layers.append(points[np.abs(points[:, 2]) < half])
    for places, least, most in (DISKS, OUTER_DISKS):
        for z in (*places, *(-z for z in places)):
            length = (z - z0) / slope
            rows = np.flatnonzero((length > 0) & (length * np.abs(turn) < math.pi / 2))
            points = at(length[rows] * turn[rows], rows)
            r = np.hypot(points[:, 0], points[:, 1])
            layers.append(points[(r > least) & (r < most)])
    points = np.concatenate(layers)
    points += random.normal(0, 0.02, points.shape)
    noise = points[random.permutation(len(points))[: len(points) // 20]]
    angle = random.uniform(-math.pi, math.pi, len(noise))
    r = np.hypot(noise[:, 0], noise[:, 1])
    noise = np.stack([r * np.cos(angle), r * np.sin(angle), noise[:, 2]], 1)
    points = random.permutation(np.concatenate([points, noise]))[:n_points]
    return TrackerEvent(SpacePoints(points.astype(np.float32)), event)


def read_events(path: str, n: int) -> list[TrackerEvent]:
    """The first ``n``."""
    if not path.endswith(".npz"):
        from trackserve.io import open_tracker

        return list(open_tracker(path)[:n])
    with np.load(path) as arrays:
        parts = np.split(arrays["position"], arrays["start"][1:-1])
    return [TrackerEvent(SpacePoints(part), e) for e, part in enumerate(parts[:n])]


def pack(events: list[TrackerEvent], path: str) -> None:
    points = [event.points.position for event in events]
    start = np.cumsum([0, *(len(part) for part in points)])
    np.savez_compressed(path, position=np.concatenate(points), start=start)


def shipped_model() -> Model:
    """The model ``default``, read without the package safetensors."""
    folder = MODELS / "default"
    data = (folder / "weights.safetensors").read_bytes()
    first = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, entry in json.loads(data[8:first]).items():
        if name != "__metadata__":
            begin, end = (first + offset for offset in entry["data_offsets"])
            weights[name] = np.frombuffer(data[begin:end], np.float32)
            weights[name] = weights[name].reshape(entry["shape"]).copy()
    return Model(read_description(folder / "model.json"), weights, str(folder))


def pairs_of(edges: Edges) -> dict[tuple[int, int], float]:
    columns = (edges.source.tolist(), edges.target.tolist(), edges.score.tolist())
    return {(s, t): score for s, t, score in zip(*columns, strict=True)}


def check(gpu: ExatrkxPipeline, cpu: ExatrkxPipeline, events: list[TrackerEvent]) -> None:
    """Print how far the device's results are from the CPU's."""
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
            {tuple(result.candidates[i].tolist()) for i in range(len(result.candidates))}
            for result in (mine, theirs)
        )
        totals["candidates"] += len(cpus)
        totals["candidates differ"] += len(cpus - ours)
        totals["more candidates"] += len(ours - cpus)
    for name in GRAPH_STAGES:
        print(f"{name}: {totals[name]:.0f}, not in both {totals[f'{name} differ']:.0f}", end="")
        far = f", of which over 1e-5 from the cut {totals[f'{name} far']:.0f}"
        print("" if name == "radius_edges" else far)
    print(f"candidates: {totals['candidates']:.0f}, not found {totals['candidates differ']:.0f}, "
          f"others found {totals['more candidates']:.0f}")  # fmt: skip


def stage_times(gpu: ExatrkxPipeline, batch: list[TrackerEvent], rounds: int = 5) -> None:
    """Print the least time of each stage, for which the host waits."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        before = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal before
            now = time.perf_counter()
            best[stage] = min(best.get(stage, math.inf), 1e3 * (now - before))
            before = now

        gpu.run_stages(batch, (), lap)
    print(f"\nstages of a batch of {len(batch)}: ms")
    for stage, milliseconds in best.items():
        print(f"{stage:32s} {milliseconds:9.3f}")


def kernel_times(model: Model, batch: list[TrackerEvent], rounds: int = 5) -> None:
    """Print the least time of each of our kernels; PyTorch's are not among them."""
    device = Stopwatch()
    gpu = ExatrkxPipeline(model, "cuda")
    where = torch.device("cuda", torch.cuda.current_device())
    gpu._cuda = CudaExatrkx(model, where, "fp32", gpu.max_edges, device)
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


def milliseconds_per_event(
    gpu: ExatrkxPipeline, batch: list[TrackerEvent], seconds: float
) -> tuple[float, float]:
    """The least and the median of batches, from features on, as a server gives them."""
    features = [gpu.scale(event.points.position) for event in batch]
    numbers = list(range(len(batch)))
    gpu.run_features(features, numbers)
    end, laps = time.perf_counter() + seconds, []
    while time.perf_counter() < end or len(laps) < 3:
        start = time.perf_counter()
        gpu.run_features(features, numbers)
        laps.append(1e3 * (time.perf_counter() - start) / len(batch))
    return min(laps), float(np.median(laps))


def main() -> None:
    parser = argparse.ArgumentParser(description="The learned tracker on a CUDA device.")
    parser.add_argument("events", nargs="?", metavar="EVENTS")
    parser.add_argument("--points", type=int, default=140_000, help="of a random event")
    parser.add_argument("--most", type=int, default=3, help="events to take")
    parser.add_argument("--pack", metavar="FILE.npz", help="write the events, and no more")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 3, 6])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "bf16"])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    options = parser.parse_args()

    if options.events:
        events = read_events(options.events, options.most)
    else:
        events = [random_event(options.points, e) for e in range(options.most)]
    if options.pack:
        return pack(events, options.pack)
    print(f"{describe_device()}, PyTorch {torch.__version__}")
    sizes = [len(event.points) for event in events]
    name = Path(options.events).name if options.events else "random helices"
    print(f"{name}: {len(events)} events of {min(sizes)} to {max(sizes)} points")

    model = shipped_model()
    start = time.perf_counter()
    gpu = ExatrkxPipeline(model, "cuda")
    gpu.warm_up()
    print(f"kernels compiled in {time.perf_counter() - start:.0f} s")
    check(gpu, ExatrkxPipeline(model), events[:2])
    assert gpu._cuda is not None
    device: Any = gpu._cuda.device
    before = device.synchronisations
    gpu.run(events[:1])
    print(f"times the host waits in a batch: {device.synchronisations - before}")
    stage_times(gpu, events[:1])
    kernel_times(model, events[:1])

    print("\nprecision  batch  ms per event: least  median")
    for precision in options.precisions:
        gpu = ExatrkxPipeline(model, "cuda", precision=precision)
        for size in options.batches:
            least, median = milliseconds_per_event(gpu, cycle(events, size), options.seconds)
            print(f"{precision:9s} {size:6d} {least:20.2f} {median:7.2f}", flush=True)


if __name__ == "__main__":
    main()
