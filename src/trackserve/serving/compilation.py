"""What models compile as they start: by way of the log to whoever waits for the server."""

from __future__ import annotations

import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from trackserve.device.progress import watching_compilation

_PREFIX = "trackserve compiles "
_LINE = re.compile(rf"^{_PREFIX}([\w.]+)$".encode(), re.MULTILINE)


def logging_compilation() -> AbstractContextManager[None]:
    """Within the context, a line on stderr for each loop that is compiled; that is Triton's log."""
    return watching_compilation(lambda name: print(f"{_PREFIX}{name}", file=sys.stderr, flush=True))


class CompilationLog:
    """Reads names of loops from a log that grows, from its present end.

    Args:
        log: the file.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        try:
            self._read = log.stat().st_size
        except OSError:
            self._read = 0

    def new(self) -> list[str]:
        """Names of the loops whose compilation has begun since the last call."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                lines, _, rest = file.read().rpartition(b"\n")
                self._read = file.tell() - len(rest)
        except OSError:  # the folder for temporary files was cleaned
            return []
        return [name.decode() for name in _LINE.findall(lines)]
