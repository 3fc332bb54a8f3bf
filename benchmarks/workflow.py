"""What the scheduler of jobs costs, and how a job scales: ``python -m benchmarks.workflow``.

Prints the processor time of a module that does nothing, for one and two threads and for work
elsewhere; and how much two threads gain in a job whose modules release the interpreter lock, beside
what they gain with the same loops without a scheduler, in turns. And how long FastJet holds the
lock.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from statistics import median

import numpy as np

from trackserve.studies.machine import cpu_name
from trackserve.workflow import ExternalModule, Job, Module, Schedule, run
from trackserve.workflow.busy import burn, loops_per_second
from trackserve.workflow.objects import TriggerTracks
from trackserve.workflow.select import ClusterJets

_EVENTS = 1000
_MODULES = 15
_ROUNDS = 9
_SECONDS = 0.005
"""Length of a module of the job that scales, s."""
_LOOPS = 4
_EVENTS_THAT_WORK = 5
_TURNS = 40
_JETS = 50


class _Nothing(Module):
    def __init__(self, number: int) -> None:
        self.name = f"module {number}"
        self.outputs = (self.name,)
        self.inputs = (f"module {number - 3}",) if number >= 3 else ("event",)

    def produce(self, product: object) -> None:
        pass


class _Elsewhere(ExternalModule):
    inputs = ("event",)

    def acquire(self, event: object) -> Future[None]:
        answer: Future[None] = Future()
        answer.set_result(None)
        return answer

    def produce(self, answer: None, event: object) -> None:
        pass


class _Loop(Module):
    def __init__(self, number: int, loops: int) -> None:
        self.name = f"loop {number}"
        self.loops = loops
        self.inputs = ("event",)

    def produce(self, event: object) -> None:
        burn(self.loops)


def _cost(job: Job, threads: int) -> float:
    """Processor time of a module, us."""
    start = time.process_time()
    for _ in run(job, range(_EVENTS), Schedule(threads)):
        pass
    return 1e6 * (time.process_time() - start) / _EVENTS / len(job.modules)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _alone(loops: int, n: int, threads: int) -> None:
    """So many loops on some threads, without a scheduler."""
    workers = [
        threading.Thread(target=lambda: [burn(loops) for _ in range(n // threads)])
        for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _scaling() -> None:
    """Print what two threads gain in a job and alone, from rounds in which they take turns."""
    loops = int(_SECONDS * loops_per_second())
    job = Job([_Loop(n, loops) for n in range(_LOOPS)])

    def in_job(threads: int) -> None:
        for _ in run(job, range(_EVENTS_THAT_WORK), Schedule(threads)):
            pass

    def alone(threads: int) -> None:
        _alone(loops, _LOOPS * _EVENTS_THAT_WORK, threads)

    gains, costs = [], []
    for _ in range(_TURNS):
        spent = {way: [_seconds(lambda: way(n)) for n in (1, 2)] for way in (in_job, alone)}  # noqa: B023
        gain = {way: one / two for way, (one, two) in spent.items()}
        gains.append(gain[in_job] / gain[alone])
        costs.append(spent[alone][1] / spent[in_job][1])
    for what, ratios in (("gain", gains), ("speed on two threads", costs)):
        middle = median(ratios)
        error = 1.25 * 1.48 * median(abs(r - middle) for r in ratios) / len(ratios) ** 0.5
        print(f"a job's {what} is {middle:.3f} +- {error:.3f} of the loop's alone")


def _jets(n: int) -> None:
    """Print the time of jets of ``n`` tracks, for which the interpreter lock is held."""
    random = np.random.default_rng(1)
    columns = {name: np.zeros(n, kind.dtype) for name, kind in TriggerTracks.schema().items()}
    columns["pt"] = 0.5 + random.exponential(2.0, n)
    columns["eta"], columns["phi"] = random.uniform(-2.5, 2.5, n), random.uniform(-3, 3, n)
    tracks, module = TriggerTracks(**columns), ClusterJets()
    module.begin()
    spent = [_seconds(lambda: module.produce(tracks)) for _ in range(_JETS)]
    print(f"jets of {n} tracks: {1e3 * median(spent):.2f} ms")


def main() -> None:
    """Print all figures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(cpu_name())
    nothing = Job([_Nothing(n) for n in range(_MODULES)])
    for name, job in {"modules": nothing, "work elsewhere": Job([_Elsewhere()])}.items():
        for threads in (1, 2):
            costs = [_cost(job, threads) for _ in range(_ROUNDS)]
            print(
                f"{name}, {threads} threads: {median(costs):.1f} us of a processor per module, "
                f"at most {max(costs):.1f}"
            )
    for n in (100, 1000):
        _jets(n)
    _scaling()


if __name__ == "__main__":
    main()
