"""Work for the engines of bulk work; processes import it by its name."""

from __future__ import annotations

import os
import signal
from pathlib import Path


def double(number: int) -> int:
    return 2 * number


def die_once(file: str) -> str:
    """Die at the first try of a file."""
    if not Path(file).exists():
        Path(file).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return file


def die(number: int) -> int:
    """Die of odd numbers."""
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    raise ValueError(f"{number} is bad")
