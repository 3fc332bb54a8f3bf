"""Settings of the memory allocator, for a process that works on one event after the other."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MOST_MMAP_THRESHOLD = 32 << 20
"""Largest threshold that glibc takes on 64-bit machines, in bytes."""
_TRIM_THRESHOLD = 64 << 20
_MESSAGE_THRESHOLD = 8 << 20


def keep_freed_memory() -> None:
    """Let this process keep up to 64 MiB of freed memory.

    By default glibc gives blocks of more than 128 KiB back to the system, and the top of the heap
    after a large event. The next event then takes a page fault for every 4 KiB. The setting
    (mallopt(3)) is for the whole process. A pipeline makes it when it is built. A client does not:
    the owner of its process decides. Without glibc nothing happens.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD)


def return_large_messages() -> None:
    """Let this process give freed blocks of more than 8 MiB back to the system again.

    A server's front end frees messages of any size, which leave holes in a heap that keeps them.
    The arrays of an event are smaller.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MESSAGE_THRESHOLD)
