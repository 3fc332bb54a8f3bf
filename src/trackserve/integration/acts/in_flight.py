"""More events in flight than cores, while they wait for a server.

The Sequencer has at most as many events in flight as it has threads, and TBB starts no more threads
than there are cores, whatever the Sequencer asks for. A thread that waits for a server computes
nothing, so a chain that is served needs more. TBB can be told so, by C++ alone; this does it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackserve.errors import InputError, TrackserveError

from .bindings import acts

_CREATE = "_ZN3tbb6detail2r16createERNS0_2d114global_controlE"
_DESTROY = "_ZN3tbb6detail2r17destroyERNS0_2d114global_controlE"
_MAX_ALLOWED_PARALLELISM = 0


class _GlobalControl(ctypes.Structure):
    """``tbb::global_control`` of oneTBB."""

    _fields_ = (
        ("value", ctypes.c_size_t),
        ("reserved", ctypes.c_ssize_t),
        ("parameter", ctypes.c_int),
    )


@contextmanager
def events_in_flight(n: int) -> Iterator[int]:
    """Let a Sequencer have ``n`` events in flight in the block, if it has ``numThreads=n``.

    The Sequencer is made and run in the block.

    Raises:
        InputError: ``n`` is less than 1.
        TrackserveError: ACTS has another TBB than oneTBB.
    """
    if n < 1:
        raise InputError("too few events in flight", found=n, bound=">= 1")
    library = _find_tbb()
    control = _GlobalControl(n, 0, _MAX_ALLOWED_PARALLELISM)
    try:
        create, destroy = getattr(library, _CREATE), getattr(library, _DESTROY)
    except AttributeError:
        raise TrackserveError("ACTS has another TBB", found=library._name) from None
    create(ctypes.byref(control))
    try:
        yield n
    finally:
        destroy(ctypes.byref(control))


def _find_tbb() -> ctypes.CDLL:
    """The TBB that ACTS has loaded."""
    assert acts  # it has loaded it
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[5:]
        if path and Path(path[0]).name.startswith("libtbb"):
            return ctypes.CDLL(path[0])
    raise TrackserveError("ACTS has loaded no TBB")
