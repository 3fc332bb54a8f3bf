"""The command line in the process of the tests: a program of its own takes seconds to start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any, NamedTuple

from trackserve.cli import app


class Said(NamedTuple):
    """What a command wrote to stdout and to stderr."""

    out: str
    err: str


def command(*arguments: Any, status: int = 0) -> Said:
    """Run ``trackserve`` with these arguments, as a user's shell does; check how it ends."""
    out, err, ended = StringIO(), StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), _arguments(*arguments):
        try:
            app()
        except SystemExit as end:
            ended = int(end.code or 0)
    said = Said(out.getvalue(), err.getvalue())
    assert ended == status, said.out + said.err
    return said


def says(*arguments: Any, status: int = 0) -> str:
    """All that a command writes, on one line."""
    return " ".join("".join(command(*arguments, status=status)).split())


@contextmanager
def _arguments(*arguments: Any) -> Iterator[None]:
    before = sys.argv
    sys.argv = ["trackserve", *map(str, arguments)]
    try:
        yield
    finally:
        sys.argv = before
