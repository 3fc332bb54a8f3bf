"""Whether a client still waits for an answer; see :mod:`trackserve.wire.ticket`."""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

from trackserve.wire.ticket import TICKET_BYTES, Ticket, read_ticket

from .. import local
from ..guard import SHARED_MEMORY

_MOST_FILES = 256
_MOST_TICKETS = 64
"""Tickets that are kept read: those of bundles, which a worker reads once for each event."""
_LOOK = 0.1
"""Seconds after which a worker looks again whether a client lives."""


@dataclass
class _File:
    """The words of a client, and when somebody looked whether it lives."""

    words: memoryview
    looked: float
    lives: bool = True


class TicketReader:
    """Reads the files of clients of this user; it keeps those that were used last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, _File] = OrderedDict()

    def is_wanted(self, text: str) -> bool:
        """Whether the request with the ticket ``text`` is wanted; True if nobody can tell."""
        ticket = _read_ticket(text)
        if ticket is None:
            return True
        known = self._files.get(ticket.file)
        if known is not None and known.lives and time.monotonic() - known.looked <= _LOOK:
            return bool(known.words[ticket.place] == ticket.number)
        if not local.is_region(ticket.file):
            return True
        with self._lock:
            file = self._file(ticket)
        return file is None or (file.lives and file.words[ticket.place] == ticket.number)

    def _file(self, ticket: Ticket) -> _File | None:
        file = self._files.get(ticket.file)
        if file is None:
            words = _read(ticket.file)
            if words is None:
                return None
            file = self._files[ticket.file] = _File(words, looked=0.0)
            if len(self._files) > _MOST_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(ticket.file)
        if time.monotonic() - file.looked > _LOOK:
            file.lives = not local.abandoned(ticket.file)
            file.looked = time.monotonic()
        return file


_read_ticket = lru_cache(_MOST_TICKETS)(read_ticket)


def _read(name: str) -> memoryview | None:
    """The words of a file of this user; None if it is not there or is another kind of file."""
    try:
        descriptor = os.open(SHARED_MEMORY / name, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.getuid() or found.st_size != TICKET_BYTES:
            return None
        return memoryview(mmap.mmap(descriptor, TICKET_BYTES, prot=mmap.PROT_READ)).cast("q")
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)
