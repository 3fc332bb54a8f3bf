"""Ids of requests, by which an event is followed from a client to a server and back.

An id is a text, as ``9f86d081-17``: the first part is the client's, the second counts its events.
It is the id of Triton's protocols; the front has it as the header :data:`ID_HEADER`. A bundle has
the id of its first event, and in its head those of all.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator

ID_HEADER = "x-request-id"
"""Name of the header by which Envoy knows the id."""
LONGEST_ID = 128
"""Most characters of an id that a server writes."""


def request_ids() -> Iterator[str]:
    """Ids that no other call of this function gives; any number of threads may take them."""
    return map(f"{secrets.token_hex(4)}-{{}}".format, itertools.count(1))
