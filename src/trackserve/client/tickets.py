"""The tickets that a client gives to its requests; see :mod:`trackserve.wire.ticket`."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from contextlib import suppress

from trackserve.serving.guard import SHARED_MEMORY
from trackserve.serving.local import region_name
from trackserve.wire.ticket import TICKET_BYTES, TICKET_PLACES, Ticket


class Tickets:
    """A file of tickets. Without room for the file there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._free = list(range(TICKET_PLACES))
        self._path = SHARED_MEMORY / region_name()
        self._words = None
        with suppress(OSError):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, TICKET_BYTES)
                self._words = memoryview(mmap.mmap(descriptor, TICKET_BYTES)).cast("q")
            except OSError:
                self.close()
            finally:
                os.close(descriptor)

    def take(self) -> Ticket | None:
        """A new ticket, if there is one."""
        with self._lock:
            if self._words is None or not self._free:
                return None
            ticket = Ticket(self._path.name, self._free.pop(), next(self._numbers))
            self._words[ticket.place] = ticket.number
        return ticket

    def end(self, ticket: Ticket | None) -> None:
        """Nobody waits for the answer any more."""
        if ticket is None or self._words is None:
            return
        with self._lock:
            if self._words[ticket.place] == ticket.number:
                self._words[ticket.place] = 0
                self._free.append(ticket.place)

    def close(self) -> None:
        """Remove the file; all tickets end."""
        if self._words is not None:
            self._words[:] = memoryview(bytes(TICKET_BYTES)).cast("q")
        with suppress(OSError):  # there is no file, or no place for files
            self._path.unlink()
