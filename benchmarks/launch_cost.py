"""Time that Python takes to prepare the arguments of a launch: Numba's way and ours.

usage: python -m benchmarks.launch_cost [--arrays N]

No GPU is needed: the arrays are fake. The time of the driver is the same in both ways.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.cuda.dispatcher import _Kernel
from numba.cuda.typing.typeof import Purpose, typeof

from trackserve.device.launch import flatten
from trackserve.studies.machine import cpu_name

from .fake_arrays import fake_array


def least(call: Callable[[], Any], n: int = 200, rounds: int = 7) -> float:
    """Least microseconds of a call, of the means of some rounds."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(n):
            call()
        seconds.append((time.perf_counter() - start) / n)
    return 1e6 * min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of preparing a launch.")
    parser.add_argument("--arrays", type=int, default=20)
    n = parser.parse_args().arrays
    arguments = (tuple(fake_array((100, 3), np.float32) for _ in range(n)), 100)
    kernel = _Kernel.__new__(_Kernel)
    kernel.extensions = ()

    def prepare() -> None:
        parameters: list[Any] = []
        for value in arguments:
            kernel._prepare_args(typeof(value, Purpose.argument), value, 0, [], parameters)

    print(cpu_name())
    numba, ours = least(prepare), least(lambda: flatten(arguments))
    print(f"{n} arrays: Numba {numba:.1f} us, ours {ours:.1f} us, {numba / ours:.0f} times")


if __name__ == "__main__":
    main()
