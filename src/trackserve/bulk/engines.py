"""Functions that have a function work on many tasks: on processes here, or on dask's workers.

Each yields the number of a task and what it came to, as tasks end. A function travels by its name,
so it stands in a module. A task whose worker died is given to another one; the function must be
able to go on from what is there.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import trackserve
from trackserve.errors import InputError, MissingExtraError, ServerError, TrackserveError
from trackserve.install import install_command

T = TypeVar("T")
R = TypeVar("R")
Ended = Iterator[tuple[int, R | TrackserveError]]
"""Number of each task in the order of their ends, and its result or error."""

MOST_DEATHS = 3
"""Workers that a task may take down."""
_PR_SET_PDEATHSIG = 1
_CONNECT_TIMEOUT = 30
_spawn = multiprocessing.get_context("spawn")  # threads and compiled code do not survive a fork


def on_processes(run: Callable[[T], R], tasks: Sequence[T], processes: int) -> Ended[R]:
    """Work on processes of this machine; they end with this one.

    Args:
        run: the function.
        tasks: what it gets, one at a time.
        processes: number of processes.
    """
    todo = deque(range(len(tasks)))
    deaths: Counter[int] = Counter()
    workers: list[_Worker] = []
    try:
        while True:
            while todo and len(workers) < processes:
                workers.append(_Worker(run))
            for worker in workers:
                if worker.task is None and todo:
                    worker.give(todo.popleft(), tasks)
            busy = {worker.pipe: worker for worker in workers if worker.task is not None}
            if not busy:
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                number, worker.task = worker.task, None
                assert number is not None
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    worker.end()
                    deaths[number] += 1
                    if deaths[number] < MOST_DEATHS:
                        todo.appendleft(number)
                        continue
                    outcome = TrackserveError("its worker died", times=MOST_DEATHS)
                yield number, outcome
    finally:
        for worker in workers:
            worker.end()


def on_dask(run: Callable[[T], R], tasks: Sequence[T], address: str) -> Ended[R]:
    """Work on the workers of a dask cluster, wherever they are.

    Args:
        run: the function; the workers have this package, of the same version.
        tasks: what it gets. Paths in them are those that the workers see.
        address: of the scheduler, as ``tcp://HOST:8786``, or the path of a scheduler's file.

    Raises:
        MissingExtraError: dask is not installed.
        ServerError: nothing answers at the address.
        InputError: a worker has another version of this package, or none.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingExtraError(
            f"dask is needed: {install_command('dask')}", reason=str(error)
        ) from error
    file = Path(address)
    where = {"scheduler_file": str(file)} if file.is_file() else {"address": address}
    try:
        client = distributed.Client(**where, timeout=_CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ServerError("no scheduler of dask", url=address, reason=str(error)) from error
    with client:
        check_versions(client.run(installed_version, on_error="return"))
        session = token_hex(4)
        futures = {
            client.submit(run, task, key=f"trackserve-{session}-{number}", pure=False): number
            for number, task in enumerate(tasks)
        }
        try:
            for future in distributed.as_completed(futures, loop=client.loop):
                yield futures[future], _of_dask(future)
        finally:
            client.cancel(list(futures))


def installed_version() -> str:
    """Version of this package where the function runs."""
    return trackserve.__version__


def check_versions(found: dict[str, Any]) -> None:
    """Refuse workers of another version, given what each has; an exception where it has none.

    Raises:
        InputError: there is one.
    """
    here = installed_version()
    others = {worker: str(version) for worker, version in found.items() if version != here}
    if others:
        raise InputError("a worker has another trackserve", found=others, bound=here)


def _of_dask(future: Any) -> Any:
    """What a task came to."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, TrackserveError):
        return error
    return TrackserveError(f"its worker failed: {type(error).__name__}: {error}")


class _Worker:
    """A process that works on one task after the other."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.task: int | None = None
        self.pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_work, args=(theirs, run, os.getpid()), daemon=True)
        self._process.start()
        theirs.close()

    def give(self, number: int, tasks: Sequence[Any]) -> None:
        self.task = number
        with suppress(OSError):  # it has died, which the wait for its answer finds
            self.pipe.send(tasks[number])

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _work(pipe: Connection, run: Callable[[Any], Any], parent: int) -> None:
    """Work until the other end is gone. An interrupt of the terminal is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    while os.getppid() == parent:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(run, task))


def _outcome(run: Callable[[Any], Any], task: Any) -> Any:
    try:
        return run(task)
    except TrackserveError as error:
        return error
    except Exception as error:
        return TrackserveError(f"its work failed: {type(error).__name__}: {error}")
