"""The log of a backend: a line for each event that it answers or refuses.

Who starts Triton asks for it by two environment variables. Without them nothing is done for any
event.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from trackserve.errors import InputError, TrackserveError
from trackserve.wire.events import NUMBER, number_of
from trackserve.wire.request_id import LONGEST_ID

from ..log import FORMATS, TEXT, log_line
from .runtime import Done, EncodedResult

VARIABLE = "TRACKSERVE_EVENT_LOG"
"""Environment variable with the log: a path, or the number of an open file."""
FORMAT_VARIABLE = "TRACKSERVE_LOG_FORMAT"
"""Environment variable with one of :data:`..log.FORMATS`."""
PROBE_ID = "trackserve-probe"
"""Id of the requests by which a server watches its models; they are logged if they fail."""


class EventLog:
    """The log of a model.

    A line is written at once, by one call: so the lines of several processes do not mix. What
    cannot be written is lost: a full disk ends no server.

    Args:
        model: name of the model.
        descriptor: the open file.
        form: one of :data:`..log.FORMATS`.
    """

    def __init__(self, model: str, descriptor: int, form: str) -> None:
        self._model = model
        self._descriptor = descriptor
        self._form = form

    def answered(self, done: Done) -> None:
        """Write about an event that a worker has answered."""
        fields: dict[str, Any] = {}
        tensors = done.job.event.tensors
        if NUMBER.name in tensors:
            with suppress(InputError):
                fields["event"] = number_of(tensors)
        answer = done.answer
        is_result = isinstance(answer, EncodedResult)
        fields["outcome"] = answer.outcome if is_result else type(answer).__name__
        fields["queue"] = round(done.queue, 6)
        fields["compute"] = round(done.compute, 6)
        if isinstance(answer, TrackserveError):
            fields["error"] = str(answer)
        elif done.job.request == PROBE_ID:
            return
        self._write(done.job.request, fields)

    def refused(self, request: str, error: TrackserveError) -> None:
        """Write about a request that no worker gets."""
        self._write(request, {"outcome": type(error).__name__, "error": str(error)})

    def _write(self, request: str, fields: dict[str, Any]) -> None:
        level = "warning" if "error" in fields else "info"
        about = {"model": self._model, "request": request[:LONGEST_ID]}
        line = log_line(self._form, level, "event", about | fields)
        with suppress(OSError):
            os.write(self._descriptor, f"{line}\n".encode(errors="replace"))


def open_to_append(path: str | os.PathLike[str]) -> int:
    """The number of a file that is opened so that lines are added to it.

    Raises:
        OSError: it cannot be written.
    """
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def open_event_log(model: str) -> EventLog | None:
    """The log of a model that the environment asks for; None if it asks for none.

    Raises:
        OSError: it cannot be written.
    """
    place = os.environ.get(VARIABLE, "")
    if not place:
        return None
    form = os.environ.get(FORMAT_VARIABLE, TEXT)
    descriptor = int(place) if place.isdecimal() else open_to_append(place)
    return EventLog(model, descriptor, form if form in FORMATS else TEXT)
