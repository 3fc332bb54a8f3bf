"""The version of the wire: which clients and servers understand each other.

A model says it in its configuration, a request as a parameter. A side that does not say it is of
the first version. The number is raised by a change that an older side cannot cope with, such as
another layout of a tensor. It is not raised by a tensor, a parameter or an entry of a head that
the other side may leave out or ignore.
"""

from __future__ import annotations

from trackserve.errors import WireMismatch

WIRE = "1"
"""The version of this package."""
FIRST_WIRE = "1"
"""The version of a side that does not say its own."""
WIRE_PARAMETER = "wire"
"""Name of the parameter, of a model and of a request."""


def check_wire(found: str | None, **where: str) -> None:
    """Refuse another version of the wire than this package's.

    Args:
        found: what the other side says; None: nothing.
        where: fields of the error, as ``model``.

    Raises:
        WireMismatch: it is another one.
    """
    found = FIRST_WIRE if found is None else found
    if found != WIRE:
        reason = "client and server are of versions that do not go together: update the older one"
        raise WireMismatch(reason, expected=WIRE, found=found, **where)
