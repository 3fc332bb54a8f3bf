"""The memory allocator of a process that works on one event after the other."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST_MMAP_THRESHOLD = 32 << 20
"""The largest that glibc takes on 64-bit machines."""
_TRIM_THRESHOLD = 64 << 20


def keep_freed_memory() -> None:
    """Let this process keep what it frees, up to 64 MiB, instead of asking for it again.

    By default glibc returns blocks of more than 128 KiB to the system, and the top of the
    heap after a large event, so that the next event takes a page fault for every 4 KiB. It
    is a setting for the whole process: building a pipeline makes it, a client leaves it to
    the process's owner. Without glibc nothing happens. (mallopt(3))
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)
