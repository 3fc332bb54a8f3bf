"""Modules that stand for the rest of an event's work: they keep a processor busy for a given time.

The work is a compiled loop of integer operations that each need the one before, without the
interpreter lock. Its number of rounds follows from the time and the speed of this machine, so an
event is the same work whenever it comes, and whatever else runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache
from typing import Any

from trackserve.device.compile import kernel, u64

from .job import EVENT
from .module import Module
from .times import Times

_ROUNDS = 7
_LOOPS = 1_000_000


@kernel
def _xorshift(loops: int, state: int) -> int:
    """The state of Marsaglia's generator (xorshift64, 2003) after some loops."""
    state = u64(state)
    for _ in range(loops):
        state ^= state << u64(13)
        state ^= state >> u64(7)
        state ^= state << u64(17)
    return state


def burn(loops: int) -> int:
    """Keep this thread's processor busy for so many loops; what it returns means nothing."""
    found: int = _xorshift(loops, 0x9E3779B97F4A7C15)
    return found


@cache
def loops_per_second() -> float:
    """Loops of :func:`burn` in a second of a processor, the most of some rounds; takes 20 ms."""
    burn(1)
    return _LOOPS / min(_spent() for _ in range(_ROUNDS))


def _spent() -> float:
    start = time.thread_time()
    burn(_LOOPS)
    return time.thread_time() - start


class Busy(Module):
    """Work whose time follows a distribution.

    Args:
        name: its name, and that of its product, the time in s.
        times: the distribution.
        after: products that it waits for.
        speed: loops of :func:`burn` in a second; None: they are measured. Jobs that are compared
            take one speed.
        is_emulated: whether to wait instead, as for a thread with a processor of its own.
    """

    def __init__(
        self,
        name: str,
        times: Times,
        after: Sequence[str] = (),
        speed: float | None = None,
        is_emulated: bool = False,
    ) -> None:
        self.name = name
        self.inputs = (EVENT, *after)
        self.outputs = (name,)
        self.is_emulated = is_emulated
        self._times = times
        self._speed = speed

    def begin(self) -> None:
        if self._speed is None and not self.is_emulated:
            self._speed = loops_per_second()

    def produce(self, event: Any, *after: Any) -> float:
        seconds = self._times.seconds(event.event)
        if self.is_emulated:
            time.sleep(seconds)
        else:
            assert self._speed is not None
            burn(int(seconds * self._speed))
        return seconds
