"""Processes that each reconstruct events directly, all at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from trackserve.errors import TrackserveError

from .lab import Lab
from .load import Span, by_threads
from .samples import Sample
from .study import How

_STARTED = 300.0
"""Most seconds for the processes to be ready, and to answer beyond the time that they measure."""


class Workers:
    """Processes that are ready to reconstruct."""

    def __init__(self, connections: list[Connection]) -> None:
        self._connections = connections

    def rate(self, span: Span) -> float:
        """Events per second of all processes together, each with one thread.

        Raises:
            TrackserveError: a process has ended, or does not answer.
        """
        for connection in self._connections:
            connection.send(span)
        return float(sum(_receive(connection, span.seconds) for connection in self._connections))


@contextmanager
def workers(how: How, sample: Sample, n: int) -> Iterator[Workers]:
    """``n`` processes that have read the events of a sample and built a pipeline."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(n)]
    processes = [
        context.Process(target=_work, args=(theirs, how, sample), daemon=True) for _, theirs in ends
    ]
    for process in processes:
        process.start()
    connections = [ours for ours, _ in ends]
    try:
        for connection in connections:
            _receive(connection, 0.0)
        yield Workers(connections)
    finally:
        for connection in connections:
            with suppress(OSError):
                connection.send(None)
        for process in processes:
            process.join(5.0)
            process.kill()


def _receive(connection: Connection, seconds: float) -> Any:
    """What a process sends; it may take ``seconds`` longer than a start does."""
    try:
        if connection.poll(seconds + _STARTED):
            return connection.recv()
    except (EOFError, OSError):
        pass
    raise TrackserveError("a process that reconstructs events does not answer")


def _work(connection: Connection, how: How, sample: Sample) -> None:
    with Lab(how) as lab, suppress(EOFError, KeyboardInterrupt):
        pipeline, events = lab.pipeline(sample), lab.events(sample)
        connection.send("ready")
        while (span := connection.recv()) is not None:
            connection.send(by_threads(pipeline.reconstruct, events, 1, span, {}).rate)
