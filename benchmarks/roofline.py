"""Time of each stage beside its floor: the time that its bytes and operations alone would take.

usage: python -m benchmarks.roofline patatrack DIR [--device cuda] [--rounds N]
       python -m benchmarks.roofline exatrkx EVENTS [--model MODEL] [--device cuda] [--events N]

EVENTS is as :mod:`.points` reads them. Patatrack on a device is a batch of 64 events, and its times
are those of the kernels, by the module that they are in.

Bytes are those of the nouns that a stage reads and writes, once each. Networks also read and write
the states of nodes and edges in every step. Bytes that a cache could hold (weights, tables, the
states of an edge's points) do not count. Operations are the multiplications and additions of the
networks; the first layer on edges is counted once for each node. The rates of the machine are
measured: the best matrix product and the best copy of PyTorch, on one thread of a CPU or on the
device. On a CPU all times are the processor's, so other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from trackserve import ExatrkxPipeline, PatatrackPipeline
from trackserve.edm import (
    RawEvent,
)
from trackserve.edm.columns import Columns
from trackserve.io import read_conditions, read_events
from trackserve.studies.machine import cpu_name
from trackserve.studies.throughput import stage_times
from trackserve.trackers.exatrkx.architecture import InteractionGnn, Perceptron, perceptrons_of
from trackserve.trackers.exatrkx.model import Description
from trackserve.trackers.exatrkx.result import ExatrkxResult
from trackserve.trackers.patatrack.result import PatatrackResult

from .points import read_points

FLOAT = 4
BATCH = 64
MODULES = {
    "unpack": "unpack",
    "calibrate": "calibrate",
    "clusterize": "clusters",
    "hits": "hits",
    "doublets": "phi order, doublets",
    "connect": "connection, fishbone",
    "ntuplets": "ntuplets",
    "fit": "fit",
    "resolve": "selection",
    "select": "selection",
    "tracks": "selection",
    "mixture": "vertices",
    "vertices": "vertices",
}
"""Module of a kernel of Patatrack -> the stages that it is part of."""
OTHER = "scans and the rest"


class Work(NamedTuple):
    """Bytes and operations of one event in one stage."""

    bytes: float
    operations: float = 0.0


class Rates(NamedTuple):
    """Bytes that a machine copies per second, and operations that it does per second."""

    name: str
    bytes: float
    operations: float


def measured_rates(device: str) -> Rates:
    torch.set_num_threads(1)
    on_cpu = device == "cpu"
    size, n = (2048, 1 << 26) if on_cpu else (8192, 1 << 28)
    a, source = torch.ones((size, size), device=device), torch.ones(n, device=device)
    product, target = torch.empty_like(a), torch.empty_like(source)
    wait = (lambda: None) if on_cpu else torch.cuda.synchronize
    clock = clock_of(device)
    return Rates(
        cpu_name() if on_cpu else torch.cuda.get_device_name(device),
        2 * FLOAT * n / least(lambda: target.copy_(source), wait, clock=clock),
        2 * size**3 / least(lambda: torch.mm(a, a, out=product), wait, clock=clock),
    )


def clock_of(device: str) -> Callable[[], float]:
    """The clock of work on a device; on a CPU it stands still while other work runs."""
    return time.thread_time if device == "cpu" else time.perf_counter


def least(
    call: Callable[[], Any],
    wait: Callable[[], Any],
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Least seconds of a call, with the wait for its end."""
    seconds = []
    for _ in range(rounds):
        start = clock()
        call()
        wait()
        seconds.append(clock() - start)
    return min(seconds)


def size_of(*nouns: Columns | None) -> int:
    return sum(a.nbytes for noun in nouns if noun is not None for a in noun.columns().values())


def patatrack_work(words: int, result: PatatrackResult) -> dict[str, Work]:
    """Bytes of each stage; operations are not counted, since they depend on the data."""
    digis, clusters, hits = (size_of(n) for n in (result.digis, result.clusters, result.hits))
    doublets, ntuplets = size_of(result.doublets), size_of(result.ntuplets)
    tracks, vertices = size_of(result.tracks), size_of(result.vertices)
    return {
        "unpack": Work(words + digis),
        "calibrate": Work(2 * digis),
        "clusters": Work(digis + clusters),
        "hits": Work(clusters + hits),
        "phi order": Work(2 * hits),
        "doublets": Work(hits + doublets),
        "connection": Work(hits + 2 * doublets),
        "fishbone": Work(doublets),
        "ntuplets": Work(doublets + ntuplets),
        "fit": Work(hits + 2 * ntuplets),
        "selection": Work(ntuplets + tracks),
        "vertices": Work(2 * tracks + vertices),
    }


def products(p: Perceptron, first: int = 0) -> int:
    """Number of multiplications of a row in layer ``first`` and those after it."""
    widths = [p.inputs, *p.widths, *([] if p.output is None else [p.output])]
    return sum(a * b for a, b in list(itertools.pairwise(widths))[first:])


def on_edges(p: Perceptron, own: int, nodes: float, edges: float) -> float:
    """Number of multiplications on edges; the last ``own`` inputs are the edge's, others nodes'."""
    width = p.widths[0]
    return nodes * (p.inputs - own) * width + edges * (own * width + products(p, 1))


def exatrkx_work(description: Description, result: ExatrkxResult) -> dict[str, Work]:
    counts = result.counts
    n, near, kept = counts.points, counts.radius_edges, counts.filter_edges
    gnn, own = description.gnn, len(description.filter.edge_inputs)
    if not isinstance(gnn, InteractionGnn):
        raise SystemExit("counted are the operations of interaction networks only")
    parts = perceptrons_of(gnn)
    h, coordinates = gnn.hidden, description.embedding.dimensions
    steps = range(gnn.steps)
    graph = n * products(parts["node_encoder"]) + on_edges(
        parts["edge_encoder"], len(gnn.edge_inputs), n, kept
    )
    for step in (0 if gnn.shared else i for i in steps):
        graph += on_edges(parts[f"edge.{step}"], h, n, kept) + n * products(parts[f"node.{step}"])
    graph += on_edges(parts["head"], h, n, kept)
    edge, features = 2 * FLOAT, 3 * FLOAT
    embed = products(perceptrons_of(description.embedding)["mlp"])
    judge = on_edges(perceptrons_of(description.filter)["mlp"], own, n, near)
    states = len(steps) * (2 * kept + 4 * n) * h * FLOAT
    return {
        "features": Work(2 * n * features),
        "embedding": Work(n * (features + coordinates * FLOAT), 2 * n * embed),
        "radius": Work(n * coordinates * FLOAT + near * edge),
        "filter": Work(near * edge + kept * edge, 2 * judge),
        "gnn": Work(kept * edge + states, 2 * graph),
        "components": Work(counts.track_edges * (edge + FLOAT) + n * 2 * FLOAT),
        "finish": Work(n * (features + FLOAT)),
    }


def report(rates: Rates, works: list[dict[str, Work]], seconds: dict[str, float]) -> None:
    copies, products = 1e-9 * rates.bytes, 1e-9 * rates.operations
    print(f"{rates.name}: copies {copies:.1f} GB/s, fp32 products {products:.0f} GFLOP/s")
    print(f"means of {len(works)} events")
    print(f"{'stage':21} {'MB':>9} {'GFLOP':>9} {'floor, ms':>10} {'ms':>9} {'floor / ms':>11}")
    total = [0.0] * 4
    for stage, spent in seconds.items():
        moved = sum(w[stage].bytes for w in works) / len(works)
        done = sum(w[stage].operations for w in works) / len(works)
        floor = max(moved / rates.bytes, done / rates.operations)
        total = [a + b for a, b in zip(total, (moved, done, floor, spent), strict=True)]
        print_row(stage, moved, done, floor, spent)
    print_row("all", *total)


def print_row(name: str, moved: float, done: float, floor: float, spent: float) -> None:
    print(f"{name:21} {1e-6 * moved:9.3f} {1e-9 * done:9.3f} {1e3 * floor:10.3f} "
          f"{1e3 * spent:9.3f} {floor / spent if spent else 0:11.2f}")  # fmt: skip


def run_patatrack(path: str, device: str, rounds: int) -> None:
    pipeline, events = PatatrackPipeline.from_directory(path), list(read_events(path))
    results = [
        pipeline.reconstruct(event, list(PatatrackResult.intermediates())) for event in events
    ]
    pairs = zip(events, results, strict=True)
    works = [patatrack_work(event.data.nbytes, result) for event, result in pairs]
    if device != "cpu":
        seconds, whole = kernel_seconds(path, events, rounds)
        report(measured_rates(device), [by_module(work) for work in works], seconds)
        print(f"a batch of {BATCH}, copies and the host's part included: {1e3 * whole:.3f} ms "
              f"per event")  # fmt: skip
        return
    seconds = stage_times(pipeline, events, rounds, clock=clock_of("cpu"))
    report(measured_rates("cpu"), works, seconds)


def by_module(work: dict[str, Work]) -> dict[str, Work]:
    """The work of stages whose kernels are in one module, added up."""
    found = {
        stages: Work(sum(work[stage].bytes for stage in stages.split(", ")))
        for stages in MODULES.values()
    }
    return found | {OTHER: Work(0.0)}


def kernel_seconds(
    path: str, events: list[RawEvent], rounds: int
) -> tuple[dict[str, float], float]:
    """Seconds of an event in a batch on a CUDA device: by stages, and in all."""
    from trackserve.trackers.patatrack.config import DEFAULT
    from trackserve.trackers.patatrack.cuda import CudaPatatrack

    from .gpu import cycle
    from .gpu_kernels import Stopwatch

    conditions, batch = read_conditions(path), cycle(events, BATCH)
    device = Stopwatch()
    watched = CudaPatatrack(conditions, DEFAULT, device)
    best: dict[str, float] = {}
    for _ in range(rounds + 1):
        watched.run(batch)
        for name, milliseconds in device.times().items():
            best[name] = min(best.get(name, milliseconds), milliseconds)
    seconds: dict[str, float] = defaultdict(float, dict.fromkeys(MODULES.values(), 0.0))
    for name, milliseconds in best.items():
        seconds[MODULES.get(name.split(".")[0], OTHER)] += 1e-3 * milliseconds / BATCH
    pipeline = CudaPatatrack(conditions, DEFAULT)
    pipeline.run(batch)
    return dict(seconds), least(lambda: pipeline.run(batch), lambda: None, rounds) / BATCH


def run_exatrkx(path: str, model: str, device: str, n_events: int, rounds: int) -> None:
    pipeline = ExatrkxPipeline.from_model(model, device=device)
    events = read_points(path, n_events)
    works = [
        exatrkx_work(pipeline.model.description, pipeline.reconstruct(event)) for event in events
    ]
    seconds = stage_times(pipeline, events, rounds, clock=clock_of(device))
    report(measured_rates(device), works, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="A pipeline's stages and their floors.")
    parser.add_argument("pipeline", choices=["patatrack", "exatrkx"])
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--model", default="default")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--events", type=int, default=5, help="of exatrkx, at most")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.pipeline == "patatrack":
        run_patatrack(options.path, options.device, options.rounds)
    else:
        run_exatrkx(options.path, options.model, options.device, options.events, options.rounds)


if __name__ == "__main__":
    main()
