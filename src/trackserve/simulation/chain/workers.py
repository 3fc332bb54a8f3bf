"""Many calls on several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called with what is being made, how many are there and how many it will be."""
StarMap = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], Iterator[Any]]
"""Calls a function with each tuple of arguments; gives the results in any order."""


@contextmanager
def workers(n: int) -> Iterator[StarMap]:
    """A function that makes many calls, on ``n`` processes.

    A single process is this one. Other processes are spawned: the threads of ACTS and Numba
    do not survive a fork.
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
