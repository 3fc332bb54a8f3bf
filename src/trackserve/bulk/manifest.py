"""The manifest of a folder of results: one entry for each source, in ``manifest.json``.

The files of results are what counts: each is complete or not there, and says how it was made. The
manifest says what they came to; it is written from them, and read by no resumption.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trackserve.errors import InputError, TrackserveError
from trackserve.io.files import complete, writable

NAME = "manifest.json"
_SUFFIX = ".parquet"
_EVERY = 10.0
"""Seconds between two versions on disk."""


@dataclass(frozen=True)
class Written:
    """What a file of results has.

    Attributes:
        events: rows.
        failed: events with an error in place of a result.
        partial: events whose result a limit cut short.
        identity: text of the identity of what made it.
        bytes: size of the file.
        seconds: time that the last worker took; 0 if the file was there.
    """

    events: int
    failed: int
    partial: int
    identity: str
    bytes: int
    seconds: float


class Manifest:
    """The manifest of a run.

    Args:
        folder: folder of the results.
        about: what holds for all of them.
        sources: path of each source.
        files: file of each, from :func:`files_of`.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, Any], sources: Sequence[str], files: Sequence[Path]
    ) -> None:
        self._folder = folder
        self._about = dict(about)
        self._sources = sources
        self._files = files
        self._outcomes: dict[int, Written | TrackserveError] = {}
        self._last = time.monotonic()

    def add(self, number: int, outcome: Written | TrackserveError) -> None:
        """Take note of a source that has ended; write the manifest from time to time."""
        self._outcomes[number] = outcome
        if time.monotonic() - self._last > _EVERY:
            self.write()

    @property
    def n_ended(self) -> int:
        """Number of sources that have ended."""
        return len(self._outcomes)

    @property
    def failed(self) -> dict[str, TrackserveError]:
        """The error of each source that has no file."""
        return {
            self._sources[number]: outcome
            for number, outcome in sorted(self._outcomes.items())
            if isinstance(outcome, TrackserveError)
        }

    @property
    def written(self) -> list[Written]:
        """What each file has that is there."""
        return [found for found in self._outcomes.values() if isinstance(found, Written)]

    def write(self) -> None:
        """Replace the manifest on disk.

        Raises:
            InputError: it cannot be written.
        """
        entries = [self._entry(number) for number in range(len(self._sources))]
        content = {**self._about, "sources": entries}
        with writable(self._folder), complete(self._folder / NAME) as partial:
            partial.write_text(json.dumps(content, indent=1) + "\n")
        self._last = time.monotonic()

    def _entry(self, number: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"source": self._sources[number]}
        outcome = self._outcomes.get(number)
        if isinstance(outcome, Written):
            file = self._files[number].relative_to(self._folder)
            return entry | {"state": "done", "file": str(file), **asdict(outcome)}
        if outcome is None:
            return entry | {"state": "open"}
        return entry | {"state": "failed", "error": str(outcome)}


def files_of(sources: Sequence[Path], folder: Path) -> list[Path]:
    """The file of results of each source; they lie in ``folder`` as the sources lie together.

    Raises:
        InputError: two sources would have the same file.
    """
    # a link stands for itself, and ".." for where it leads
    each = [Path(os.path.abspath(source)) for source in sources]  # noqa: PTH100
    root = Path(os.path.commonpath([source.parent for source in each]))
    files = [folder / source.relative_to(root) for source in each]
    found = [
        file if file.suffix == _SUFFIX else file.with_name(f"{file.name}{_SUFFIX}")
        for file in files
    ]
    twice = [str(file) for file, n in Counter(found).items() if n > 1]
    if twice:
        raise InputError("two sources would have the same file of results", found=twice)
    return found


def claim_folder(folder: Path, resume: bool) -> None:
    """Make the folder of results.

    Raises:
        InputError: it cannot be made, or has something and nothing is to be resumed.
    """
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not resume and any(folder.iterdir()):
            raise InputError(
                "something is in this folder; resume what made it, or take another",
                folder=str(folder),
            )
