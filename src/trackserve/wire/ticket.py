"""Tickets: whether a client on the same host still waits for an answer.

By HTTP, Triton does not notice that a client gives up a request. So the client has a file of
shared memory with a word, int64, for each request in flight. A request names the file, the place
of its word and a number. It is wanted as long as the word has this number, and as long as the
client lives.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

TICKET_PARAMETER = "ticket"
"""Name of the parameter of a request."""
TICKET_WORD = np.dtype("<i8")
TICKET_PLACES = 4096
"""Words in a file."""
TICKET_BYTES = TICKET_PLACES * TICKET_WORD.itemsize
"""Size of the file."""
_TEXT = re.compile(r"([\w-]+):(\d{1,4}):(\d{1,18})")


class Ticket(NamedTuple):
    """The ticket of a request.

    Attributes:
        file: name of the file, in the folder of shared memory.
        place: position of the word.
        number: its value as long as the request is wanted.
    """

    file: str
    place: int
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.place}:{self.number}"


def read_ticket(text: str) -> Ticket | None:
    """The ticket that ``text`` is; None if it is none."""
    match = _TEXT.fullmatch(text)
    if match is None or int(match[2]) >= TICKET_PLACES:
        return None
    return Ticket(match[1], int(match[2]), int(match[3]))
