"""The signals that end a command which runs until it is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from .common import console

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def end_in_order() -> None:
    """Take SIGINT, SIGTERM, SIGQUIT and SIGHUP as Ctrl-C: :class:`KeyboardInterrupt` is raised.

    A terminal that goes may send SIGHUP twice; the second one says nothing new. Under ``nohup`` it
    stays ignored.
    """
    for number in _ENDS:
        signal.signal(number, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _hang_up)


def stop_in_order(stop: Callable[[], None]) -> None:
    """Stop what the command runs, and say meanwhile that this takes time.

    Args:
        stop: stops it; it may be called again.
    """
    with suppress(OSError), console.status("answering what is in flight, and stopping"):
        stop()
    stop()  # if the terminal has gone, nothing was shown, and nothing stopped


def _hang_up(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise KeyboardInterrupt
