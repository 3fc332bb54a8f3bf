"""What the scheduler of jobs costs, and how a job scales: ``python -m benchmarks.workflow``.

Prints the processor time of a module that does nothing, for one and two threads and for work
elsewhere, and how much two threads gain with modules that release the interpreter lock, beside
two threads of the same loop without a scheduler, in turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from statistics import median

from trackserve.studies.machine import cpu_name
from trackserve.workflow import ExternalModule, Job, Module, Schedule, run
from trackserve.workflow.busy import burn, loops_per_second

_EVENTS = 1000
_MODULES = 15
_ROUNDS = 9
_SECONDS = 0.005
"""Length of a module of the job that scales, s."""


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


def main() -> None:
    """Print all figures."""
    print(cpu_name())
    jobs = {
        "modules": Job([_Nothing(n) for n in range(_MODULES)]),
        "elsewhere": Job([_Elsewhere()]),
    }
    for name, job in jobs.items():
        for threads in (1, 2):
            costs = [_cost(job, threads) for _ in range(_ROUNDS)]
            print(
                f"{name}, {threads} threads: {median(costs):.1f} us of a processor per module, "
                f"at most {max(costs):.1f}"
            )
    loops = int(_SECONDS * loops_per_second())
    job = Job([_Loop(n, loops) for n in range(10)])
    events = 20

    def in_job(threads: int) -> None:
        for _ in run(job, range(events), Schedule(threads)):
            pass

    def alone(threads: int) -> None:
        n = 10 * events // threads
        workers = [
            threading.Thread(target=lambda: [burn(loops) for _ in range(n)]) for _ in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    gains = []
    for _ in range(_ROUNDS):
        spent = {
            (way, n): _seconds(lambda way=way, n=n: way(n))
            for n in (1, 2)
            for way in (in_job, alone)
        }
        gain = {way: spent[way, 1] / spent[way, 2] for way in (in_job, alone)}
        gains.append(gain)
        print(
            f"two threads gain {gain[in_job]:.3f} in a job, {gain[alone]:.3f} alone; two threads "
            f"of the job make {spent[alone, 2] / spent[in_job, 2]:.3f} of two alone"
        )
    ratio = median(gain[in_job] / gain[alone] for gain in gains)
    print(f"a job's gain is {ratio:.3f} of the pure loop's (median of {_ROUNDS} rounds)")


if __name__ == "__main__":
    main()
