"""The command line: ``trackserve --help``.

The commands are in :mod:`.main`, which is imported when one runs: ``doctor`` works without it too.
"""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.markup import escape

from trackserve.errors import TrackserveError

from .terminal import messages


def app() -> None:
    """Run a command; an error of ours, or of the system about a file, is one line.

    SIGTERM, which batch systems send, ends a command as Ctrl-C does: what is done is kept. A
    character that the terminal does not have becomes a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        with _ended_as_by_ctrl_c():
            _run()
    except (TrackserveError, OSError) as error:
        _fail(str(error))


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM raises :class:`KeyboardInterrupt`, unless this process has its own use of it."""
    before = signal.getsignal(signal.SIGTERM)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run() -> None:
    try:
        from .main import commands
    except ImportError as error:
        if sys.argv[1:2] != ["doctor"]:
            _fail(f"the commands cannot be loaded: {error}; `trackserve doctor` says more")
        from .doctor import doctor

        doctor()
    else:
        commands()


def _fail(text: str) -> None:
    messages.print(f"[bold red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)
    sys.exit(1)
