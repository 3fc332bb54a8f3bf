"""The command line: ``trackserve --help``.

The commands are in :mod:`.main`, which is imported when one runs: ``doctor`` works without it too.
"""

from __future__ import annotations

import io
import sys

from rich.markup import escape

from trackserve.errors import TrackserveError

from .terminal import messages


def app() -> None:
    """Run a command; an error of ours, or of the system about a file, is one line.

    A character that the terminal does not have becomes a question mark.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        _run()
    except (TrackserveError, OSError) as error:
        _fail(str(error))


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
