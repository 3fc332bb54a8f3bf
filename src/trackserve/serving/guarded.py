"""A program under a guard (:mod:`.guard`): it ends with this process, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, Any, NamedTuple

from . import guard

_TIMEOUT = 10.0
"""Seconds in which a guard ends its program."""


class Guarded(NamedTuple):
    """A program under a guard.

    Attributes:
        pid: process id of the program, and id of its process group; None if it did not start.
        guard: the guard, which ends when the program does.
    """

    pid: int | None
    guard: subprocess.Popen[bytes]

    @property
    def has_ended(self) -> bool:
        """Whether the program has ended."""
        return self.guard.poll() is not None

    def wait(self) -> None:
        """Wait for the end of the program.

        Raises:
            subprocess.TimeoutExpired: it runs after 10 s.
        """
        self.guard.wait(_TIMEOUT)

    def end(self) -> None:
        """End the program and all its processes."""
        _end(self.guard)


def start_guarded(
    settings: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    log: IO[bytes] | None = None,
) -> Guarded:
    """Start a program under a guard. An exception, as that of Ctrl-C, ends it.

    Args:
        settings: what :func:`.guard.main` reads, but for the parent, which is this process.
        env: its environment; None: that of this process.
        log: what it writes goes there; None: to the standard error of this process.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
        pass_fds=settings.get("kept", ()),
    )
    try:
        assert process.stdin
        assert process.stdout
        with process.stdin as file, process.stdout as answer:
            file.write(json.dumps({**settings, "parent": os.getpid()}).encode())
            file.close()
            return Guarded(int(answer.readline() or 0) or None, process)
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
