"""What the C library does with memory that an event has freed."""

from __future__ import annotations

import numpy as np

_LARGEST = 31 << 20
"""Bytes; glibc learns from blocks of less than 32 MiB (DEFAULT_MMAP_THRESHOLD_MAX)."""


def keep_freed_memory() -> None:
    """Make the C library keep what one event frees for the next.

    glibc hands freed memory back to the system once it is more than twice the largest
    block that was ever mapped and freed, and every page of it is a fault in the next
    event. One large block, never touched, raises that bound to 62 MiB a thread.
    """
    np.empty(_LARGEST, np.uint8)
