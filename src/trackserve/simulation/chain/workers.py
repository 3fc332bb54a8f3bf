"""Many calls on several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with what is being made, how many are there and how many it will be."""
Run = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]


@contextmanager
def workers(n: int) -> Iterator[Run]:
    """Calls a function with each of many arguments on ``n`` processes, in any order.

    A single process is this one. Others are spawned: the threads of ACTS and Numba do
    not survive a fork.
    """
    if n <= 1:
        yield lambda function, arguments: (function(*each) for each in arguments)
        return
    executor = ProcessPoolExecutor(n, multiprocessing.get_context("spawn"))
    try:
        yield lambda function, arguments: (
            future.result()
            for future in as_completed([executor.submit(function, *each) for each in arguments])
        )
    finally:
        executor.shutdown(cancel_futures=True)
